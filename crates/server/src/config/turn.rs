//! The TURN relay, as both roles configure it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use plenum_media_server::{self as media_server, TlsEnd, TurnTls};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};

use super::{ConfigError, Network};
use crate::connections::relays_max;

/// The TURN relay, for clients that nothing else gets through to; none where no port is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Turn {
    /// For TURN over UDP and over TCP; usually 3478.
    pub(crate) udp_port: Option<u16>,
    /// For TURN over TLS; usually 5349, or 443.
    pub(crate) tls_port: Option<u16>,
    /// The name in the certificate, which clients are told; that of `public_url` when absent.
    pub(crate) domain: Option<String>,
    /// PEM file with the chain; `tls.cert` when absent.
    pub(crate) cert_file: Option<PathBuf>,
    /// PEM file with the private key; `tls.key` when absent.
    pub(crate) key_file: Option<PathBuf>,
    /// TLS ends at a load balancer in front, at port 443; `tls_port` is plain TCP.
    pub(crate) external_tls: bool,
    /// Peers that clients may reach beside this server's own media.
    pub(crate) allow: Vec<Network>,
    /// Peers that they may not.
    pub(crate) deny: Vec<Network>,
}

/// What the relay takes from elsewhere when it has none of its own.
#[derive(Debug, Default)]
pub(crate) struct Fallbacks<'a> {
    pub(crate) domain: Option<&'a str>,
    pub(crate) certificate: Option<(&'a Path, &'a Path)>,
}

impl Turn {
    /// `section`: where these keys stand; `taken`: ports of others, by key.
    ///
    /// # Errors
    /// Names the key and what would be right.
    pub(crate) fn check(
        &self,
        section: &str,
        fallbacks: &Fallbacks<'_>,
        taken: &[(&str, u16)],
    ) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: String| Err(ConfigError::key(&format!("{section}.{key}"), problem));
        let own = self.udp_port.map(|port| (format!("{section}.udp_port"), port));
        let taken = taken.iter().map(|(key, port)| ((*key).to_owned(), *port));
        for (key, port) in [("udp_port", self.udp_port), ("tls_port", self.tls_port)] {
            let Some(port) = port else { continue };
            if port == 0 {
                return wrong(key, "must be between 1 and 65535; leave it out for none".to_owned());
            }
            let others = taken.clone().chain(own.clone().filter(|_| key == "tls_port"));
            if let Some((other, _)) = others.into_iter().find(|(_, other)| *other == port) {
                return wrong(key, format!("must differ from the port of {other}"));
            }
        }
        if self.tls_port.is_none() {
            return Ok(());
        }
        match self.domain(fallbacks) {
            None => return wrong("domain", format!("is needed because {section}.tls_port is set")),
            Some(domain) if !is_name(domain) => {
                return wrong("domain", "must be a name such as turn.example.org".to_owned());
            }
            Some(_) => {}
        }
        match (&self.cert_file, &self.key_file) {
            (Some(_), Some(_)) => Ok(()),
            (Some(_), None) => wrong("key_file", "is missing: cert_file alone is not enough".to_owned()),
            (None, Some(_)) => wrong("cert_file", "is missing: key_file alone is not enough".to_owned()),
            (None, None) if self.external_tls || fallbacks.certificate.is_some() => Ok(()),
            (None, None) => wrong(
                "cert_file",
                format!("is needed for {section}.tls_port; or set external_tls where TLS ends in front"),
            ),
        }
    }

    /// As the media server takes it; reads the certificate.
    ///
    /// # Errors
    /// Names the key of a file that cannot be used.
    pub(crate) fn used(
        &self,
        section: &str,
        fallbacks: &Fallbacks<'_>,
    ) -> Result<media_server::Turn, ConfigError> {
        let own = self.cert_file.as_deref().zip(self.key_file.as_deref());
        let end = match own.or(fallbacks.certificate) {
            _ if self.external_tls => Some(TlsEnd::Elsewhere),
            Some((cert, key)) if self.tls_port.is_some() => {
                Some(TlsEnd::Here(certificate(cert, key).map_err(|problem| {
                    ConfigError::key(&format!("{section}.cert_file, key_file"), problem)
                })?))
            }
            _ => None,
        };
        let tls = self.tls_port.zip(self.domain(fallbacks)).zip(end);
        let networks = |list: &[Network]| list.iter().map(|network| network.0).collect();
        Ok(media_server::Turn {
            port: self.udp_port,
            tls: tls.map(|((port, domain), end)| TurnTls { port, domain: domain.to_owned(), end }),
            allow: networks(&self.allow),
            deny: networks(&self.deny),
            allocations_max: relays_max(),
        })
    }

    fn domain<'a>(&'a self, fallbacks: &Fallbacks<'a>) -> Option<&'a str> {
        self.domain.as_deref().or(fallbacks.domain)
    }
}

/// Letters, digits, hyphens and dots: what a certificate can name, and an address of IPv4 for tests.
fn is_name(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..64).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() < 254 && domain.split('.').all(is_label)
}

/// Without ALPN: clients of TURN name other protocols than those of HTTP, or none.
fn certificate(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let read = |file: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| read(cert, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| read(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| read(cert, &error))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(yaml: &str, fallbacks: &Fallbacks<'_>) -> String {
        let turn: Turn = serde_yaml_ng::from_str(yaml).unwrap();
        let checked = turn.check("media.turn", fallbacks, &[("media.tcp_port", 7881)]);
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let none = Fallbacks::default();
        let certificate = Some((Path::new("a.pem"), Path::new("b.pem")));
        assert_eq!(checked("{}", &none), "");
        assert_eq!(checked("udp_port: 3478", &none), "");
        assert!(checked("udp_port: 0", &none).contains("media.turn.udp_port: must be between 1 and 65535"));
        assert!(checked("udp_port: 7881", &none).contains("must differ from the port of media.tcp_port"));
        assert!(
            checked("{udp_port: 443, tls_port: 443, domain: t, external_tls: true}", &none)
                .contains("media.turn.tls_port: must differ from the port of media.turn.udp_port")
        );
        assert!(checked("tls_port: 443", &none).contains("media.turn.domain: is needed"));
        assert!(checked("{tls_port: 443, domain: 'https://t'}", &none).contains("domain: must be a name"));
        assert!(checked("{tls_port: 443, domain: t}", &none).contains("media.turn.cert_file: is needed"));
        assert!(checked("{tls_port: 443, domain: t, cert_file: a}", &none).contains("key_file: is missing"));
        assert!(checked("{tls_port: 443, domain: t, key_file: a}", &none).contains("cert_file: is missing"));
        assert_eq!(checked("{tls_port: 443, domain: t, cert_file: a, key_file: b}", &none), "");
        assert_eq!(checked("{tls_port: 443, domain: t, external_tls: true}", &none), "");
        assert_eq!(
            checked("tls_port: 443", &Fallbacks { domain: Some("meet.example.org"), certificate }),
            ""
        );
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("empty.pem"), "").unwrap();
        let turn = |cert: &str| Turn {
            tls_port: Some(443),
            domain: Some("t".to_owned()),
            cert_file: Some(file(cert)),
            key_file: Some(file("empty.pem")),
            ..Turn::default()
        };
        for cert in ["absent.pem", "empty.pem"] {
            let error = turn(cert).used("turn", &Fallbacks::default()).unwrap_err().to_string();
            assert!(error.contains("turn.cert_file, key_file: ") && error.contains(".pem: "), "{error}");
        }
    }
}
