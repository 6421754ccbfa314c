//! Which payload type means which codec on a connection.

use super::{Codec, Offered, Session};

/// Payload types that are free for whoever needs one (RFC 3551 §6, RFC 5761 §4).
const DYNAMIC: [std::ops::RangeInclusive<u8>; 2] = [96..=127, 35..=63];

/// The payload types of a connection: one for each codec, and for its retransmissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadTypes([Offered; Codec::ALL.len()]);

impl PayloadTypes {
    /// Our own numbers.
    pub fn ours() -> Self {
        Self(Codec::ALL.map(|codec| Offered {
            payload_type: codec.payload_type(),
            codec,
            rtx: codec.rtx_payload_type(),
        }))
    }

    /// The numbers of a client's first offer. Codecs that are not in it get numbers that nothing in it has: it is
    /// our own one where that is free.
    pub fn of_offer(offer: &Session) -> Self {
        let mut taken: Vec<u8> =
            offer.media.iter().flat_map(|media| media.payload_types.iter().copied()).collect();
        let offered = |codec: Codec| {
            offer.media.iter().flat_map(|media| &media.codecs).find(|offered| offered.codec == codec)
        };
        let mut free = |own: u8| {
            let mut numbers = std::iter::once(own).chain(DYNAMIC.into_iter().flatten());
            // An offer has room for 128 numbers; one that takes them all leaves none for what it does not have.
            let number = numbers.find(|number| !taken.contains(number)).unwrap_or(own);
            taken.push(number);
            number
        };
        Self(Codec::ALL.map(|codec| match offered(codec) {
            Some(offered) => offered.clone(),
            None => Offered {
                payload_type: free(codec.payload_type()),
                codec,
                rtx: codec.rtx_payload_type().map(&mut free),
            },
        }))
    }

    /// The numbers of a codec.
    pub fn of(&self, codec: Codec) -> &Offered {
        let index = self.0.iter().position(|own| own.codec == codec);
        &self.0[index.expect("every codec has a number")]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Offered> {
        self.0.iter()
    }

    /// The codec of a packet; retransmissions have none.
    pub fn codec(&self, payload_type: u8) -> Option<Codec> {
        self.0.iter().find(|own| own.payload_type == payload_type).map(|own| own.codec)
    }
}
