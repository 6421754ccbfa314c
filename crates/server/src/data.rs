//! The data folder: format version, lock against a second process, private files.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// What this program writes.
const FORMAT: &str = "1";

/// The folder, ours until this value is dropped.
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens or makes the folder and locks it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("the data folder {shown} cannot be made (key: data)"))?;
        let path = path.canonicalize()?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| format!("the data folder {shown} cannot be written (key: data)"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {shown} is in use by another process; stop it, or choose another folder with --data"
            ),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let version = path.join("format");
        match fs::read_to_string(&version) {
            Ok(found) if found.trim() == FORMAT => {}
            Ok(found) => bail!(
                "the data folder {shown} has format {}, this program writes {FORMAT}; use the program's newer version",
                found.trim()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_private(&version, FORMAT.as_bytes())?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self { path, _lock: lock })
    }

    /// A path inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A folder that a server has used; for tools that run beside it.
pub(crate) fn existing(path: &Path) -> anyhow::Result<&Path> {
    if !path.join("format").exists() {
        bail!(
            "{} is not the data folder of a server; start the server first, or name its folder with --data",
            path.display()
        );
    }
    Ok(path)
}

/// Writes a file that only its owner may read; whole or not at all.
pub(crate) fn write_private(file: &Path, content: &[u8]) -> io::Result<()> {
    let partial = file.with_extension("partial");
    let mut target = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
    target.write_all(content)?;
    target.sync_all()?;
    fs::rename(&partial, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn one_process_at_a_time_and_no_newer_format() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        let error = DataFolder::open(&path).err().unwrap().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        drop(first);
        DataFolder::open(&path).unwrap();
        fs::write(path.join("format"), "2").unwrap();
        assert!(DataFolder::open(&path).err().unwrap().to_string().contains("has format 2"));
    }

    #[test]
    fn tools_make_no_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        assert!(existing(&path).unwrap_err().to_string().contains("is not the data folder"));
        assert!(!path.exists());
        drop(DataFolder::open(&path).unwrap());
        assert!(existing(&path).is_ok());
    }

    #[test]
    fn private_files_are_private() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("secrets.yaml");
        write_private(&file, b"x").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
