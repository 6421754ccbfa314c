//! Which codecs are taken, and the layers that they have.

use proto::video_layer::Mode;

use super::*;

/// An offer of one m-line with these codecs.
fn offer_of(peer: PeerHandle, kind: MediaKind, codecs: &[Codec]) -> Request {
    let credentials =
        IceCredentials { ufrag: format!("client{}", peer.key), pwd: "0123456789abcdefghijkl".into() };
    let endpoint = LocalEndpoint { fingerprint: "12:34".into(), udp: Vec::new(), tcp: Vec::new() };
    let sending = Sending {
        stream_id: "stream".into(),
        track_id: "cid".into(),
        ssrc: 77,
        rtx_ssrc: None,
        stereo: false,
    };
    let line = DownLine {
        mid: "m0".into(),
        kind,
        codecs: codecs.to_vec(),
        sending: Some(sending),
        playout_delay: false,
    };
    let sdp = sdp::write_offer(&credentials, &endpoint, 1, 1, &[line]);
    Request::Offer(proto::SessionDescription { r#type: "offer".into(), sdp, id: 3, ..Default::default() })
}

/// Announces a camera or a microphone of that codec and offers these.
fn publish(sim: &mut Sim, peer: PeerHandle, codec: &str, mode: Mode, kind: MediaKind, offered: &[Codec]) {
    let video = kind == MediaKind::Video;
    let source = if video { proto::TrackSource::Camera } else { proto::TrackSource::Microphone };
    let mut layers = if video { layers() } else { Vec::new() };
    // As livekit-client lists them.
    layers.reverse();
    let codec = proto::SimulcastCodec {
        codec: codec.into(),
        cid: "cid".into(),
        layers: layers.clone(),
        video_layer_mode: mode as i32,
    };
    sim.signal(
        peer,
        Request::AddTrack(proto::AddTrackRequest {
            cid: "cid".into(),
            r#type: i32::from(video),
            source: source as i32,
            layers,
            simulcast_codecs: vec![codec],
            ..Default::default()
        }),
    );
    sim.signal(peer, offer_of(peer, kind, offered));
}

fn track_of(sim: &Sim, peer: PeerHandle) -> Option<&super::super::track::Track> {
    sim.room.participants[&sim.room.by_peer[&peer]].tracks.values().next()
}

/// How the first track is sent that somebody has just answered for.
fn sent(sim: &mut Sim) -> crate::downtrack::DownConfig {
    let effects = sim.take();
    let config = commands(&effects).into_iter().find_map(|command| match command {
        shard::Command::AddDown { config, .. } => Some(config.clone()),
        _ => None,
    });
    config.expect("sent after the answer")
}

#[test]
fn a_layered_stream_has_layers_to_choose_from() {
    for codec in [Codec::Vp9, Codec::Av1] {
        let mut sim = Sim::new();
        let (alice, bob) = (sim.join("alice"), sim.join("bob"));
        let offered = [Codec::Vp8, codec];
        publish(
            &mut sim,
            alice,
            codec.mime_type(),
            Mode::MultipleSpatialLayersPerStream,
            MediaKind::Video,
            &offered,
        );
        let track = track_of(&sim, alice).expect("it is published");
        assert_eq!((track.primary.codec, track.primary.layers), (codec, 3));
        let spatial = |layer: &proto::VideoLayer| (layer.quality, layer.spatial_layer, layer.width);
        let listed: Vec<_> = track.info.layers.iter().map(spatial).collect();
        assert_eq!(listed, [(0, 0, 160), (1, 1, 320), (2, 2, 640)], "the lowest first");
        assert_eq!(track.info.codecs[0].video_layer_mode(), Mode::MultipleSpatialLayersPerStream);
        let sid = track.info.sid.clone();
        sim.answer(bob);
        let effects = sim.take();
        let config = commands(&effects).into_iter().find_map(|command| match command {
            shard::Command::AddDown { peer, config } if *peer == bob => Some(config.clone()),
            _ => None,
        });
        let config = config.expect("sent after the answer");
        assert_eq!(config.payload_types, [(codec, codec.payload_type())]);
        assert_eq!((config.wanted.max_layer, config.dependency), (2, Some(sdp::DEPENDENCY_EXTENSION)));
        assert_eq!(config.transport, Some(sdp::TRANSPORT_EXTENSION));
        let settings = proto::UpdateTrackSettings {
            track_sids: vec![sid],
            quality: proto::VideoQuality::Medium as i32,
            fps: 10,
            ..Default::default()
        };
        sim.signal(bob, Request::TrackSetting(settings));
        let effects = sim.take();
        let wanted = commands(&effects).into_iter().find_map(|command| match command {
            shard::Command::SetDown { wanted, .. } => Some(*wanted),
            _ => None,
        });
        let medium = crate::downtrack::Wanted { max_layer: 1, fps: 10, pixels: 320 * 180, disabled: false };
        assert_eq!(wanted, Some(medium));
    }
}

#[test]
fn a_stream_without_layers_is_one_layer() {
    for (codec, mode) in [
        (Codec::Vp9, Mode::OneSpatialLayerPerStream),
        (Codec::Vp8, Mode::MultipleSpatialLayersPerStream),
        (Codec::H264, Mode::Unused),
    ] {
        let mut sim = Sim::new();
        let alice = sim.join("alice");
        publish(&mut sim, alice, codec.mime_type(), mode, MediaKind::Video, &[codec]);
        let track = track_of(&sim, alice).expect("it is published");
        assert_eq!((track.primary.codec, track.primary.layers), (codec, 1));
    }
}

#[test]
fn only_codecs_that_are_enabled_are_taken() {
    let taken = |enabled: &[Codec], kind: MediaKind, wished: &str, offered: &[Codec]| {
        let mut sim = Sim::with_codecs(enabled);
        let alice = sim.join("alice");
        publish(&mut sim, alice, wished, Mode::Unused, kind, offered);
        track_of(&sim, alice).map(|track| track.primary.codec)
    };
    let (audio, video) = (MediaKind::Audio, MediaKind::Video);
    assert_eq!(taken(&Codec::DEFAULT, video, "h265", &[Codec::H265, Codec::Vp8]), Some(Codec::Vp8));
    assert_eq!(taken(&Codec::ALL, video, "h265", &[Codec::H265, Codec::Vp8]), Some(Codec::H265));
    assert_eq!(taken(&Codec::DEFAULT, video, "h265", &[Codec::H265]), None);
    assert_eq!(taken(&Codec::DEFAULT, audio, "", &[Codec::Pcmu, Codec::Pcma]), None);
    assert_eq!(taken(&Codec::ALL, audio, "", &[Codec::Pcma]), Some(Codec::Pcma));
    assert_eq!(taken(&Codec::ALL, audio, "", &[Codec::Pcmu, Codec::Opus]), Some(Codec::Opus));
    let own_order = [Codec::H264, Codec::Vp8];
    assert_eq!(taken(&own_order, video, "", &[Codec::Vp8, Codec::H264]), Some(Codec::H264));
}

#[test]
fn in_place_of_a_codec_that_is_not_enabled_another_is_named() {
    let mut sim = Sim::new();
    let alice = sim.join("alice");
    sim.take();
    publish(&mut sim, alice, "h265", Mode::Unused, MediaKind::Video, &[Codec::Vp8]);
    let named = sim.heard(alice).into_iter().find_map(|message| match message {
        Response::TrackPublished(published) => published.track.map(|track| track.codecs[0].mime_type.clone()),
        _ => None,
    });
    assert_eq!(named.as_deref(), Some("video/VP8"));
}

#[test]
fn telephones_are_heard_in_their_own_codec() {
    let mut sim = Sim::with_codecs(&Codec::ALL);
    let (alice, bob) = (sim.join("alice"), sim.join("bob"));
    publish(&mut sim, alice, "", Mode::Unused, MediaKind::Audio, &[Codec::Pcmu]);
    sim.answer(bob);
    let config = sent(&mut sim);
    assert_eq!(config.payload_types, [(Codec::Pcmu, 0)]);
    assert_eq!(config.clock_rate(), 8_000);
}

#[test]
fn a_room_may_want_pictures_late() {
    let rooms = RoomDefaults { playout_delay: PlayoutDelay::new(400, 2_000), ..RoomDefaults::default() };
    for (rooms, wanted) in [(rooms, PlayoutDelay::new(400, 2_000)), (RoomDefaults::default(), None)] {
        let mut sim = Sim::with_defaults(rooms);
        let (alice, bob) = (sim.join("alice"), sim.join("bob"));
        sim.publish(alice, proto::TrackSource::Camera);
        sim.answer(bob);
        let config = sent(&mut sim);
        assert_eq!(config.playout_delay.map(|(_, delay)| delay), wanted);
    }
}
