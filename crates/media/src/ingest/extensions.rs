//! What the header extensions of a publisher's packets mean.

use crate::rtp::incoming::Extensions;
use crate::sdp::uri;

/// A header extension that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Mid,
    Rid,
    RepairedRid,
    TransportNumber,
    AudioLevel,
    Dependency,
}

/// Numbers of the extensions, as the offer gives them. Those above 14 are never agreed on.
#[derive(Debug, Default)]
pub(super) struct ExtensionTable([Option<Meaning>; 15]);

/// What the extensions of a packet say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// M-line.
    pub(super) mid: Option<&'a str>,
    /// Simulcast layer.
    pub(super) rid: Option<&'a str>,
    /// Simulcast layer that this packet repeats something of.
    pub(super) repaired_rid: Option<&'a str>,
    /// Number among all packets of the connection.
    pub(super) transport_number: Option<u16>,
    /// RFC 6464: 0 is loudest, 127 silent.
    pub(super) audio_level: Option<u8>,
    /// The dependency descriptor, unread.
    pub(super) dependency: Option<&'a [u8]>,
}

impl ExtensionTable {
    /// Learns the numbers of an offer.
    pub(super) fn learn(&mut self, extensions: &[(u8, String)]) {
        for (id, name) in extensions {
            let meaning = match name.as_str() {
                uri::MID => Meaning::Mid,
                uri::RID => Meaning::Rid,
                uri::REPAIRED_RID => Meaning::RepairedRid,
                uri::TRANSPORT_CC => Meaning::TransportNumber,
                uri::AUDIO_LEVEL => Meaning::AudioLevel,
                uri::DEPENDENCY => Meaning::Dependency,
                _ => continue,
            };
            if let Some(slot) = self.0.get_mut(usize::from(*id)) {
                *slot = Some(meaning);
            }
        }
    }

    /// Reads the extensions of a packet; values of another shape than they must have are left out.
    pub(super) fn read<'a>(&self, extensions: Extensions<'a>) -> Said<'a> {
        let mut said = Said::default();
        for (id, value) in extensions {
            let text = || std::str::from_utf8(value).ok();
            match self.0.get(usize::from(id)).copied().flatten() {
                Some(Meaning::Mid) => said.mid = text(),
                Some(Meaning::Rid) => said.rid = text(),
                Some(Meaning::RepairedRid) => said.repaired_rid = text(),
                Some(Meaning::TransportNumber) => {
                    said.transport_number = value.first_chunk().map(|number| u16::from_be_bytes(*number));
                }
                Some(Meaning::AudioLevel) => said.audio_level = value.first().map(|level| level & 0x7f),
                Some(Meaning::Dependency) => said.dependency = Some(value),
                None => {}
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Incoming;

    #[test]
    fn values_are_read_by_the_numbers_of_the_offer() {
        let mut table = ExtensionTable::default();
        let names = [(3, uri::TRANSPORT_CC), (4, uri::MID), (1, uri::AUDIO_LEVEL), (200, uri::RID)];
        table.learn(&names.map(|(id, name)| (id, name.to_owned())));
        let bytes = [
            &[0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 3][..],
            &[0x10, 0x85, 0x31, 1, 2, 0x41, b'a', b'b', 0x20, 9, 0, 0],
        ]
        .concat();
        let header = Incoming::parse(&bytes).expect("well-formed");
        let said = table.read(header.extensions);
        let expected =
            Said { mid: Some("ab"), transport_number: Some(0x0102), audio_level: Some(5), ..Said::default() };
        assert_eq!(said, expected);
    }
}
