//! A published track, in one codec or in two.

use livekit_protocol as proto;
use proto::{BackupCodecPolicy, TrackInfo, VideoLayer};

use super::dynacast::Demanded;
use crate::downtrack::Format;
use crate::ids::SourceKey;
use crate::sdp::{Codec, MediaKind};

/// An announced track that waits for its m-line, or another codec of a published one that does.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) cid: String,
    pub(super) codec_cids: Vec<String>,
    pub(super) info: TrackInfo,
    /// It is the backup of a track that is published.
    pub(super) is_backup: bool,
}

impl Pending {
    /// The codec that was announced, if one was.
    pub(super) fn codec(&self) -> Option<Codec> {
        let codec = self.info.codecs.get(usize::from(self.is_backup));
        codec.and_then(|codec| Codec::named(&codec.mime_type))
    }

    /// Whether the browser's name of a track is the one that was announced.
    pub(super) fn is_named(&self, track_id: &str) -> bool {
        self.cid == track_id || self.codec_cids.iter().any(|cid| cid == track_id)
    }
}

/// A published track.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) info: TrackInfo,
    pub(super) kind: MediaKind,
    pub(super) primary: Rendition,
    /// The same pictures in another codec, for whoever does not take the first: announced, and published when somebody
    /// needs it.
    pub(super) backup: Option<Rendition>,
    /// Whoever takes both gets the backup, so that the publisher encodes only once.
    pub(super) regressed: bool,
}

/// A track in one codec.
#[derive(Debug)]
pub(super) struct Rendition {
    pub(super) source: SourceKey,
    pub(super) codec: Codec,
    /// The m-line that it comes on; none as long as it is not published.
    pub(super) mid: Option<String>,
    /// How many a subscriber may choose from.
    pub(super) layers: usize,
    pub(super) demanded: Demanded,
}

impl Rendition {
    pub(super) fn is_published(&self) -> bool {
        self.mid.is_some()
    }
}

impl Track {
    /// In all its codecs, the first one first.
    pub(super) fn renditions(&self) -> impl Iterator<Item = &Rendition> {
        std::iter::once(&self.primary).chain(&self.backup)
    }

    pub(super) fn rendition(&self, source: SourceKey) -> Option<&Rendition> {
        self.renditions().find(|rendition| rendition.source == source)
    }

    pub(super) fn rendition_mut(&mut self, source: SourceKey) -> Option<&mut Rendition> {
        std::iter::once(&mut self.primary)
            .chain(&mut self.backup)
            .find(|rendition| rendition.source == source)
    }

    /// The rendition for somebody who takes these formats: rather one that is there.
    pub(super) fn rendition_for(&self, formats: &[Format]) -> Option<&Rendition> {
        let takes = |rendition: &&Rendition| match self.kind {
            MediaKind::Audio => !formats.is_empty(),
            MediaKind::Video => formats.iter().any(|format| format.codec == rendition.codec),
        };
        let taken: Vec<&Rendition> = self.renditions().filter(takes).collect();
        let mut preferred: Box<dyn Iterator<Item = &&Rendition>> =
            if self.regressed { Box::new(taken.iter().rev()) } else { Box::new(taken.iter()) };
        preferred.find(|rendition| rendition.is_published()).or_else(|| taken.first()).copied()
    }

    /// What the publisher said about the layers of a rendition.
    pub(super) fn layers_of(&self, rendition: &Rendition) -> &[VideoLayer] {
        let named =
            |codec: &&proto::SimulcastCodecInfo| Codec::named(&codec.mime_type) == Some(rendition.codec);
        self.info.codecs.iter().find(named).map_or(&[], |codec| &codec.layers)
    }

    /// Whether everybody should change to the backup once it is there. `people` are in the room: encoding twice pays
    /// only where many are spared the worse codec.
    pub(super) fn is_to_regress(&self, people: usize) -> bool {
        match self.info.backup_codec_policy() {
            BackupCodecPolicy::PreferRegression => people < REGRESSION_THRESHOLD,
            BackupCodecPolicy::Regression => true,
            BackupCodecPolicy::Simulcast => false,
        }
    }
}

/// LiveKit's default of `codec_regression_threshold`.
const REGRESSION_THRESHOLD: usize = 5;
