//! A DTLS provider for str0m that keeps one checked configuration for all connections and gives the SRTP keys to a
//! connection's owner instead of str0m.
//!
//! str0m's stock provider builds a configuration per connection, which tries every algorithm once and takes
//! 0.9 ms; and it has no way to get at the keys, which we need because media is ours.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};
use str0m::crypto::from_feature_flags;

use crate::srtp::SrtpKeys;

/// Where the keys of one connection appear once its handshake is done. str0m does not get them: without them it neither
/// opens nor sends media, and every index of a key is used by one sender.
#[derive(Debug, Clone, Default)]
pub struct KeySlot {
    keys: Arc<Mutex<Option<SrtpKeys>>>,
    is_shared: bool,
}

impl KeySlot {
    /// For somebody who lets str0m send, and has the keys for what it receives.
    pub fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    /// The keys, once.
    pub fn take(&self) -> Option<SrtpKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, keys: SrtpKeys) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
    }

    /// Runs `build` so that the connection made in it puts its keys here.
    pub fn attach<T>(&self, build: impl FnOnce() -> T) -> T {
        BUILDING.with(|building| *building.borrow_mut() = Some(self.clone()));
        let built = build();
        BUILDING.with(|building| *building.borrow_mut() = None);
        built
    }
}

thread_local! {
    /// The slot of the connection that this thread is building. str0m makes the DTLS machine inside `build`
    /// and gives it nothing of ours, so the slot waits here.
    static BUILDING: RefCell<Option<KeySlot>> = const { RefCell::new(None) };
}

/// str0m's cryptography with our DTLS in it.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let build = || {
        let mut provider = from_feature_flags();
        provider.dtls_provider = &SharedConfig;
        Arc::new(provider)
    };
    PROVIDER.get_or_init(build).clone()
}

/// Makes a certificate.
pub(crate) fn certificate() -> DtlsCert {
    SharedConfig.generate_certificate().expect("the provider makes certificates")
}

#[derive(Debug)]
struct SharedConfig;

impl DtlsProvider for SharedConfig {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, str0m::crypto::CryptoError> {
        static CONFIG: OnceLock<Arc<dimpl::Config>> = OnceLock::new();
        let build = || {
            // ICE has proved the return path before DTLS begins, so cookies would only cost a round trip.
            let config = dimpl::Config::builder().use_server_cookie(false).build();
            Arc::new(config.expect("the crypto provider supports what DTLS needs"))
        };
        let config = CONFIG.get_or_init(build).clone();
        let slot = BUILDING.with(|building| building.borrow().clone());
        // DTLS 1.2 only: in 1.3 dimpl takes the client's first SRTP profile, and Chromium's first is the slow one.
        let dtls = dimpl::Dtls::new_12(config, cert.clone(), now);
        Ok(Box::new(Tapped { dtls, slot }))
    }
}

/// A DTLS machine that gives its SRTP keys away.
struct Tapped {
    dtls: dimpl::Dtls,
    slot: Option<KeySlot>,
}

impl std::fmt::Debug for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tapped").finish_non_exhaustive()
    }
}

impl DtlsInstance for Tapped {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        if let (DtlsOutput::KeyingMaterial(material, profile), Some(slot)) = (&output, &self.slot) {
            if let Some(keys) = SrtpKeys::new(*profile, material) {
                slot.put(keys);
            }
            if !slot.is_shared {
                // Hearing twice that the handshake is done changes nothing.
                return DtlsOutput::Connected;
            }
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}
