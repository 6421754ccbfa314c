//! Which packets of a connection have arrived and when, kept until the sender is told.

use std::time::Instant;

use super::rtcp;

/// Most packets that one feedback speaks of: about 1,200 bytes.
const MAX_STATUSES: usize = 500;
/// Packets that may arrive between two feedbacks; more are a flood, of which the rest is not told.
const MAX_ARRIVALS: usize = 8_192;

/// Arrivals of a connection since the last feedback.
#[derive(Debug)]
pub struct Arrivals {
    start: Instant,
    /// Highest number so far; `None` before the first packet.
    highest: Option<u64>,
    /// First number that no feedback has spoken of.
    base: u64,
    /// Extended number and time, in units of 250 µs since `start`.
    came: Vec<(u64, i64)>,
    count: u8,
}

impl Arrivals {
    /// Nothing has arrived. Times are told from `start` on.
    pub fn new(start: Instant) -> Self {
        Self { start, highest: None, base: 0, came: Vec::new(), count: 0 }
    }

    /// A packet of that number has arrived. Returns the number with roll-overs.
    pub fn push(&mut self, now: Instant, number: u16) -> u64 {
        let number = match self.highest {
            // From 2^16 on, so that what is older than the first has a number too.
            None => {
                self.base = 0x1_0000 + u64::from(number);
                self.base
            }
            Some(highest) => super::extend(highest, number),
        };
        self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        if number >= self.base && self.came.len() < MAX_ARRIVALS {
            let at = now.saturating_duration_since(self.start).as_micros() / 250;
            self.came.push((number, at as i64));
        }
        number
    }

    /// Packets that have not been told of.
    pub fn len(&self) -> usize {
        self.came.len()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.came.is_empty()
    }

    /// Writes what is to be told about packets of `media` and others, in the name of `sender`, and forgets it. `write`
    /// gets one RTCP packet after the other, each at most 1,300 bytes long.
    pub fn tell(&mut self, sender: u32, media: u32, mut write: impl FnMut(&[u8])) {
        self.came.sort_unstable();
        self.came.dedup_by_key(|(number, _)| *number);
        let mut rest = self.came.as_slice();
        let mut statuses = Vec::new();
        let mut packet = Vec::new();
        while let Some((last, _)) = rest.last() {
            // Whatever a stranger's numbers do, gaps are told in bounded pieces; one that is wider is left out.
            let first = rest.first().map_or(self.base, |(first, _)| *first);
            if first - self.base >= MAX_STATUSES as u64 {
                self.base = first;
            }
            let end = (last + 1).min(self.base + MAX_STATUSES as u64);
            let split = rest.partition_point(|(number, _)| *number < end);
            statuses.clear();
            statuses.resize((end - self.base) as usize, None);
            for (number, at) in &rest[..split] {
                statuses[(number - self.base) as usize] = Some(*at);
            }
            packet.clear();
            rtcp::write_arrivals(&mut packet, sender, media, self.base as u16, &statuses, self.count);
            write(&packet);
            self.count = self.count.wrapping_add(1);
            self.base = end;
            rest = &rest[split..];
        }
        self.came.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rtcp::Feedback;
    use super::*;

    /// What the feedback says: number and whether it came.
    fn told(arrivals: &mut Arrivals) -> Vec<(u16, bool)> {
        let mut told = Vec::new();
        arrivals.tell(1, 2, |bytes| {
            assert!(bytes.len() < 1_300);
            let all: Vec<Feedback<'_>> = rtcp::parse(bytes).collect();
            let [Feedback::Arrivals(feedback)] = all.as_slice() else { panic!("{all:?}") };
            told.extend(feedback.iter().map(|packet| (packet.sequence, packet.arrival.is_some())));
        });
        told
    }

    #[test]
    fn every_number_is_told_once_whether_it_came_or_not() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        for (nth, number) in [65_534u16, 65_535, 1, 0, 4].into_iter().enumerate() {
            arrivals.push(start + Duration::from_millis(nth as u64), number);
        }
        let expected =
            [(65_534, true), (65_535, true), (0, true), (1, true), (2, false), (3, false), (4, true)];
        assert_eq!(arrivals.len(), 5);
        assert_eq!(told(&mut arrivals), expected);
        assert!(arrivals.is_empty());
        assert_eq!(told(&mut arrivals), []);
        // What comes late was told to be missing; the next begins after it.
        arrivals.push(start, 3);
        assert_eq!(told(&mut arrivals), []);
        arrivals.push(start, 6);
        assert_eq!(told(&mut arrivals), [(5, false), (6, true)]);
    }

    #[test]
    fn many_packets_and_wide_gaps_take_several() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        (0..1_200).for_each(|number| _ = arrivals.push(start, number));
        assert_eq!(told(&mut arrivals), (0..1_200).map(|number| (number, true)).collect::<Vec<_>>());
        arrivals.push(start, 20_000);
        assert_eq!(told(&mut arrivals), [(20_000, true)]);
    }
}
