//! What leaves in one turn of a media thread: datagrams in one arena, for the shell to send in batches.

use std::net::{IpAddr, SocketAddr};

use crate::counts::Sent;

/// How a datagram travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathProtocol {
    /// UDP.
    Udp,
    /// TCP with the framing of RFC 4571.
    Tcp,
}

/// Where a datagram comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// UDP or TCP.
    pub protocol: PathProtocol,
    /// Our address, so that a machine with several answers from the one that was asked.
    pub local: Option<IpAddr>,
    /// The client's.
    pub remote: SocketAddr,
}

impl Path {
    /// A number that hardly any other destination has; who gets the same one only has shorter runs.
    fn number(&self) -> u64 {
        let ip = match self.remote.ip() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                (bits >> 64) as u64 ^ bits as u64
            }
        };
        ip << 16 ^ u64::from(self.remote.port())
    }
}

/// Datagrams of one turn.
#[derive(Debug, Default)]
pub struct SendQueue {
    bytes: Vec<u8>,
    entries: Vec<(usize, Path)>,
    gathering: Gathering,
    /// Media among all that was ever queued here.
    pub sent: Sent,
}

/// What [`SendQueue::gather`] works with; kept, so that no turn allocates.
#[derive(Debug, Default)]
struct Gathering {
    /// A number for each datagram's destination, and its place.
    order: Vec<(u64, u32)>,
    bytes: Vec<u8>,
    entries: Vec<(usize, Path)>,
}

impl SendQueue {
    /// Takes a whole datagram.
    pub fn push(&mut self, path: Path, datagram: &[u8]) {
        self.drop_unfinished();
        self.bytes.extend_from_slice(datagram);
        self.entries.push((self.bytes.len(), path));
    }

    /// Lets `write` append a datagram; what it appended is dropped when it returns `None`.
    pub fn write<T>(&mut self, path: Path, write: impl FnOnce(&mut Vec<u8>) -> Option<T>) -> Option<T> {
        self.drop_unfinished();
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        if written.is_some() {
            self.entries.push((self.bytes.len(), path));
        } else {
            self.bytes.truncate(start);
        }
        written
    }

    /// A writer that panicked may have left half a datagram, perhaps not yet encrypted.
    fn drop_unfinished(&mut self) {
        self.bytes.truncate(self.entries.last().map_or(0, |(end, _)| *end));
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The datagrams in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Path)> {
        let starts = std::iter::once(0).chain(self.entries.iter().map(|(end, _)| *end));
        starts.zip(&self.entries).map(|(start, (end, path))| (&self.bytes[start..*end], path))
    }

    /// Datagrams in a row to one destination of one length, but for the last, which may be shorter: one message
    /// to the kernel where that can segment. At most `most` datagrams.
    pub fn runs(&self, most: usize) -> impl Iterator<Item = (&[u8], usize, &Path)> {
        let mut at = 0;
        let mut start = 0;
        std::iter::from_fn(move || {
            let (end, path) = self.entries.get(at)?;
            let first = start;
            let size = end - start;
            (at, start) = (at + 1, *end);
            let mut last = *end;
            let mut count = 1;
            while let Some((end, next)) = self.entries.get(at) {
                let len = end - start;
                if count >= most || next != path || len > size || path.protocol == PathProtocol::Tcp {
                    break;
                }
                (at, start, last) = (at + 1, *end, *end);
                count += 1;
                if len < size {
                    break;
                }
            }
            Some((&self.bytes[first..last], size, path))
        })
    }

    /// Brings datagrams to one destination together, those of each in the order in which they were written. Packets of one
    /// picture that came in one turn are written one after the other, each to everybody; so they make runs. Copying a
    /// datagram costs a hundredth of the message to the kernel that a run saves.
    pub fn gather(&mut self) {
        self.drop_unfinished();
        let Gathering { order, bytes, entries } = &mut self.gathering;
        order.clear();
        order.extend(self.entries.iter().zip(0..).map(|((_, path), place)| (path.number(), place)));
        if order.is_sorted_by_key(|(number, _)| number) {
            return;
        }
        order.sort_unstable();
        // Where everybody gets one datagram there is nothing to join.
        if order.windows(2).all(|pair| pair[0].0 != pair[1].0) {
            return;
        }
        bytes.clear();
        entries.clear();
        for (_, place) in &*order {
            let place = *place as usize;
            let start = place.checked_sub(1).map_or(0, |before| self.entries[before].0);
            let (end, path) = self.entries[place];
            bytes.extend_from_slice(&self.bytes[start..end]);
            entries.push((bytes.len(), path));
        }
        std::mem::swap(&mut self.bytes, bytes);
        std::mem::swap(&mut self.entries, entries);
    }

    /// Everything was sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { protocol: PathProtocol::Udp, local: None, remote: ([127, 0, 0, 1], port).into() }
    }

    #[test]
    fn what_a_panicking_writer_left_is_not_sent() {
        let mut queue = SendQueue::default();
        queue.push(path(1), b"whole");
        let write = || {
            queue.write(path(2), |bytes| {
                bytes.extend_from_slice(b"half a secret");
                panic!("the writer has a bug") as Option<()>
            })
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err());
        queue.push(path(3), b"next");
        let sent: Vec<_> = queue.iter().map(|(bytes, path)| (bytes, path.remote.port())).collect();
        assert_eq!(sent, [(b"whole".as_slice(), 1), (b"next".as_slice(), 3)]);
    }

    #[test]
    fn equal_datagrams_to_one_client_make_a_run() {
        let mut queue = SendQueue::default();
        for (port, len) in [(1, 5), (1, 5), (1, 3), (1, 5), (2, 5), (2, 6)] {
            queue.push(path(port), &vec![0; len]);
        }
        assert_eq!(
            queue.write(path(9), |bytes| {
                bytes.push(1);
                None::<()>
            }),
            None
        );
        let runs: Vec<_> =
            queue.runs(16).map(|(bytes, size, path)| (bytes.len(), size, path.remote.port())).collect();
        assert_eq!(runs, [(13, 5, 1), (5, 5, 1), (5, 5, 2), (6, 6, 2)]);
        assert_eq!(queue.runs(1).count(), 6);
        assert_eq!(queue.iter().map(|(bytes, _)| bytes.len()).sum::<usize>(), 29);
        queue.clear();
        assert!(queue.is_empty() && queue.iter().next().is_none());
    }

    #[test]
    fn a_picture_to_everybody_is_gathered_into_runs() {
        let mut queue = SendQueue::default();
        for part in 0..3u8 {
            for port in [3, 1, 2] {
                queue.push(path(port), &[port as u8, part]);
            }
        }
        assert_eq!(queue.runs(16).count(), 9);
        queue.gather();
        let runs: Vec<_> =
            queue.runs(16).map(|(bytes, size, path)| (bytes, size, path.remote.port())).collect();
        let whole: [[u8; 6]; 3] = [1, 2, 3].map(|port| [port, 0, port, 1, port, 2]);
        assert_eq!(runs, [(&whole[0][..], 2, 1), (&whole[1][..], 2, 2), (&whole[2][..], 2, 3)]);
        // The next turn begins anew, and what needs no gathering stays as it is.
        for ports in [[2, 2, 7], [7, 2, 3]] {
            queue.clear();
            for port in ports {
                queue.push(path(port), &[port as u8]);
            }
            queue.gather();
            let kept: Vec<_> = queue.iter().map(|(bytes, path)| (bytes[0], path.remote.port())).collect();
            assert_eq!(kept, ports.map(|port| (port as u8, port)));
        }
    }
}
