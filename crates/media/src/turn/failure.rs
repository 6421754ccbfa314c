//! Why requests fail.

use crate::stun::{Class, Transaction, Writer, attribute};

/// Why a request fails (RFC 8489 §14.8, RFC 8656 §19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    BadRequest,
    /// Nothing was signed yet: every client begins so.
    Unsigned,
    Unauthorized,
    Forbidden,
    UnknownAttribute(u16),
    AllocationMismatch,
    StaleNonce,
    AddressFamilyNotSupported,
    WrongCredentials,
    UnsupportedTransport,
    PeerFamilyMismatch,
    Quota,
    Capacity,
}

impl Failure {
    /// The code, the words to the client, and the word for metrics; none for what happens to everybody.
    pub(super) fn told(self) -> (u16, &'static str, Option<&'static str>) {
        match self {
            Self::BadRequest => (400, "Bad Request", Some("bad_request")),
            Self::Unsigned => (401, "Unauthorized", None),
            Self::Unauthorized => (401, "Unauthorized", Some("unauthorized")),
            Self::Forbidden => (403, "Forbidden", Some("forbidden")),
            Self::UnknownAttribute(_) => (420, "Unknown Attribute", Some("unknown_attribute")),
            Self::AllocationMismatch => (437, "Allocation Mismatch", Some("mismatch")),
            Self::StaleNonce => (438, "Stale Nonce", None),
            Self::AddressFamilyNotSupported => (440, "Address Family not Supported", Some("family")),
            Self::WrongCredentials => (441, "Wrong Credentials", Some("unauthorized")),
            Self::UnsupportedTransport => (442, "Unsupported Transport Protocol", Some("transport")),
            Self::PeerFamilyMismatch => (443, "Peer Address Family Mismatch", Some("family")),
            Self::Quota => (486, "Allocation Quota Reached", Some("quota")),
            Self::Capacity => (508, "Insufficient Capacity", Some("capacity")),
        }
    }
}

/// Writes the reply to a request that failed.
pub(super) fn error(
    bytes: &mut Vec<u8>,
    method: u16,
    transaction: Transaction,
    failure: Failure,
) -> Writer<'_> {
    let (code, words, _) = failure.told();
    let value = [&[0, 0, (code / 100) as u8, (code % 100) as u8], words.as_bytes()].concat();
    Writer::new(bytes, Class::Error, method, transaction).attribute(attribute::ERROR_CODE, &value)
}
