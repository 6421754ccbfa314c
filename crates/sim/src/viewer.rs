//! What somebody sees and hears of what comes: a model of a receiver. It shows a picture once all that it needs has come,
//! waits for what is repeated, and asks for a key frame as libwebrtc does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use plenum_client::{Picture, Received, Sound};

/// Before the first picture a key frame is asked for again after this time (libwebrtc: `kMaxWaitForKeyFrame`) …
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(200);
/// … later one is asked for when nothing could be shown for this long (libwebrtc: `kMaxWaitForFrame`).
const PICTURE_PATIENCE: Duration = Duration::from_secs(3);

/// Everything that comes to one person, by SSRC.
#[derive(Debug, Default)]
pub struct Viewer {
    pictures: BTreeMap<u32, Screen>,
    sounds: BTreeMap<u32, Speaker>,
}

impl Viewer {
    /// A packet came.
    pub fn push(&mut self, packet: &Received) {
        if let Some(picture) = Picture::parse(&packet.payload) {
            let screen = self.pictures.entry(packet.ssrc).or_insert_with(|| Screen::new(packet.at));
            screen.push(packet.at, packet.sequence, Some(picture), packet.payload.len());
        } else if packet.payload.is_empty() {
            if let Some(screen) = self.pictures.get_mut(&packet.ssrc) {
                screen.push(packet.at, packet.sequence, None, 0);
            }
        } else {
            let speaker = self.sounds.entry(packet.ssrc).or_default();
            Sound::parse_all(&packet.payload).for_each(|sound| speaker.push(packet.at, sound));
        }
    }

    /// When to look whether key frames are to be asked for.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.pictures.values().map(Screen::next_timeout).min()
    }

    /// The streams that a key frame is to be asked for of.
    pub fn poll_keyframes(&mut self, now: Instant) -> Vec<u32> {
        let due = self.pictures.iter_mut().filter_map(|(ssrc, screen)| screen.asks(now).then_some(*ssrc));
        due.collect()
    }

    /// What was shown, by stream.
    pub fn pictures(&self) -> &BTreeMap<u32, Screen> {
        &self.pictures
    }

    /// What was heard, by stream.
    pub fn sounds(&self) -> &BTreeMap<u32, Speaker> {
        &self.sounds
    }
}

/// A picture that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// When.
    pub at: Instant,
    /// The simulcast layer that it is of.
    pub layer: u8,
    /// The camera's count.
    pub number: u32,
    /// When it was sent.
    pub sent: Duration,
    /// Its packets.
    pub parts: u8,
    /// Bytes of its payloads.
    pub bytes: usize,
}

/// One stream of pictures.
#[derive(Debug)]
pub struct Screen {
    /// What has come and is not shown yet, by number; nothing where a packet has no content.
    waiting: BTreeMap<u64, Option<(Picture, usize)>>,
    /// The number after the last picture that was shown.
    next: Option<u64>,
    shown: Vec<Shown>,
    /// The first number and the last, and how many came in time.
    numbers: Option<(u64, u64)>,
    came: u64,
    asked: Instant,
    /// When a packet of a key frame last came.
    key_came: Option<Instant>,
}

impl Screen {
    fn new(now: Instant) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: None,
            shown: Vec::new(),
            numbers: None,
            came: 0,
            asked: now,
            key_came: None,
        }
    }

    /// Every picture that was shown, in order.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// Thousandths of the packets that did not come, or not before something else was shown.
    pub fn lost(&self) -> u32 {
        let all = self.numbers.map_or(0, |(first, last)| last - first + 1);
        (all.saturating_sub(self.came) * 1_000 / all.max(1)) as u32
    }

    /// Whether a key frame is to be asked for now.
    fn asks(&mut self, now: Instant) -> bool {
        let due = self.next_timeout() <= now;
        if due {
            self.asked = now;
        }
        due
    }

    fn next_timeout(&self) -> Instant {
        match self.shown.last() {
            // Nobody asks for what is just coming.
            None => self.asked.max(self.key_came.unwrap_or(self.asked)) + KEYFRAME_PATIENCE,
            Some(last) => self.asked.max(last.at) + PICTURE_PATIENCE,
        }
    }

    fn push(&mut self, now: Instant, number: u64, picture: Option<Picture>, len: usize) {
        let (first, last) = self.numbers.unwrap_or((number, number));
        self.numbers = Some((first.min(number), last.max(number)));
        // What comes after its turn is of no use.
        if self.next.is_some_and(|next| number < next) {
            return;
        }
        self.came += u64::from(self.waiting.insert(number, picture.map(|picture| (picture, len))).is_none());
        if let Some(picture) = picture.filter(|picture| picture.key) {
            self.key_came = Some(now);
            let start = number.saturating_sub(picture.part.into());
            if self.is_whole(start) {
                // Whatever is missing before it is not needed any more.
                self.waiting = self.waiting.split_off(&start);
                self.next = Some(start);
            }
        }
        while let Some(next) = self.next {
            match self.waiting.get(&next) {
                Some(None) => {
                    self.waiting.remove(&next);
                    self.next = Some(next + 1);
                }
                Some(Some(_)) if self.is_whole(next) => self.show(now, next),
                Some(Some(_)) | None => break,
            }
        }
    }

    /// Whether a whole picture begins with that number.
    fn is_whole(&self, start: u64) -> bool {
        let Some(Some((first, _))) = self.waiting.get(&start) else { return false };
        let belongs = |part: u8| {
            let there = self.waiting.get(&(start + u64::from(part)));
            matches!(there, Some(Some((own, _))) if (own.id, own.part) == (first.id, part))
        };
        (0..first.parts).all(belongs)
    }

    fn show(&mut self, now: Instant, start: u64) {
        let Some(Some((first, _))) = self.waiting.get(&start).copied() else { return };
        let end = start + u64::from(first.parts);
        let rest = self.waiting.split_off(&end);
        let bytes = self.waiting.values().flatten().map(|(_, len)| len).sum();
        self.waiting = rest;
        self.next = Some(end);
        let Picture { layer, number, sent, parts, .. } = first;
        self.shown.push(Shown { at: now, layer, number, sent, parts, bytes });
    }
}

/// One stream of sound.
#[derive(Debug, Default)]
pub struct Speaker {
    /// By the microphone's count: when it came first, and when it was sent.
    heard: BTreeMap<u32, (Instant, Duration)>,
}

impl Speaker {
    fn push(&mut self, now: Instant, sound: Sound) {
        self.heard.entry(sound.number).or_insert((now, sound.sent));
    }

    /// By the microphone's count: when it came first, and when it was sent.
    pub fn heard(&self) -> &BTreeMap<u32, (Instant, Duration)> {
        &self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(packets: &[(u64, u16, u8, bool)]) -> (Screen, Vec<u16>) {
        let start = Instant::now();
        let mut screen = Screen::new(start);
        for (nth, (number, id, part, key)) in packets.iter().enumerate() {
            let sent = Duration::ZERO;
            let picture = Picture {
                id: *id,
                tl0: 0,
                key: *key,
                layer: 0,
                number: u32::from(*id),
                part: *part,
                parts: 2,
                sent,
            };
            let picture = (*id > 0).then_some(picture);
            screen.push(start + Duration::from_millis(nth as u64), *number, picture, 100);
        }
        let shown = screen.shown.iter().map(|shown| shown.number as u16).collect();
        (screen, shown)
    }

    #[test]
    fn pictures_are_shown_whole_and_in_order_from_a_key_frame_on() {
        let (_, shown) = screen(&[(10, 1, 0, false), (11, 1, 1, false), (12, 2, 0, false)]);
        assert!(shown.is_empty(), "no key frame yet");
        let packets = [(12, 2, 0, true), (14, 3, 0, false), (15, 3, 1, false), (13, 2, 1, true)];
        assert_eq!(screen(&packets).1, [2, 3], "the missing packet comes late");
        let packets =
            [(1, 1, 0, true), (2, 1, 1, true), (4, 0, 0, false), (5, 2, 0, false), (6, 2, 1, false)];
        assert_eq!(screen(&packets).1, [1], "number 3 is missing");
        let filled = [packets.as_slice(), &[(3, 0, 0, false)]].concat();
        assert_eq!(screen(&filled).1, [1, 2], "it and number 4 have no content");
        let renewed = [packets.as_slice(), &[(9, 4, 0, true), (10, 4, 1, true)]].concat();
        assert_eq!(screen(&renewed).1, [1, 4], "a key frame needs nothing");
    }

    #[test]
    fn key_frames_are_asked_for_with_patience() {
        let (mut screen, _) = screen(&[(10, 1, 0, false)]);
        let start = screen.asked;
        let ms = |ms| start + Duration::from_millis(ms);
        let asks: Vec<bool> = [199, 200, 300, 400].map(|at| screen.asks(ms(at))).to_vec();
        assert_eq!(asks, [false, true, false, true]);
        screen.push(ms(500), 20, Some(Picture { key: true, parts: 1, part: 0, ..stamp() }), 100);
        let asks: Vec<bool> = [3_499, 3_500, 3_700, 6_500].map(|at| screen.asks(ms(at))).to_vec();
        assert_eq!(asks, [false, true, false, true]);
    }

    fn stamp() -> Picture {
        let sent = Duration::ZERO;
        Picture { id: 1, tl0: 0, key: false, layer: 0, number: 1, part: 0, parts: 1, sent }
    }
}
