//! What came out.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Serialize, Serializer};

use super::{participant::Outcome, watched::Usage};

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) people: usize,
    pub(super) rooms: usize,
    pub(super) joins: Joins,
    /// Milliseconds from somebody's first request until the first picture was whole.
    pub(super) first_picture_ms: Option<Spread>,
    /// People who waited for a picture that never came.
    pub(super) without_picture: usize,
    /// Tracks that came, and that should have.
    pub(super) tracks: usize,
    pub(super) tracks_expected: usize,
    /// Seconds that were measured.
    #[serde(serialize_with = "seconds")]
    pub(super) measured: Duration,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// By the numbers of the packets that came.
    pub(super) missing: u64,
    pub(super) repeated: u64,
    pub(super) bytes: u64,
    /// Packets that were decrypted, and what was wrong with them.
    pub(super) opened: u64,
    pub(super) damaged: u64,
    pub(super) data: u64,
    pub(super) delays_us: DelaySpreads,
    /// How media were encrypted, for how many.
    pub(super) srtp_profiles: BTreeMap<&'static str, usize>,
    /// People who were lost after they had come and did not come back, by reason.
    pub(super) lost: BTreeMap<String, usize>,
    /// How often somebody had to come again, by reason.
    pub(super) returns: BTreeMap<String, usize>,
    /// Milliseconds from being sent away or lost until media and data could flow again.
    pub(super) return_ms: Option<Spread>,
    /// How much of a core this program needed, and how late its latest packet was: what is late here says nothing of the
    /// server.
    pub(super) generator: Generator,
    pub(super) server: Option<Server>,
}

#[derive(Debug, Serialize)]
pub(super) struct Generator {
    pub(super) cores: f64,
    pub(super) late_ms: f64,
}

/// How people came.
#[derive(Debug, Serialize)]
pub(super) struct Joins {
    pub(super) joined: usize,
    /// By reason.
    pub(super) failed: BTreeMap<String, usize>,
    /// Milliseconds from the first request until media and data can flow.
    pub(super) time_ms: Option<Spread>,
    pub(super) per_second: f64,
}

/// The server's process.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    /// Before anybody came.
    pub(super) idle_kib: u64,
    /// While people came.
    pub(super) joining: Usage,
    /// While it was measured.
    pub(super) measuring: Usage,
    /// Microseconds of processor time for each packet received here.
    pub(super) cpu_us_per_packet: Option<f64>,
    /// Milliseconds of processor time for each who came.
    pub(super) cpu_ms_per_join: Option<f64>,
}

/// Forwarding delay in microseconds, of the packets that were decrypted.
#[derive(Debug, Default, Serialize)]
pub(super) struct DelaySpreads {
    pub(super) sound: Option<Spread>,
    /// First packets of pictures.
    pub(super) picture_first: Option<Spread>,
    /// The rest of pictures, which a pacer may hold.
    pub(super) picture_rest: Option<Spread>,
    pub(super) data: Option<Spread>,
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    pub(super) count: usize,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let max = *values.last()?;
        // The nearest rank.
        let rank =
            |part: f64| values[((values.len() as f64 * part).ceil() as usize).clamp(1, values.len()) - 1];
        Some(Self { p50: rank(0.5), p95: rank(0.95), p99: rank(0.99), max, count: values.len() })
    }
}

pub(super) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Report {
    /// Adds everybody's outcome.
    pub(super) fn add(&mut self, outcomes: Vec<Outcome>) {
        let (mut pictures, mut absences) = (Vec::new(), Vec::new());
        let mut delays: [Vec<f64>; 4] = Default::default();
        for outcome in outcomes {
            if let Some(reason) = outcome.lost {
                *self.lost.entry(reason).or_default() += 1;
            }
            for (reason, away) in outcome.returns {
                *self.returns.entry(reason).or_default() += 1;
                absences.push(ms(away));
            }
            if outcome.waits_for_picture {
                match outcome.first_picture {
                    Some(time) => pictures.push(ms(time)),
                    None => self.without_picture += 1,
                }
            }
            if let Some(profile) = outcome.srtp_profile {
                *self.srtp_profiles.entry(profile).or_default() += 1;
            }
            self.tracks += outcome.tracks;
            self.tracks_expected += outcome.tracks_expected;
            self.sent += outcome.sent;
            self.received += outcome.packets;
            self.missing += outcome.missing;
            self.repeated += outcome.repeated;
            self.bytes += outcome.bytes;
            self.opened += outcome.opened;
            self.damaged += outcome.damaged;
            self.data += outcome.data;
            self.generator.late_ms = self.generator.late_ms.max(ms(outcome.late));
            let own = [outcome.delays.sound, outcome.delays.first, outcome.delays.rest, outcome.delays.data];
            for (all, own) in delays.iter_mut().zip(own) {
                all.extend(own.into_iter().map(f64::from));
            }
        }
        self.first_picture_ms = Spread::of(pictures);
        self.return_ms = Spread::of(absences);
        let [sound, picture_first, picture_rest, data] = delays.map(Spread::of);
        self.delays_us = DelaySpreads { sound, picture_first, picture_rest, data };
    }

    /// Says of the server what can be said only when everything is counted.
    pub(super) fn finish(&mut self) {
        let packets = self.received + self.data;
        let joined = self.joins.joined;
        if let Some(server) = &mut self.server {
            let of = |time: Duration, count: f64| (count > 0.0).then(|| time.as_secs_f64() / count);
            server.cpu_us_per_packet = of(server.measuring.cpu, packets as f64).map(|each| each * 1e6);
            server.cpu_ms_per_join = of(server.joining.cpu, joined as f64).map(|each| each * 1e3);
        }
    }

    /// Whether everybody came and stayed, everything came, and nothing was damaged.
    pub(super) fn is_clean(&self) -> bool {
        self.joins.failed.is_empty() && self.lost.is_empty() && self.damaged == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.measured.as_secs_f64().max(f64::EPSILON);
        let rate = |count: u64| count as f64 / seconds;
        writeln!(
            f,
            "joined            {} of {}, {:.1}/s",
            self.joins.joined, self.people, self.joins.per_second
        )?;
        spread(f, "  time", self.joins.time_ms, "ms")?;
        for (reason, count) in &self.joins.failed {
            writeln!(f, "  failed          {count}: {reason}")?;
        }
        for (reason, count) in &self.lost {
            writeln!(f, "  lost later      {count}: {reason}")?;
        }
        for (reason, count) in &self.returns {
            writeln!(f, "came again        {count}: {reason}")?;
        }
        spread(f, "  after", self.return_ms, "ms")?;
        spread(f, "first picture", self.first_picture_ms, "ms")?;
        if self.without_picture > 0 {
            writeln!(f, "  never           {}", self.without_picture)?;
        }
        writeln!(f, "tracks            {} of {}", self.tracks, self.tracks_expected)?;
        writeln!(f, "measured          {seconds:.1} s")?;
        writeln!(f, "sent              {:.0} packets/s", rate(self.sent))?;
        writeln!(
            f,
            "received          {:.0} packets/s, {:.2} Mbit/s, {} missing, {} repeated",
            rate(self.received),
            rate(self.bytes) * 8.0 / 1e6,
            self.missing,
            self.repeated
        )?;
        for (profile, count) in &self.srtp_profiles {
            writeln!(f, "encryption        {profile} for {count}")?;
        }
        writeln!(f, "decrypted         {} packets, {} damaged", self.opened, self.damaged)?;
        if self.data > 0 {
            writeln!(f, "data              {:.0} packets/s", rate(self.data))?;
        }
        spread(f, "delay of sound", self.delays_us.sound, "µs")?;
        spread(f, "delay of pictures", self.delays_us.picture_first, "µs, their first packets")?;
        spread(f, "", self.delays_us.picture_rest, "µs, the rest")?;
        spread(f, "delay of data", self.delays_us.data, "µs")?;
        let Generator { cores, late_ms } = self.generator;
        writeln!(f, "this program      {cores:.2} cores, at most {late_ms:.1} ms late")?;
        if let Some(server) = &self.server {
            writeln!(
                f,
                "server            {:.2} cores, {:.0} % in the kernel, {} KiB idle, {} KiB now",
                server.measuring.cpu.as_secs_f64() / seconds,
                100.0 * server.measuring.system.as_secs_f64() / server.measuring.cpu.as_secs_f64().max(1e-9),
                server.idle_kib,
                server.measuring.memory_kib
            )?;
            let each = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            writeln!(
                f,
                "  for each        {} µs a packet, {} ms a join",
                each(server.cpu_us_per_packet),
                each(server.cpu_ms_per_join)
            )?;
        }
        Ok(())
    }
}

fn spread(f: &mut fmt::Formatter<'_>, what: &str, spread: Option<Spread>, unit: &str) -> fmt::Result {
    let Some(Spread { p50, p95, p99, max, .. }) = spread else { return Ok(()) };
    writeln!(f, "{what:<17} p50 {p50:.0}, p95 {p95:.0}, p99 {p99:.0}, max {max:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_nearest() {
        assert_eq!(Spread::of(Vec::new()), None);
        let spread = Spread::of((1..=100).rev().map(f64::from).collect()).expect("of something");
        assert_eq!(
            (spread.p50, spread.p95, spread.p99, spread.max, spread.count),
            (50.0, 95.0, 99.0, 100.0, 100)
        );
        let one = Spread::of(vec![7.0]).expect("of something");
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
    }
}
