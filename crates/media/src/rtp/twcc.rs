//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which packets
//! of a connection have arrived, and when.

/// Most packets that one feedback may speak of; a receiver that reports ten times a second never comes near it.
pub const MAX_STATUSES: u16 = 4_096;

/// One feedback message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Number of the first packet that it speaks of.
    pub base: u16,
    /// Packets that it speaks of.
    pub count: u16,
    /// Receiver's clock when it began, in units of 64 ms, modulo 2^24.
    pub reference: u32,
    /// Status chunks, two bytes each.
    chunks: &'a [u8],
    /// Arrival times, each relative to the one before.
    deltas: &'a [u8],
}

/// What a feedback says of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketStatus {
    /// Number of the packet.
    pub sequence: u16,
    /// When it arrived after [`TransportFeedback::reference`], in units of 250 µs; `None` if it did not.
    pub arrival: Option<i32>,
}

impl<'a> TransportFeedback<'a> {
    /// Reads what follows the SSRCs of the RTCP packet. `None` if it is cut off or speaks of too many packets.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let [b0, b1, c0, c1, r0, r1, r2, _count, rest @ ..] = body else { return None };
        let count = u16::from_be_bytes([*c0, *c1]);
        if count > MAX_STATUSES {
            return None;
        }
        let (mut covered, mut chunks) = (0, 0);
        while covered < usize::from(count) {
            let chunk = rest.get(chunks..chunks + 2)?;
            covered += chunk_len([chunk[0], chunk[1]]);
            chunks += 2;
        }
        let (chunks, deltas) = rest.split_at(chunks);
        Some(Self {
            base: u16::from_be_bytes([*b0, *b1]),
            count,
            reference: u32::from_be_bytes([0, *r0, *r1, *r2]),
            chunks,
            deltas,
        })
    }

    /// The packets in order. Ends early if arrival times are missing.
    pub fn iter(&self) -> impl Iterator<Item = PacketStatus> + use<'a> {
        let (base, mut deltas, mut arrival) = (self.base, self.deltas, 0i32);
        let symbols = self.chunks.as_chunks().0.iter().flat_map(|chunk| {
            let chunk = *chunk;
            (0..chunk_len(chunk)).map(move |at| symbol(chunk, at))
        });
        symbols.take(usize::from(self.count)).zip(0u16..).map_while(move |(symbol, offset)| {
            let sequence = base.wrapping_add(offset);
            let delta = match symbol {
                1 => {
                    let (first, rest) = deltas.split_first()?;
                    deltas = rest;
                    i32::from(*first)
                }
                2 => {
                    let (first, rest) = deltas.split_first_chunk()?;
                    deltas = rest;
                    i32::from(i16::from_be_bytes(*first))
                }
                _ => return Some(PacketStatus { sequence, arrival: None }),
            };
            // At most 4096 deltas of 16 bits: no overflow.
            arrival += delta;
            Some(PacketStatus { sequence, arrival: Some(arrival) })
        })
    }
}

/// Packets that a chunk speaks of: a run, fourteen of one bit or seven of two bits.
fn chunk_len([first, second]: [u8; 2]) -> usize {
    match first >> 6 {
        0 | 1 => usize::from(u16::from_be_bytes([first & 0x1f, second])),
        2 => 14,
        _ => 7,
    }
}

fn symbol([first, second]: [u8; 2], at: usize) -> u8 {
    let bits = u16::from_be_bytes([first, second]);
    match first >> 6 {
        0 | 1 => first >> 5 & 3,
        2 => (bits >> (13 - at) & 1) as u8,
        _ => (bits >> (12 - 2 * at) & 3) as u8,
    }
}

/// Writes the body that [`TransportFeedback::parse`] reads: `arrivals` begins with packet `base`, in units of 250 µs of the
/// receiver's clock. `feedback` counts the messages.
pub fn write(to: &mut Vec<u8>, base: u16, arrivals: &[Option<i64>], feedback: u8) {
    let first = arrivals.iter().flatten().next().copied().unwrap_or(0);
    let reference = first.div_euclid(256);
    to.extend_from_slice(&base.to_be_bytes());
    to.extend_from_slice(&(arrivals.len() as u16).to_be_bytes());
    to.extend_from_slice(&(reference as u32).to_be_bytes()[1..]);
    to.push(feedback);
    for seven in arrivals.chunks(7) {
        let bits = seven
            .iter()
            .enumerate()
            .fold(0u16, |bits, (at, arrival)| bits | if arrival.is_some() { 2 << (12 - 2 * at) } else { 0 });
        to.extend_from_slice(&(0xc000 | bits).to_be_bytes());
    }
    let mut before = reference * 256;
    for arrival in arrivals.iter().flatten() {
        let delta = (arrival - before).clamp(i64::from(i16::MIN), i64::from(i16::MAX));
        to.extend_from_slice(&(delta as i16).to_be_bytes());
        before += delta;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_chunks_are_read() {
        // Two of a run with small deltas, fourteen of one bit, three of two bits.
        let body = [0xff, 0xff, 0, 19, 0, 0, 2, 7, 0x20, 2, 0xa0, 1, 0xe4, 0, 4, 8, 1, 2, 0xff, 0xfe, 9];
        let feedback = TransportFeedback::parse(&body).expect("well formed");
        assert_eq!((feedback.base, feedback.count, feedback.reference), (0xffff, 19, 2));
        let all: Vec<_> = feedback.iter().collect();
        assert_eq!(all.len(), 19);
        let came: Vec<_> = all.iter().filter_map(|p| p.arrival.map(|at| (p.sequence, at))).collect();
        assert_eq!(came, [(0xffff, 4), (0, 12), (1, 13), (14, 15), (15, 13), (16, 22)]);
    }

    #[test]
    fn what_is_written_is_read() {
        let arrivals = [Some(70_000), None, Some(70_010), Some(69_990), None, None, None, Some(80_000), None];
        let mut body = Vec::new();
        write(&mut body, 65_530, &arrivals, 3);
        let feedback = TransportFeedback::parse(&body).expect("own");
        let start = i64::from(feedback.reference) * 256;
        let read: Vec<_> = feedback.iter().map(|p| p.arrival.map(|at| start + i64::from(at))).collect();
        assert_eq!(read, arrivals);
        for len in 0..body.len() {
            if let Some(cut) = TransportFeedback::parse(&body[..len]) {
                assert!(cut.iter().count() <= arrivals.len());
            }
        }
    }
}
