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

/// Datagrams of one turn.
#[derive(Debug, Default)]
pub struct SendQueue {
    bytes: Vec<u8>,
    entries: Vec<(usize, Path)>,
    /// Media among all that was ever queued here.
    pub sent: Sent,
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
}
