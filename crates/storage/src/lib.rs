//! SQL: what outlives meetings. The only crate that knows a database; no meeting needs it to be created or held.

mod migrations;
mod past_rooms;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait as _;
use tokio::sync::OnceCell;

pub use past_rooms::{Order, PastRoom, PastRoomQuery, PastRooms};

/// The database did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the database: {0}")]
pub struct StorageError(#[from] DbErr);

/// The repositories.
#[derive(Clone, Debug)]
pub struct Storage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    database: OnceCell<DatabaseConnection>,
}

impl Storage {
    /// An SQLite file that is opened when it is first needed, and tried again each time until it can be.
    #[must_use]
    pub fn lazy(file: &Path) -> Self {
        Self { inner: Arc::new(Inner { file: file.to_owned(), database: OnceCell::new() }) }
    }

    /// Opens or creates the SQLite file and brings its tables up to date.
    ///
    /// # Errors
    /// The file cannot be opened, or was written by a newer version.
    pub async fn open(file: &Path) -> Result<Self, StorageError> {
        let storage = Self::lazy(file);
        storage.connect().await?;
        Ok(storage)
    }

    /// Opens the file now, unless it is open.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub async fn connect(&self) -> Result<(), StorageError> {
        self.database().await.map(|_| ())
    }

    pub(crate) async fn database(&self) -> Result<&DatabaseConnection, StorageError> {
        self.inner.database.get_or_try_init(|| connect(&self.inner.file)).await
    }

    /// Finished runs of rooms.
    #[must_use]
    pub fn past_rooms(&self) -> PastRooms<'_> {
        PastRooms::new(self)
    }

    /// Closes the file.
    ///
    /// # Errors
    /// The last writes could not be finished.
    pub async fn close(self) -> Result<(), StorageError> {
        match self.inner.database.get() {
            Some(database) => Ok(database.clone().close().await?),
            None => Ok(()),
        }
    }
}

async fn connect(file: &Path) -> Result<DatabaseConnection, StorageError> {
    // A path may hold characters that mean something in an address.
    let path: String = file.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let mut options = ConnectOptions::new(format!("sqlite://{path}?mode=rwc"));
    options.max_connections(4).acquire_timeout(Duration::from_secs(5)).sqlx_logging(false);
    let database = Database::connect(options).await?;
    migrations::Migrations::up(&database, None).await?;
    Ok(database)
}
