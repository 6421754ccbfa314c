//! What every endpoint shares.

use std::{sync::Arc, time::Duration};

use plenum_control::{Control, StoreError};
use plenum_meeting::Room;
use plenum_storage::Storage;

use crate::{admin::host_links::HostLinks, arrivals::Arrivals, origin::Origin, secrets::Secrets};

/// A list of all rooms takes longer only when the broker is out of reach.
const LIST_WITHIN: Duration = Duration::from_secs(5);

/// How the API is configured.
pub struct ApiConfig {
    /// `API-KEY` of the server-side API.
    pub key: String,
    /// Its secret.
    pub secret: String,
    /// Where browsers reach this server, when it is known.
    pub public_url: Option<Origin>,
    /// Where browsers reach it, when neither that nor the request says so.
    pub fallback_url: Origin,
    /// Addresses of the broker's WebSocket for browsers; empty: this server's `/nats`.
    pub nats_ws_urls: Vec<String>,
    /// Told to clients.
    pub version: &'static str,
}

/// Shared by all endpoints; cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) control: Control,
    pub(crate) storage: Storage,
    pub(crate) host_links: HostLinks,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) arrivals: Arc<Arrivals>,
}

impl Api {
    /// The API over a running control.
    #[must_use]
    pub fn new(config: ApiConfig, control: Control, storage: Storage, host_links: HostLinks) -> Self {
        let secrets = Arc::new(Secrets::new(&config.secret));
        Self { config: Arc::new(config), control, storage, host_links, secrets, arrivals: Arc::default() }
    }

    /// All running rooms, as of about now.
    pub(crate) async fn rooms(&self) -> Result<Vec<Room>, StoreError> {
        match tokio::time::timeout(LIST_WITHIN, self.control.rooms()).await {
            Ok(rooms) => rooms,
            Err(_) => Err(StoreError::Silent("the list of rooms took too long".to_owned())),
        }
    }
}
