//! Packets of data tracks: LiveKit's own format, of which only the handle concerns a server
//! (`pkg/rtc/datatrack/packet.go` of livekit-server).

/// Version, flags, handle, sequence number, frame number and timestamp.
const HEADER_LEN: usize = 12;
/// Place of the flag that extensions follow the header.
const EXTENSIONS: u8 = 0b100;
const HANDLE: std::ops::Range<usize> = 2..4;

/// The publisher's or the subscriber's number of the track; `None` if the packet is cut off or has none.
pub fn handle_of(packet: &[u8]) -> Option<u16> {
    let header = packet.get(..HEADER_LEN)?;
    if header[0] & EXTENSIONS != 0 {
        // Their length in words of 32 bits, less one; it counts itself.
        let words = packet.get(HEADER_LEN..HEADER_LEN + 2)?;
        let len = (usize::from(u16::from_be_bytes([words[0], words[1]])) + 1) * 4;
        packet.get(HEADER_LEN..HEADER_LEN + len)?;
    }
    let handle = u16::from_be_bytes([header[HANDLE.start], header[HANDLE.start + 1]]);
    (handle != 0).then_some(handle)
}

/// Puts another handle into a packet that has one.
pub fn set_handle(packet: &mut [u8], handle: u16) {
    if let Some(place) = packet.get_mut(HANDLE) {
        place.copy_from_slice(&handle.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handle_is_all_that_changes() {
        let mut packet = vec![0x18, 0, 0x12, 0x34, 0, 1, 0, 2, 0, 0, 0, 3, b'x'];
        assert_eq!(handle_of(&packet), Some(0x1234));
        let before = packet.clone();
        set_handle(&mut packet, 0xabcd);
        assert_eq!(handle_of(&packet), Some(0xabcd));
        set_handle(&mut packet, 0x1234);
        assert_eq!(packet, before);
    }

    #[test]
    fn what_is_cut_off_or_has_no_handle_is_none() {
        let with_extension = [0x1c, 0, 0, 7, 0, 1, 0, 2, 0, 0, 0, 3, 0, 1, 2, 4, 1, 2, 3, 4];
        assert_eq!(handle_of(&with_extension), Some(7));
        assert!((0..with_extension.len()).all(|len| handle_of(&with_extension[..len]).is_none()));
        assert_eq!(handle_of(&[0x18, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 3]), None);
    }
}
