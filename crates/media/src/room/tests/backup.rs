//! Tracks in two codecs.

use proto::BackupCodecPolicy::{PreferRegression, Regression, Simulcast};

use super::*;

/// A meeting where alice publishes VP9 and has VP8 for whoever needs it.
struct Meeting {
    sim: Sim,
    alice: PeerHandle,
    sid: String,
}

impl Meeting {
    fn new(policy: proto::BackupCodecPolicy) -> Self {
        let mut sim = Sim::new();
        let alice = sim.join("alice");
        let codec = |codec: &str, cid: &str| proto::SimulcastCodec {
            codec: codec.into(),
            cid: cid.into(),
            ..Default::default()
        };
        sim.signal(
            alice,
            Request::AddTrack(proto::AddTrackRequest {
                cid: "first".into(),
                r#type: proto::TrackType::Video as i32,
                source: proto::TrackSource::Camera as i32,
                layers: layers(),
                simulcast_codecs: vec![codec("vp9", "first"), codec("vp8", "")],
                backup_codec_policy: policy as i32,
                ..Default::default()
            }),
        );
        let mut meeting = Self { sim, alice, sid: String::new() };
        meeting.offer(&["first"]);
        meeting.sid = meeting.track().info.sid.clone();
        meeting
    }

    fn track(&self) -> &super::super::track::Track {
        let participant = &self.sim.room.participants[&self.sim.room.by_peer[&self.alice]];
        participant.tracks.values().next().expect("it is published")
    }

    /// Alice offers a line for each of these.
    fn offer(&mut self, cids: &[&str]) {
        let credentials = IceCredentials { ufrag: "alice".into(), pwd: "0123456789abcdefghijkl".into() };
        let endpoint = LocalEndpoint { fingerprint: "12:34".into(), udp: Vec::new(), tcp: Vec::new() };
        let line = |(index, cid): (usize, &&str)| DownLine {
            mid: format!("m{index}"),
            kind: MediaKind::Video,
            codecs: vec![Codec::Vp8, Codec::Vp9],
            sending: (!cid.is_empty()).then(|| Sending {
                stream_id: "stream".into(),
                track_id: (*cid).into(),
                ssrc: 70 + index as u32,
                rtx_ssrc: None,
                stereo: false,
            }),
            playout_delay: false,
        };
        let lines: Vec<DownLine> = cids.iter().enumerate().map(line).collect();
        let sdp = sdp::write_offer(&credentials, &endpoint, 1, 1, &lines);
        let offer = proto::SessionDescription { r#type: "offer".into(), sdp, id: 3, ..Default::default() };
        self.sim.signal(self.alice, Request::Offer(offer));
    }

    /// Somebody comes who takes VP9 or not.
    fn join(&mut self, identity: &str, takes_vp9: bool) -> PeerHandle {
        let peer = self.sim.join_as(identity, VideoGrant::default(), &[]);
        self.sim.answer_with(peer, |sdp| if takes_vp9 { sdp } else { without_vp9(&sdp) });
        self.sim.event(peer, EventKind::Connected(Side::Subscriber));
        self.sim.event(peer, EventKind::ChannelsOpen);
        peer
    }

    fn announce_backup(&mut self, codec: &str) {
        let codec = proto::SimulcastCodec { codec: codec.into(), cid: "second".into(), ..Default::default() };
        self.sim.signal(
            self.alice,
            Request::AddTrack(proto::AddTrackRequest {
                sid: self.sid.clone(),
                cid: "second".into(),
                r#type: proto::TrackType::Video as i32,
                source: proto::TrackSource::Camera as i32,
                layers: layers(),
                simulcast_codecs: vec![codec],
                ..Default::default()
            }),
        );
    }

    fn publish_backup(&mut self) {
        self.announce_backup("vp8");
        self.offer(&["first", "second"]);
    }

    /// By codec, whether anything of it is to be sent, as alice was told last.
    fn told(&mut self) -> Option<Vec<(String, bool)>> {
        let update = self.sim.heard(self.alice).into_iter().rev().find_map(|message| match message {
            Response::SubscribedQualityUpdate(update) => Some(update),
            _ => None,
        })?;
        let codec = |codec: proto::SubscribedCodec| (codec.codec, codec.qualities.iter().any(|q| q.enabled));
        Some(update.subscribed_codecs.into_iter().map(codec).collect())
    }

    /// The codec in which the media thread sends the track to somebody from now on.
    fn sent_in(&mut self, peer: PeerHandle) -> Option<Codec> {
        let effects = self.sim.take();
        self.sent_by(&effects, peer)
    }

    fn sent_by(&self, effects: &[Effect], peer: PeerHandle) -> Option<Codec> {
        let sources =
            self.track().renditions().map(|own| (own.source, own.codec)).collect::<BTreeMap<_, _>>();
        commands(effects).into_iter().rev().find_map(|command| match command {
            shard::Command::AddDown { peer: to, config } if *to == peer => {
                assert_eq!(config.payload_types.len(), 1, "one codec at a time");
                assert_eq!(config.payload_types[0].0, sources[&config.source]);
                Some(sources[&config.source])
            }
            shard::Command::SwitchDown { peer: to, source, format, .. } if *to == peer => {
                assert_eq!(format.codec, sources[source]);
                Some(format.codec)
            }
            _ => None,
        })
    }
}

/// A description without VP9 and its retransmissions.
fn without_vp9(sdp: &str) -> String {
    let number = Codec::Vp9.payload_type().to_string();
    let rtx = Codec::Vp9.rtx_payload_type().expect("video is repeated").to_string();
    let is_of = |line: &&str| {
        let value = line.split_once(':').map_or("", |(_, value)| value);
        let about = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().any(|name| line.starts_with(name));
        about && [&number, &rtx].contains(&&value.split(' ').next().unwrap_or_default().to_owned())
    };
    let shorter = |line: &str| match line.strip_prefix("m=video ") {
        None => line.to_owned(),
        Some(rest) => {
            let kept: Vec<&str> = rest.split(' ').filter(|word| **word != number && **word != rtx).collect();
            format!("m=video {}", kept.join(" "))
        }
    };
    sdp.lines().filter(|line| !is_of(line)).map(|line| shorter(line) + "\r\n").collect()
}

fn vp9_vp8(vp9: bool, vp8: bool) -> Option<Vec<(String, bool)>> {
    Some(vec![("vp9".into(), vp9), ("vp8".into(), vp8)])
}

#[test]
fn a_backup_is_asked_for_when_somebody_needs_it() {
    let mut meeting = Meeting::new(Simulcast);
    let listed: Vec<_> = meeting.track().info.codecs.iter().map(|codec| codec.mime_type.as_str()).collect();
    assert_eq!(listed, ["video/VP9", "video/VP8"]);
    let bob = meeting.join("bob", true);
    assert_eq!(meeting.sent_in(bob), Some(Codec::Vp9));
    let carol = meeting.join("carol", false);
    assert_eq!(meeting.told(), vp9_vp8(true, true));
    assert_eq!(meeting.sent_in(carol), None, "it is not there yet");
    meeting.publish_backup();
    assert_eq!(meeting.sent_in(carol), Some(Codec::Vp8));
    assert_eq!(meeting.sent_in(bob), None, "bob keeps what he has");
    let codecs = &meeting.track().info.codecs;
    assert_eq!(codecs.iter().map(|codec| codec.mid.as_str()).collect::<Vec<_>>(), ["m0", "m1"]);
    assert_eq!(codecs[1].cid, "second");
    let dave = meeting.join("dave", false);
    assert_eq!(meeting.sent_in(dave), Some(Codec::Vp8));
}

#[test]
fn who_needs_it_no_more_is_no_reason_to_encode_it() {
    let mut meeting = Meeting::new(Simulcast);
    let (_bob, carol) = (meeting.join("bob", true), meeting.join("carol", false));
    meeting.publish_backup();
    meeting.sim.pass(Duration::from_secs(11));
    meeting.told();
    meeting.sim.signal(carol, Request::Leave(proto::LeaveRequest::default()));
    meeting.sim.pass(Duration::from_secs(6));
    assert_eq!(meeting.told(), vp9_vp8(true, false));
}

#[test]
fn all_change_to_the_backup_where_encoding_twice_does_not_pay() {
    for policy in [Regression, PreferRegression] {
        let mut meeting = Meeting::new(policy);
        let (bob, carol) = (meeting.join("bob", true), meeting.join("carol", false));
        meeting.sim.pass(Duration::from_secs(11));
        meeting.sim.take();
        meeting.announce_backup("vp8");
        meeting.offer(&["first", "second"]);
        let effects = meeting.sim.take();
        for peer in [bob, carol] {
            assert_eq!(meeting.sent_by(&effects, peer), Some(Codec::Vp8), "{policy:?}");
        }
        let dave = meeting.join("dave", true);
        assert_eq!(meeting.sent_in(dave), Some(Codec::Vp8), "whoever comes later as well");
        meeting.sim.pass(Duration::from_secs(11));
        assert_eq!(meeting.told(), vp9_vp8(false, true));
    }
}

#[test]
fn many_people_are_worth_a_second_codec() {
    let mut meeting = Meeting::new(PreferRegression);
    let bob = meeting.join("bob", true);
    for name in ["carol", "dave", "eve"] {
        meeting.join(name, false);
    }
    meeting.sim.take();
    meeting.publish_backup();
    assert_eq!(meeting.sent_in(bob), None);
}

#[test]
fn a_backup_that_ends_takes_nothing_with_it() {
    let mut meeting = Meeting::new(Regression);
    let (bob, carol) = (meeting.join("bob", true), meeting.join("carol", false));
    meeting.publish_backup();
    meeting.sim.take();
    meeting.offer(&["first", ""]);
    let effects = meeting.sim.take();
    assert_eq!(meeting.sent_by(&effects, bob), Some(Codec::Vp9), "back to the first");
    assert_eq!(meeting.sent_by(&effects, carol), None, "it takes nothing else");
    meeting.publish_backup();
    assert_eq!(meeting.sent_in(carol), Some(Codec::Vp8));
}

#[test]
fn a_second_codec_that_nobody_waits_for_is_refused() {
    let mut meeting = Meeting::new(Simulcast);
    let reason = |meeting: &mut Meeting| {
        let heard = meeting.sim.heard(meeting.alice);
        heard.into_iter().find_map(|message| match message {
            Response::RequestResponse(response) => Some(response.reason()),
            _ => None,
        })
    };
    use proto::request_response::Reason;
    meeting.sim.take();
    meeting.announce_backup("h264");
    assert_eq!(reason(&mut meeting), Some(Reason::InvalidRequest));
    let sid = std::mem::replace(&mut meeting.sid, "TR_none".into());
    meeting.announce_backup("vp8");
    assert_eq!(reason(&mut meeting), Some(Reason::NotFound));
    meeting.sid = sid;
    meeting.publish_backup();
    assert_eq!(reason(&mut meeting), None);
    meeting.announce_backup("vp8");
    assert_eq!(reason(&mut meeting), Some(Reason::InvalidRequest), "it is there");
}

#[test]
fn both_codecs_are_muted_and_end_together() {
    let mut meeting = Meeting::new(Simulcast);
    meeting.publish_backup();
    let sources: Vec<_> = meeting.track().renditions().map(|own| own.source).collect();
    meeting.sim.take();
    let mute = proto::MuteTrackRequest { sid: meeting.sid.clone(), muted: true };
    meeting.sim.signal(meeting.alice, Request::Mute(mute));
    let effects = meeting.sim.take();
    let muted = |command: &&shard::Command| match command {
        shard::Command::MuteSource { source, muted: true } => Some(*source),
        _ => None,
    };
    assert_eq!(commands(&effects).iter().filter_map(muted).collect::<Vec<_>>(), sources);
    meeting.offer(&["", "second"]);
    let effects = meeting.sim.take();
    let removed = |command: &&shard::Command| match command {
        shard::Command::RemoveSource { source } => Some(*source),
        _ => None,
    };
    assert_eq!(commands(&effects).iter().filter_map(removed).collect::<Vec<_>>(), sources);
    assert!(meeting.sim.room.by_source.is_empty());
}
