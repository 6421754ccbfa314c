//! One-time links that sign a host in. A link is a file in the data folder, named by the hash of its secret: any process
//! with access to the folder can make one, and taking it is removing the file, so it works once.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

/// A link that nobody used is void after this long.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);
/// Random bytes of a link.
const SECRET_LEN: usize = 20;

/// The folder of unused links.
#[derive(Debug, Clone)]
pub struct HostLinks {
    folder: PathBuf,
}

impl HostLinks {
    /// Links in `folder`, which is made when the first link is.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes a link's secret.
    ///
    /// # Errors
    /// The folder cannot be written, or the one that it is in is not there.
    pub fn issue(&self) -> io::Result<String> {
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.forget_old();
        let mut secret = [0; SECRET_LEN];
        rand::rng().fill_bytes(&mut secret);
        let secret = BASE32_NOPAD.encode(&secret).to_lowercase();
        fs::File::create_new(self.file(&secret))?.sync_all()?;
        Ok(secret)
    }

    /// Takes a link: `true` once.
    #[must_use]
    pub fn redeem(&self, secret: &str) -> bool {
        if secret.len() > 64 {
            return false;
        }
        let file = self.file(secret);
        let fresh = fs::metadata(&file).and_then(|meta| meta.modified()).is_ok_and(is_fresh);
        fs::remove_file(&file).is_ok() && fresh
    }

    fn forget_old(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| !is_fresh(at));
            if old {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn file(&self, secret: &str) -> PathBuf {
        self.folder.join(HEXLOWER.encode(&Sha256::digest(secret.as_bytes())))
    }
}

fn is_fresh(made: SystemTime) -> bool {
    made.elapsed().is_ok_and(|age| age < VALIDITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_once() {
        let folder = tempfile::tempdir().unwrap();
        let links = HostLinks::new(folder.path().join("host-links"));
        let secret = links.issue().unwrap();
        // Another process with the same folder.
        let other = HostLinks::new(folder.path().join("host-links"));
        assert!(!other.redeem("guess"));
        assert!(other.redeem(&secret));
        assert!(!links.redeem(&secret));
    }

    #[test]
    fn an_old_link_is_void() {
        let folder = tempfile::tempdir().unwrap();
        let links = HostLinks::new(folder.path().to_owned());
        let secret = links.issue().unwrap();
        let file = fs::File::options().write(true).open(links.file(&secret)).unwrap();
        file.set_modified(SystemTime::now() - VALIDITY).unwrap();
        assert!(!links.redeem(&secret));
    }
}
