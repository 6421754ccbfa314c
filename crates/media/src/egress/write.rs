//! Puts packets for one subscriber into the queue: header, payload, encryption.

use std::time::Instant;

use super::link::Link;
use crate::downtrack::{Content, DownConfig, DownTrack, Outgoing, Repeat, Rtx, Wrapping};
use crate::fault::{self, Point};
use crate::ring::Packet;
use crate::rtp::{Dependency, Header, red, vp8, write_header};
use crate::sending::{Path, SendQueue};
use crate::srtp::{Resend, SrtpSender};

/// Where the packets of a connection go in one turn.
pub(super) struct Outlet<'a> {
    pub(super) now: Instant,
    pub(super) sender: &'a mut SrtpSender,
    pub(super) path: Path,
    pub(super) queue: &'a mut SendQueue,
}

impl Outlet<'_> {
    /// Sends a packet for the first time. `false` if that cannot be.
    pub(super) fn media(
        &mut self,
        link: &mut Link,
        track: &mut DownTrack,
        packet: &Packet,
        outgoing: &Outgoing,
    ) -> bool {
        let transport = track.config.transport.map(|id| (id, link.next_number()));
        let playout_delay = track.playout_delay(outgoing.numbers.sequence);
        let header = Header { playout_delay, ..header(&track.config, outgoing, packet, transport) };
        let Self { sender, queue, .. } = self;
        let written = queue.write(self.path, |bytes| {
            let start = bytes.len();
            let header_len = write_header(bytes, &header);
            let payload_len = write_payload(bytes, packet, outgoing)?;
            fault::point(Point::Write);
            let index = outgoing.numbers.sequence;
            sender.protect_rtp(bytes, start, header_len, index, Resend::No).ok()?;
            Some((payload_len, bytes.len() - start))
        });
        let Some((payload_len, len)) = written else { return false };
        link.left(self.now, len, transport.is_some());
        self.queue.sent.first.add(len);
        track.packets = track.packets.wrapping_add(1);
        track.octets = track.octets.wrapping_add(payload_len as u32);
        track.note_left(self.now, outgoing.numbers.sequence, transport.map(|(_, number)| number));
        true
    }

    /// Sends a packet again. `false` if that cannot be.
    pub(super) fn repeat(&mut self, link: &mut Link, config: &DownConfig, repeat: &Repeat<'_>) -> bool {
        let Repeat { packet, outgoing, wrapping } = repeat;
        let fresh = config.transport.map(|id| (id, link.next_number()));
        let Self { sender, queue, .. } = self;
        let written = queue.write(self.path, |bytes| {
            let start = bytes.len();
            let (header_len, index, resend) = match wrapping {
                // The very same bytes go out again: same index, same content.
                Wrapping::Same(left) => {
                    let header = header(config, outgoing, packet, config.transport.zip(left.transport));
                    (write_header(bytes, &header), outgoing.numbers.sequence, Resend::Identical)
                }
                Wrapping::Rtx(rtx) => {
                    let original = header(config, outgoing, packet, fresh);
                    let header = Header {
                        payload_type: rtx.payload_type,
                        sequence: rtx.sequence as u16,
                        ssrc: rtx.ssrc,
                        ..original
                    };
                    let header_len = write_header(bytes, &header);
                    // RFC 4588 §4: the original number comes first.
                    bytes.extend_from_slice(&original.sequence.to_be_bytes());
                    (header_len, rtx.sequence, Resend::No)
                }
            };
            write_payload(bytes, packet, outgoing)?;
            sender.protect_rtp(bytes, start, header_len, index, resend).ok()?;
            Some(bytes.len() - start)
        });
        let Some(len) = written else { return false };
        self.queue.sent.repeated.add(len);
        match wrapping {
            Wrapping::Rtx(_) => link.left(self.now, len, fresh.is_some()),
            Wrapping::Same(left) => link.left_again(left.transport),
        }
        true
    }

    /// Sends a packet of nothing but padding (RFC 3550 §5.1). `false` if that cannot be.
    pub(super) fn padding(&mut self, link: &mut Link, config: &DownConfig, rtx: Rtx) -> bool {
        let transport = config.transport.map(|id| (id, link.next_number()));
        let Self { sender, queue, .. } = self;
        let written = queue.write(self.path, |bytes| {
            let start = bytes.len();
            let header = Header {
                payload_type: rtx.payload_type,
                marker: false,
                sequence: rtx.sequence as u16,
                timestamp: config.first_timestamp,
                ssrc: rtx.ssrc,
                mid: config.mid.as_ref().map(|(id, mid)| (*id, mid.as_str())),
                transport,
                playout_delay: None,
                dependency: None,
            };
            let header_len = write_header(bytes, &header);
            bytes[start] |= 0x20;
            bytes.resize(bytes.len() + usize::from(PADDING) - 1, 0);
            bytes.push(PADDING);
            sender.protect_rtp(bytes, start, header_len, rtx.sequence, Resend::No).ok()?;
            Some(bytes.len() - start)
        });
        let Some(len) = written else { return false };
        self.queue.sent.padding.add(len);
        link.left(self.now, len, transport.is_some());
        true
    }
}

/// Bytes of padding, the most that there may be.
const PADDING: u8 = 255;

fn header<'a>(
    config: &'a DownConfig,
    outgoing: &Outgoing,
    packet: &'a Packet,
    transport: Option<(u8, u16)>,
) -> Header<'a> {
    let descriptor = packet.dependency().filter(|_| outgoing.content != Content::Nothing);
    let dependency = descriptor.zip(outgoing.numbers.frame_number).zip(config.dependency);
    Header {
        payload_type: outgoing.payload_type,
        marker: outgoing.marker,
        sequence: outgoing.numbers.sequence as u16,
        timestamp: outgoing.numbers.timestamp,
        ssrc: config.ssrc,
        mid: config.mid.as_ref().map(|(id, mid)| (*id, mid.as_str())),
        transport,
        playout_delay: None,
        dependency: dependency.map(|((descriptor, frame_number), id)| Dependency {
            id,
            descriptor,
            frame_number,
            mask: outgoing.mask,
        }),
    }
}

/// Appends the payload as the subscriber is to see it and returns its length.
fn write_payload(to: &mut Vec<u8>, packet: &Packet, outgoing: &Outgoing) -> Option<usize> {
    let start = to.len();
    match (outgoing.content, packet.vp8(), outgoing.numbers.vp8) {
        (Content::Nothing, ..) => {}
        (Content::Primary, ..) => to.extend_from_slice(red::primary(&packet.payload)?),
        (Content::Whole, Some(descriptor), Some(patch)) => {
            vp8::write_rewritten(to, &packet.payload, descriptor, patch);
        }
        (Content::Whole, ..) => to.extend_from_slice(&packet.payload),
    }
    Some(to.len() - start)
}
