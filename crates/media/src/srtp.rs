//! SRTP and SRTCP (RFC 3711, RFC 7714).
//!
//! The same packet index is never used for two different packets: with AES-GCM that would give the
//! authentication key away. [`SrtpSender::protect_rtp`] therefore refuses an index that it has seen. A connection has one
//! sender, so that nobody else uses its keys.

use std::collections::HashMap;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use dimpl::SrtpProfile;

use crate::rtp::extend;

/// Length of the GCM tag.
const GCM_TAG: usize = 16;
/// Length of the truncated HMAC-SHA1 tag.
const SHA1_TAG: usize = 10;
/// How many late packets a stream remembers to have sent or received.
const WINDOW: u64 = 1024;
/// How many streams of the other side are remembered, and how many that have reported.
const STREAMS: usize = 256;
/// See [`STREAMS`].
const REPORTERS: usize = 64;
const WINDOW_WORDS: usize = (WINDOW / 64) as usize;

/// Most bytes that protection adds to a packet.
pub const MAX_OVERHEAD: usize = GCM_TAG + 4;

/// Keys that DTLS has agreed on.
#[derive(Clone)]
pub struct SrtpKeys {
    profile: SrtpProfile,
    client_key: Vec<u8>,
    server_key: Vec<u8>,
    client_salt: Vec<u8>,
    server_salt: Vec<u8>,
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl SrtpKeys {
    /// Splits the keying material of RFC 5764 §4.2. `None` if its length does not fit the profile.
    pub fn new(profile: SrtpProfile, material: &[u8]) -> Option<Self> {
        let (key, salt) = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            _ => return None,
        };
        if material.len() < 2 * (key + salt) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key);
        Some(Self {
            profile,
            client_key: keys[..key].to_vec(),
            server_key: keys[key..].to_vec(),
            client_salt: salts[..salt].to_vec(),
            server_salt: salts[salt..2 * salt].to_vec(),
        })
    }

    /// What was agreed on, in the names of RFC 5764 and RFC 7714.
    pub fn profile(&self) -> &'static str {
        match self.profile {
            SrtpProfile::AEAD_AES_128_GCM => "AEAD_AES_128_GCM",
            SrtpProfile::AEAD_AES_256_GCM => "AEAD_AES_256_GCM",
            _ => "AES128_CM_HMAC_SHA1_80",
        }
    }

    /// The sending and the receiving half of the DTLS client or server.
    pub fn contexts(&self, is_client: bool) -> (SrtpSender, SrtpReceiver) {
        let client = || Session::new(self.profile, &self.client_key, &self.client_salt);
        let server = || Session::new(self.profile, &self.server_key, &self.server_salt);
        let (ours, theirs) = if is_client { (client(), server()) } else { (server(), client()) };
        (
            SrtpSender { session: ours, rtcp_index: 0, sent: HashMap::new() },
            SrtpReceiver {
                session: theirs,
                streams: Windows::new(STREAMS),
                reporters: Windows::new(REPORTERS),
            },
        )
    }
}

/// Why a packet was not protected or accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Too short to be a protected packet.
    #[error("packet is too short")]
    Short,
    /// The tag does not fit: not from our peer, or damaged.
    #[error("packet is not authentic")]
    NotAuthentic,
    /// The index was used before or is too old to know.
    #[error("packet index was used before")]
    Replayed,
}

/// Protects what we send.
pub struct SrtpSender {
    session: Session,
    rtcp_index: u32,
    /// Indices already used, by SSRC. Bounded by the streams that this connection ever had.
    sent: HashMap<u32, Window>,
}

impl SrtpSender {
    /// Protects the RTP packet in `packet[start..]`, whose header is `header_len` long and whose extended
    /// sequence number (roll-over counter and number) is `index`.
    pub fn protect_rtp(
        &mut self,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        index: u64,
        resend: Resend,
    ) -> Result<(), SrtpError> {
        if packet.len() < start + header_len || header_len < 12 {
            return Err(SrtpError::Short);
        }
        let ssrc = be32(&packet[start + 8..]);
        if resend == Resend::No {
            let window = self.sent.entry(ssrc).or_default();
            if !window.check(index) {
                return Err(SrtpError::Replayed);
            }
            window.mark(index);
        }
        self.session.rtp.seal_rtp(packet, start, header_len, ssrc, index);
        Ok(())
    }

    /// Forgets a stream that will never be used again.
    pub fn forget(&mut self, ssrc: u32) {
        self.sent.remove(&ssrc);
    }

    /// Protects the compound RTCP packet in `packet[start..]`.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        if packet.len() < start + 8 {
            return Err(SrtpError::Short);
        }
        let ssrc = be32(&packet[start + 4..]);
        let index = self.rtcp_index;
        // 2^31 reports are 68 years at one a second.
        self.rtcp_index = (self.rtcp_index + 1) & 0x7fff_ffff;
        self.session.rtcp.seal_rtcp(packet, start, ssrc, index);
        Ok(())
    }
}

/// Whether a packet with this index was sent before. A resent packet must be the same to the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Never sent before.
    No,
    /// Sent before with exactly these bytes.
    Identical,
}

/// Opens what the other side sends, each packet once.
pub struct SrtpReceiver {
    session: Session,
    streams: Windows,
    /// Each SSRC counts its reports for itself (RFC 3711 §3.2.3).
    reporters: Windows,
}

/// An RTP packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Length of header and payload.
    pub len: usize,
    /// Sequence number with the roll-overs of its stream.
    pub index: u64,
}

impl SrtpReceiver {
    /// Opens a compound RTCP packet in place and returns its length.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let (len, index) = self.session.rtcp.open_rtcp(packet)?;
        let (ssrc, index) = (be32(&packet[4..]), u64::from(index));
        match self.reporters.get(ssrc) {
            Some(window) if !window.check(index) => return Err(SrtpError::Replayed),
            Some(window) => window.mark(index),
            None => self.reporters.insert(ssrc, index),
        }
        Ok(len)
    }

    /// Opens an RTP packet in place, whose header is `header_len` long.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8], header_len: usize) -> Result<Opened, SrtpError> {
        if packet.len() < header_len || header_len < 12 {
            return Err(SrtpError::Short);
        }
        let ssrc = be32(&packet[8..]);
        let number = u16::from_be_bytes([packet[2], packet[3]]);
        let window = self.streams.get(ssrc);
        // A stream begins without roll-overs (RFC 3711 §3.3.1).
        let highest = window.as_ref().and_then(|window| window.highest);
        let index = highest.map_or(u64::from(number), |highest| extend(highest, number));
        if window.as_ref().is_some_and(|window| !window.check(index)) {
            return Err(SrtpError::Replayed);
        }
        // Only what is authentic changes anything.
        let len = self.session.rtp.open_rtp(packet, header_len, index)?;
        match window {
            Some(window) => window.mark(index),
            None => self.streams.insert(ssrc, index),
        }
        Ok(Opened { len, index })
    }
}

/// The windows of the streams of the other side. When there are too many, the one that was silent for longest is
/// forgotten; only whoever has the keys can make that happen.
struct Windows {
    most: usize,
    by_ssrc: HashMap<u32, Heard>,
    turn: u64,
}

struct Heard {
    window: Window,
    /// When it was looked at last.
    turn: u64,
}

impl Windows {
    fn new(most: usize) -> Self {
        Self { most, by_ssrc: HashMap::new(), turn: 0 }
    }

    /// The window of a stream that is known.
    fn get(&mut self, ssrc: u32) -> Option<&mut Window> {
        self.turn += 1;
        let heard = self.by_ssrc.get_mut(&ssrc)?;
        heard.turn = self.turn;
        Some(&mut heard.window)
    }

    /// A stream is heard for the first time.
    fn insert(&mut self, ssrc: u32, index: u64) {
        if self.by_ssrc.len() >= self.most {
            let oldest = self.by_ssrc.iter().min_by_key(|(_, heard)| heard.turn).map(|(ssrc, _)| *ssrc);
            oldest.map(|ssrc| self.by_ssrc.remove(&ssrc));
        }
        let mut window = Window::default();
        window.mark(index);
        self.by_ssrc.insert(ssrc, Heard { window, turn: self.turn });
    }
}

/// The keys of one direction.
struct Session {
    rtp: Cipher,
    rtcp: Cipher,
}

impl Session {
    fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Self {
        Self { rtp: Cipher::new(profile, key, salt, 0), rtcp: Cipher::new(profile, key, salt, 3) }
    }
}

enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// Boxed: its two key schedules are fifty times as large as GCM's, which nearly every client chooses.
    Sha1(Box<Sha1Cipher>),
}

struct Sha1Cipher {
    key: EncryptingKey,
    salt: [u8; 14],
    hmac: hmac::Key,
}

impl Cipher {
    /// Derives the session keys from the master key (RFC 3711 §4.3). `label` is 0 for RTP, 3 for RTCP.
    fn new(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8], label: u8) -> Self {
        let derive = |label: u8, len: usize| {
            let mut iv = [0u8; 16];
            // A 96-bit salt stands at the left of the 112-bit one (RFC 7714 §11).
            iv[..master_salt.len()].copy_from_slice(master_salt);
            iv[7] ^= label;
            let mut out = vec![0u8; len];
            aes_ctr(&ctr_key(master_key), iv, &mut out);
            out
        };
        let key = derive(label, master_key.len());
        if profile == SrtpProfile::AES128_CM_SHA1_80 {
            let mut salt = [0u8; 14];
            salt.copy_from_slice(&derive(label + 2, 14));
            let auth = derive(label + 1, 20);
            let hmac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth);
            return Self::Sha1(Box::new(Sha1Cipher { key: ctr_key(&key), salt, hmac }));
        }
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, &key).expect("the key was made for this algorithm");
        let mut salt = [0u8; 12];
        salt.copy_from_slice(&derive(label + 2, 12));
        Self::Gcm { key: LessSafeKey::new(key), salt }
    }

    fn seal_rtp(&self, packet: &mut Vec<u8>, start: usize, header_len: usize, ssrc: u32, index: u64) {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = rtp_nonce(*salt, ssrc, index);
                let (header, payload) = packet[start..].split_at_mut(header_len);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
                    .expect("a datagram is far below the limit of GCM");
                packet.extend_from_slice(tag.as_ref());
            }
            Self::Sha1(cipher) => {
                let Sha1Cipher { key, salt, hmac } = &**cipher;
                aes_ctr(key, rtp_iv(*salt, ssrc, index), &mut packet[start + header_len..]);
                let mut context = hmac::Context::with_key(hmac);
                context.update(&packet[start..]);
                context.update(&roll_over(index).to_be_bytes());
                packet.extend_from_slice(&context.sign().as_ref()[..SHA1_TAG]);
            }
        }
    }

    fn open_rtp(&self, packet: &mut [u8], header_len: usize, index: u64) -> Result<usize, SrtpError> {
        if packet.len() < header_len || header_len < 12 {
            return Err(SrtpError::Short);
        }
        let ssrc = be32(&packet[8..]);
        match self {
            Self::Gcm { key, salt } => {
                let (header, payload) = packet.split_at_mut(header_len);
                let nonce = rtp_nonce(*salt, ssrc, index);
                let open = key.open_in_place(nonce, Aad::from(&*header), payload);
                open.map(|plain| header_len + plain.len()).map_err(|_| SrtpError::NotAuthentic)
            }
            Self::Sha1(cipher) => {
                let Sha1Cipher { key, salt, hmac } = &**cipher;
                let end = packet.len().checked_sub(SHA1_TAG).filter(|end| *end >= header_len);
                let end = end.ok_or(SrtpError::Short)?;
                let mut context = hmac::Context::with_key(hmac);
                context.update(&packet[..end]);
                context.update(&roll_over(index).to_be_bytes());
                same(&context.sign().as_ref()[..SHA1_TAG], &packet[end..])?;
                aes_ctr(key, rtp_iv(*salt, ssrc, index), &mut packet[header_len..end]);
                Ok(end)
            }
        }
    }

    fn seal_rtcp(&self, packet: &mut Vec<u8>, start: usize, ssrc: u32, index: u32) {
        let word = (index | 0x8000_0000).to_be_bytes();
        match self {
            Self::Gcm { key, salt } => {
                let (header, payload) = packet[start..].split_at_mut(8);
                let aad = rtcp_aad(header, word);
                let tag = key
                    .seal_in_place_separate_tag(rtcp_nonce(*salt, ssrc, index), Aad::from(aad), payload)
                    .expect("a datagram is far below the limit of GCM");
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&word);
            }
            Self::Sha1(cipher) => {
                let Sha1Cipher { key, salt, hmac } = &**cipher;
                aes_ctr(key, rtp_iv(*salt, ssrc, u64::from(index)), &mut packet[start + 8..]);
                packet.extend_from_slice(&word);
                let tag = hmac::sign(hmac, &packet[start..]);
                packet.extend_from_slice(&tag.as_ref()[..SHA1_TAG]);
            }
        }
    }

    fn open_rtcp(&self, packet: &mut [u8]) -> Result<(usize, u32), SrtpError> {
        match self {
            Self::Gcm { key, salt } => {
                let end = packet.len().checked_sub(4).filter(|end| *end >= 8 + GCM_TAG);
                let end = end.ok_or(SrtpError::Short)?;
                let word = [packet[end], packet[end + 1], packet[end + 2], packet[end + 3]];
                // Unencrypted SRTCP is legal but nobody sends it.
                if word[0] & 0x80 == 0 {
                    return Err(SrtpError::NotAuthentic);
                }
                let index = u32::from_be_bytes(word) & 0x7fff_ffff;
                let ssrc = be32(&packet[4..]);
                let (header, payload) = packet[..end].split_at_mut(8);
                let aad = rtcp_aad(header, word);
                key.open_in_place(rtcp_nonce(*salt, ssrc, index), Aad::from(aad), payload)
                    .map(|plain| (8 + plain.len(), index))
                    .map_err(|_| SrtpError::NotAuthentic)
            }
            Self::Sha1(cipher) => {
                let Sha1Cipher { key, salt, hmac } = &**cipher;
                let tag_at = packet.len().checked_sub(SHA1_TAG).filter(|at| *at >= 12);
                let tag_at = tag_at.ok_or(SrtpError::Short)?;
                let tag = hmac::sign(hmac, &packet[..tag_at]);
                same(&tag.as_ref()[..SHA1_TAG], &packet[tag_at..])?;
                let end = tag_at - 4;
                let word = be32(&packet[end..]);
                let index = word & 0x7fff_ffff;
                if word & 0x8000_0000 != 0 {
                    let ssrc = be32(&packet[4..]);
                    aes_ctr(key, rtp_iv(*salt, ssrc, u64::from(index)), &mut packet[8..end]);
                }
                Ok((end, index))
            }
        }
    }
}

/// Which of the latest indices of a stream were used (RFC 3711 §3.3.2).
#[derive(Default)]
struct Window {
    highest: Option<u64>,
    used: [u64; WINDOW_WORDS],
}

impl Window {
    /// Whether the index is new.
    fn check(&self, index: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) if highest - index >= WINDOW => false,
            Some(_) => self.used[word(index)] & bit(index) == 0,
        }
    }

    fn mark(&mut self, index: u64) {
        let from = self.highest.map_or(index, |highest| highest + 1);
        if index >= from {
            if index - from >= WINDOW {
                self.used = [0; WINDOW_WORDS];
            } else {
                for passed in from..=index {
                    self.used[word(passed)] &= !bit(passed);
                }
            }
            self.highest = Some(index);
        }
        self.used[word(index)] |= bit(index);
    }
}

fn word(index: u64) -> usize {
    (index % WINDOW / 64) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

fn ctr_key(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).expect("keys are 16 or 32 bytes long");
    EncryptingKey::ctr(key).expect("AES has a counter mode")
}

fn aes_ctr(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .expect("counter mode takes any length");
}

fn roll_over(index: u64) -> u32 {
    (index >> 16) as u32
}

/// RFC 3711 §4.1.1.
fn rtp_iv(salt: [u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0u8; 16];
    iv[..14].copy_from_slice(&salt);
    xor(&mut iv[4..8], &ssrc.to_be_bytes());
    xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
    iv
}

/// RFC 7714 §8.1.
fn rtp_nonce(mut salt: [u8; 12], ssrc: u32, index: u64) -> Nonce {
    xor(&mut salt[2..6], &ssrc.to_be_bytes());
    xor(&mut salt[6..12], &index.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(salt)
}

/// RFC 7714 §9.1.
fn rtcp_nonce(mut salt: [u8; 12], ssrc: u32, index: u32) -> Nonce {
    xor(&mut salt[2..6], &ssrc.to_be_bytes());
    xor(&mut salt[8..12], &index.to_be_bytes());
    Nonce::assume_unique_for_key(salt)
}

fn rtcp_aad(header: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0u8; 12];
    aad[..8].copy_from_slice(header);
    aad[8..].copy_from_slice(&word);
    aad
}

fn xor(to: &mut [u8], with: &[u8]) {
    for (to, with) in to.iter_mut().zip(with) {
        *to ^= with;
    }
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn same(ours: &[u8], theirs: &[u8]) -> Result<(), SrtpError> {
    aws_lc_rs::constant_time::verify_slices_are_equal(ours, theirs).map_err(|_| SrtpError::NotAuthentic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [SrtpProfile; 3] =
        [SrtpProfile::AES128_CM_SHA1_80, SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AEAD_AES_256_GCM];

    fn keys(profile: SrtpProfile) -> SrtpKeys {
        let material: Vec<u8> = (0..88).collect();
        SrtpKeys::new(profile, &material).expect("88 bytes are enough")
    }

    fn packet(seq: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0xca, 0xfe, 0xba, 0xbe];
        packet[2..4].copy_from_slice(&seq.to_be_bytes());
        packet.extend_from_slice(b"payload");
        packet
    }

    #[test]
    fn the_other_side_opens_what_one_side_sends() {
        for profile in PROFILES {
            let (mut sender, _) = keys(profile).contexts(false);
            let (_, mut receiver) = keys(profile).contexts(true);
            for index in [5u64, 6, 0x7000, 0xe000, 0x1_0007, 0xffff] {
                let plain = packet(index as u16);
                let mut wire = plain.clone();
                sender.protect_rtp(&mut wire, 0, 12, index, Resend::No).expect("a new index");
                assert_ne!(&wire[12..19], b"payload", "{profile:?}");
                let mut again = wire.clone();
                let opened = receiver.unprotect_rtp(&mut wire, 12).expect("authentic");
                assert_eq!(opened.index, index, "{profile:?}");
                assert_eq!(wire[..opened.len], plain, "{profile:?}");
                assert_eq!(receiver.unprotect_rtp(&mut again, 12), Err(SrtpError::Replayed));
            }
            let report = vec![0x80, 201, 0, 1, 1, 2, 3, 4, 9, 9, 9, 9];
            let mut wire = report.clone();
            sender.protect_rtcp(&mut wire, 0).expect("long enough");
            let mut again = wire.clone();
            let len = receiver.unprotect_rtcp(&mut wire).expect("authentic");
            assert_eq!(wire[..len], report);
            assert_eq!(receiver.unprotect_rtcp(&mut again), Err(SrtpError::Replayed));
        }
    }

    #[test]
    fn each_reporter_counts_for_itself() {
        let report = |ssrc: u32, sender: &mut SrtpSender| {
            let mut wire = vec![0x80, 201, 0, 1];
            wire.extend_from_slice(&ssrc.to_be_bytes());
            sender.protect_rtcp(&mut wire, 0).expect("long enough");
            wire
        };
        let (mut one, _) = keys(SrtpProfile::AEAD_AES_256_GCM).contexts(false);
        let (mut other, _) = keys(SrtpProfile::AEAD_AES_256_GCM).contexts(false);
        let (_, mut receiver) = keys(SrtpProfile::AEAD_AES_256_GCM).contexts(true);
        for _ in 0..2 * WINDOW {
            receiver.unprotect_rtcp(&mut report(1, &mut one)).expect("new");
        }
        // Another stream of the same connection begins to report, from zero.
        let first = report(2, &mut other);
        assert!(receiver.unprotect_rtcp(&mut first.clone()).is_ok());
        assert!(receiver.unprotect_rtcp(&mut report(1, &mut one)).is_ok());
        assert_eq!(receiver.unprotect_rtcp(&mut first.clone()), Err(SrtpError::Replayed));
        for ssrc in 3..1_000 {
            assert!(receiver.unprotect_rtcp(&mut report(ssrc, &mut other)).is_ok());
        }
        assert_eq!(receiver.reporters.by_ssrc.len(), REPORTERS);
    }

    #[test]
    fn what_is_not_authentic_changes_nothing() {
        for profile in PROFILES {
            let (mut sender, _) = keys(profile).contexts(false);
            let (_, mut receiver) = keys(profile).contexts(true);
            let mut wire = |index: u64| {
                let mut wire = packet(index as u16);
                sender.protect_rtp(&mut wire, 0, 12, index, Resend::No).expect("a new index");
                wire
            };
            let mut first = wire(5);
            for at in 0..first.len() {
                let mut damaged = first.clone();
                damaged[at] ^= 1;
                assert!(receiver.unprotect_rtp(&mut damaged, 12).is_err(), "{profile:?} byte {at}");
            }
            for len in 0..first.len() {
                assert!(receiver.unprotect_rtp(&mut first[..len].to_vec(), 12).is_err(), "{profile:?} {len}");
            }
            assert!(receiver.streams.by_ssrc.is_empty());
            // A stranger's number far ahead would move the roll-over counter.
            let mut forged = packet(0x8004);
            forged.resize(40, 7);
            assert!(receiver.unprotect_rtp(&mut first, 12).is_ok());
            assert_eq!(receiver.unprotect_rtp(&mut forged, 12), Err(SrtpError::NotAuthentic));
            assert_eq!(receiver.unprotect_rtp(&mut wire(6), 12).map(|opened| opened.index), Ok(6));
        }
    }

    #[test]
    fn streams_of_the_other_side_are_bounded() {
        let (mut sender, _) = keys(SrtpProfile::AEAD_AES_256_GCM).contexts(false);
        let (_, mut receiver) = keys(SrtpProfile::AEAD_AES_256_GCM).contexts(true);
        let mut wire = |ssrc: u32, index: u64| {
            let mut wire = packet(index as u16);
            wire[8..12].copy_from_slice(&ssrc.to_be_bytes());
            sender.protect_rtp(&mut wire, 0, 12, index, Resend::No).expect("a new index");
            wire
        };
        for ssrc in 0..1_000 {
            receiver.unprotect_rtp(&mut wire(ssrc, 1), 12).expect("new");
            // This one goes on.
            receiver.unprotect_rtp(&mut wire(5_000, u64::from(ssrc)), 12).expect("new");
        }
        assert_eq!(receiver.streams.by_ssrc.len(), STREAMS);
        assert_eq!(receiver.streams.get(5_000).and_then(|window| window.highest), Some(999));
    }

    #[test]
    fn an_index_is_used_once() {
        let (mut sender, _) = keys(SrtpProfile::AEAD_AES_256_GCM).contexts(false);
        let mut send =
            |index: u64, resend| sender.protect_rtp(&mut packet(index as u16), 0, 12, index, resend);
        assert_eq!(send(2_000, Resend::No), Ok(()));
        assert_eq!(send(2_000, Resend::No), Err(SrtpError::Replayed));
        assert_eq!(send(2_000, Resend::Identical), Ok(()));
        assert_eq!(send(1_999, Resend::No), Ok(()));
        assert_eq!(send(1_999, Resend::No), Err(SrtpError::Replayed));
        assert_eq!(send(900, Resend::No), Err(SrtpError::Replayed));
        assert_eq!(send(9_000, Resend::No), Ok(()));
        assert_eq!(send(8_500, Resend::No), Ok(()));
    }

    #[test]
    fn damage_is_noticed() {
        for profile in PROFILES {
            let (mut sender, _) = keys(profile).contexts(false);
            let (_, mut receiver) = keys(profile).contexts(true);
            let mut report = vec![0x80, 201, 0, 1, 1, 2, 3, 4, 9, 9, 9, 9];
            sender.protect_rtcp(&mut report, 0).expect("long enough");
            for at in 0..report.len() {
                let mut damaged = report.clone();
                damaged[at] ^= 1;
                assert!(receiver.unprotect_rtcp(&mut damaged).is_err(), "{profile:?} byte {at}");
            }
            for len in 0..report.len() {
                assert!(receiver.unprotect_rtcp(&mut report[..len].to_vec()).is_err());
            }
        }
    }

    /// RFC 3711 appendix B.3: key derivation.
    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let master =
            [0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41, 0x39];
        let salt = [0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6];
        let Cipher::Sha1(cipher) = Cipher::new(SrtpProfile::AES128_CM_SHA1_80, &master, &salt, 0) else {
            panic!("the profile is not GCM");
        };
        assert_eq!(
            cipher.salt,
            [0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1]
        );
    }
}
