//! What this server signs for itself: invitations, the host's session, a guest's browser. Keys are derived from the API
//! secret, one per use.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use plenum_meeting::RoomId;
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

pub(crate) struct Secrets {
    secret: Vec<u8>,
}

impl Secrets {
    pub(crate) fn new(secret: &str) -> Self {
        Self { secret: secret.as_bytes().to_owned() }
    }

    /// The signature of an `/auth` request's body.
    pub(crate) fn is_body_signature(&self, body: &[u8], hex: &str) -> bool {
        let Ok(signature) = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else { return false };
        mac(&self.secret).chain_update(body).verify_slice(&signature).is_ok()
    }

    /// The code of an invitation: the room and 80 bits that nobody can guess.
    pub(crate) fn invitation(&self, room: &RoomId) -> String {
        let signature = self.sign("invitation", room.as_str());
        format!("{room}.{}", BASE32_NOPAD.encode(&signature[..10]).to_lowercase())
    }

    /// The room of an invitation, if it is one of ours.
    pub(crate) fn read_invitation(&self, code: &str) -> Option<RoomId> {
        let (room, key) = code.rsplit_once('.')?;
        let room = RoomId::parse(room, "room").ok()?;
        let key = BASE32_NOPAD.decode(key.to_uppercase().as_bytes()).ok()?;
        self.verify("invitation", room.as_str(), &key, 10).then_some(room)
    }

    /// A host's session that ends at `ends_at_s` (Unix seconds).
    pub(crate) fn session(&self, ends_at_s: u64) -> String {
        let text = ends_at_s.to_string();
        let signature = BASE32_NOPAD.encode(&self.sign("session", &text)).to_lowercase();
        format!("{text}.{signature}")
    }

    /// Whether a session is ours and goes on.
    pub(crate) fn is_session(&self, session: &str, now_s: u64) -> bool {
        let Some((text, signature)) = session.split_once('.') else { return false };
        let Ok(signature) = BASE32_NOPAD.decode(signature.to_uppercase().as_bytes()) else { return false };
        self.verify("session", text, &signature, 32) && text.parse::<u64>().is_ok_and(|end| end > now_s)
    }

    /// What a guest's browser keeps, so that it is known again.
    pub(crate) fn guest(&self, browser: &str) -> String {
        format!("{browser}.{}", BASE32_NOPAD.encode(&self.sign("guest", browser)).to_lowercase())
    }

    /// The name of a browser, if it is one of ours.
    pub(crate) fn read_guest<'a>(&self, guest: &'a str) -> Option<&'a str> {
        let (browser, signature) = guest.split_once('.')?;
        let signature = BASE32_NOPAD.decode(signature.to_uppercase().as_bytes()).ok()?;
        self.verify("guest", browser, &signature, 32).then_some(browser)
    }

    /// What a browser is in one room, and in no other: 32 bytes that tell nothing about it.
    pub(crate) fn guest_in(&self, room: &RoomId, browser: &str) -> [u8; 32] {
        self.sign("guest in room", &format!("{room} {browser}"))
    }

    fn sign(&self, purpose: &str, text: &str) -> [u8; 32] {
        self.purpose(purpose, text).finalize().into_bytes().into()
    }

    fn verify(&self, purpose: &str, text: &str, signature: &[u8], len: usize) -> bool {
        signature.len() == len && self.purpose(purpose, text).verify_truncated_left(signature).is_ok()
    }

    fn purpose(&self, purpose: &str, text: &str) -> HmacSha256 {
        let key = mac(&self.secret).chain_update(b"plenum ").chain_update(purpose.as_bytes());
        mac(&key.finalize().into_bytes()).chain_update(text.as_bytes())
    }
}

fn mac(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invitations_and_sessions_are_read_back_by_their_maker_only() {
        let (ours, other) = (Secrets::new("a"), Secrets::new("b"));
        let room = RoomId::parse("room", "room").unwrap();
        let code = ours.invitation(&room);
        assert_eq!(ours.read_invitation(&code), Some(room));
        assert_eq!(other.read_invitation(&code), None);
        assert_eq!(ours.read_invitation(&code.replace("room", "moor")), None);
        assert_eq!(ours.read_invitation(&code[..code.len() - 2]), None);

        let session = ours.session(100);
        assert!(ours.is_session(&session, 99) && !ours.is_session(&session, 100));
        assert!(!other.is_session(&session, 99));
        assert!(!ours.is_session(&session.replace("100", "999"), 99));
    }

    #[test]
    fn a_browser_is_known_again_in_each_room_under_another_name() {
        let (ours, other) = (Secrets::new("a"), Secrets::new("b"));
        let guest = ours.guest("browser");
        assert_eq!(ours.read_guest(&guest), Some("browser"));
        assert_eq!(other.read_guest(&guest), None);
        assert_eq!(ours.read_guest(&guest.replace("browser", "another")), None);
        let room = |name| RoomId::parse(name, "room").unwrap();
        assert_eq!(ours.guest_in(&room("r"), "browser"), ours.guest_in(&room("r"), "browser"));
        assert_ne!(ours.guest_in(&room("r"), "browser"), ours.guest_in(&room("s"), "browser"));
        assert_ne!(ours.guest_in(&room("r"), "browser"), ours.guest_in(&room("r"), "another"));
    }

    #[test]
    fn a_body_is_signed_as_plugnmeets_sdks_do() {
        // HMAC-SHA256 test case 2 of RFC 4231.
        let signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let secrets = Secrets::new("Jefe");
        assert!(secrets.is_body_signature(b"what do ya want for nothing?", signature));
        assert!(!secrets.is_body_signature(b"what do ya want for nothing!", signature));
    }
}
