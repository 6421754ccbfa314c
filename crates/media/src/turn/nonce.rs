//! Nonces that nobody has to remember: each says when it was given, and proves to whom.

use std::net::SocketAddr;

use aws_lc_rs::{constant_time, hmac};

/// A nonce is taken for so long (RFC 8656 §5 advises an hour at most).
const LIFE_S: u64 = 3_600;
/// Bytes of the proof: 96 bits.
const PROOF_LEN: usize = 12;

/// Gives and checks them.
pub(super) struct Nonces(hmac::Key);

impl Nonces {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// One for a client at that address.
    pub(super) fn give(&self, client: SocketAddr, unix_s: u64) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&unix_s.to_be_bytes());
        context.update(&client.port().to_be_bytes());
        context.update(&client.ip().to_canonical().to_string().into_bytes());
        let proof = context.sign();
        let proof = &proof.as_ref()[..PROOF_LEN];
        format!("{unix_s:x}-{}", proof.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// Whether it was given to that client, and lately.
    pub(super) fn accepts(&self, nonce: &str, client: SocketAddr, unix_s: u64) -> bool {
        let given = nonce.split_once('-').and_then(|(given, _)| u64::from_str_radix(given, 16).ok());
        given.is_some_and(|given| {
            let right = self.give(client, given);
            given <= unix_s
                && unix_s - given <= LIFE_S
                && constant_time::verify_slices_are_equal(right.as_bytes(), nonce.as_bytes()).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_one_clients_for_one_hour() {
        let client = SocketAddr::from(([192, 0, 2, 1], 5000));
        let other = SocketAddr::from(([192, 0, 2, 1], 5001));
        let nonces = Nonces::new(&[1; 32]);
        let nonce = nonces.give(client, 10_000);
        assert!(nonces.accepts(&nonce, client, 10_000));
        assert!(nonces.accepts(&nonce, client, 10_000 + LIFE_S));
        assert!(!nonces.accepts(&nonce, client, 10_001 + LIFE_S), "too late");
        assert!(!nonces.accepts(&nonce, client, 9_999), "from the future");
        assert!(!nonces.accepts(&nonce, other, 10_000), "of somebody else");
        assert!(!Nonces::new(&[2; 32]).accepts(&nonce, client, 10_000), "of another server");
        for wrong in ["", "-", "2710", "2710-", "x-00", &nonce.to_uppercase()] {
            assert!(!nonces.accepts(wrong, client, 10_000), "{wrong}");
        }
    }
}
