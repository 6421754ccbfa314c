use super::answer::answer_everything;
use super::*;
use crate::ids::IceCredentials;

/// An offer of Chromium's shape: data, a simulcast camera and a microphone.
const CHROMIUM: &str = "v=0\r
o=- 4611731400430051336 3 IN IP4 127.0.0.1\r
s=-\r
t=0 0\r
a=group:BUNDLE 0 1 2\r
a=extmap-allow-mixed\r
a=msid-semantic: WMS 8f1c\r
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r
c=IN IP4 0.0.0.0\r
a=ice-ufrag:Ab1+\r
a=ice-pwd:abcdefghijklmnopqrstuvwx\r
a=ice-options:trickle\r
a=fingerprint:sha-256 01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF\r
a=setup:actpass\r
a=mid:0\r
a=sctp-port:5000\r
a=max-message-size:262144\r
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 106 107 45 46\r
c=IN IP4 0.0.0.0\r
a=rtcp:9 IN IP4 0.0.0.0\r
a=ice-ufrag:Ab1+\r
a=ice-pwd:abcdefghijklmnopqrstuvwx\r
a=fingerprint:sha-256 01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF\r
a=setup:actpass\r
a=mid:1\r
a=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r
a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r
a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid\r
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r
a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r
a=sendonly\r
a=msid:8f1c 5c9e-camera\r
a=rtcp-mux\r
a=rtcp-rsize\r
a=rtpmap:96 VP8/90000\r
a=rtcp-fb:96 goog-remb\r
a=rtcp-fb:96 transport-cc\r
a=rtpmap:97 rtx/90000\r
a=fmtp:97 apt=96\r
a=rtpmap:102 H264/90000\r
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r
a=rtpmap:103 rtx/90000\r
a=fmtp:103 apt=102\r
a=rtpmap:106 H264/90000\r
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r
a=rtpmap:107 rtx/90000\r
a=fmtp:107 apt=106\r
a=rtpmap:45 AV1/90000\r
a=rtpmap:46 rtx/90000\r
a=fmtp:46 apt=45\r
a=rid:q send\r
a=rid:h send\r
a=rid:f send\r
a=simulcast:send q;~h;f\r
m=audio 9 UDP/TLS/RTP/SAVPF 63 111 9\r
c=IN IP4 0.0.0.0\r
a=mid:2\r
a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r
a=extmap:15 urn:ietf:params:rtp-hdrext:sdes:mid\r
a=sendonly\r
a=msid:8f1c 77aa-microphone\r
a=rtcp-mux\r
a=rtpmap:63 red/48000/2\r
a=fmtp:63 111/111\r
a=rtpmap:111 opus/48000/2\r
a=fmtp:111 minptime=10;useinbandfec=1\r
a=rtpmap:9 G722/8000\r
a=ssrc:1199837823 cname:q4Zb\r
a=ssrc:1199837823 msid:8f1c 77aa-microphone\r
";

/// An offer of Firefox's shape: credentials at session level, layers with a=ssrc, no RED, other numbers.
const FIREFOX: &str = "v=0\r
o=mozilla...THIS_IS_SDPARTA-99.0 4210 0 IN IP4 0.0.0.0\r
s=-\r
t=0 0\r
a=fingerprint:sha-256 01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF\r
a=group:BUNDLE 0 1\r
a=ice-options:trickle\r
a=msid-semantic:WMS *\r
m=video 9 UDP/TLS/RTP/SAVPF 120 124 123 122\r
c=IN IP4 0.0.0.0\r
a=sendrecv\r
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r
a=extmap:7 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r
a=extmap:9/sendonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r
a=extmap:10/sendonly urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r
a=fmtp:120 max-fs=12288;max-fr=60\r
a=fmtp:124 apt=120\r
a=ice-pwd:0123456789abcdef0123456789abcdef\r
a=ice-ufrag:1f2e3d4c\r
a=mid:0\r
a=msid:{1111} {2222}\r
a=rid:q send\r
a=rid:h send\r
a=rtcp-mux\r
a=rtpmap:120 VP8/90000\r
a=rtpmap:124 rtx/90000\r
a=rtpmap:123 ulpfec/90000\r
a=rtpmap:122 red/90000\r
a=setup:actpass\r
a=simulcast:send q;h\r
a=ssrc:100 cname:{3333}\r
a=ssrc:101 cname:{3333}\r
a=ssrc:200 cname:{3333}\r
a=ssrc:201 cname:{3333}\r
a=ssrc-group:FID 100 200\r
a=ssrc-group:FID 101 201\r
m=audio 0 UDP/TLS/RTP/SAVPF 109\r
a=bundle-only\r
a=mid:1\r
a=sendonly\r
a=ssrc:300 cname:{3333}\r
a=rtpmap:109 opus/48000/2\r
";

#[test]
fn chromium_is_understood() {
    let offer = parse(CHROMIUM).expect("a good offer");
    assert_eq!((offer.ice_ufrag.as_str(), offer.setup), ("Ab1+", Setup::ActPass));
    assert_eq!((offer.fingerprint.hash.as_str(), offer.fingerprint.bytes.len()), ("sha-256", 32));
    let [data, video, audio] = &offer.media[..] else { panic!("three m-lines") };
    assert_eq!((data.kind, data.mid.as_str(), data.rejected), (MediaType::Application, "0", false));
    assert_eq!(video.rids, ["q", "h", "f"]);
    assert_eq!(video.track_id.as_deref(), Some("5c9e-camera"));
    assert_eq!(
        video.codecs,
        [
            Offered { payload_type: 96, codec: Codec::Vp8, rtx: Some(97) },
            Offered { payload_type: 106, codec: Codec::H264, rtx: Some(107) },
            Offered { payload_type: 45, codec: Codec::Av1, rtx: Some(46) },
        ],
        "H.264 in packetization mode 0 is not ours"
    );
    assert_eq!(audio.codecs.iter().map(|c| c.codec).collect::<Vec<_>>(), [Codec::Red, Codec::Opus]);
    assert_eq!(audio.extensions, [(14, uri::AUDIO_LEVEL.to_owned())], "15 needs the long form");
    assert_eq!(audio.ssrcs, [1_199_837_823]);
}

#[test]
fn firefox_is_understood() {
    let offer = parse(FIREFOX).expect("a good offer");
    let [video, audio] = &offer.media[..] else { panic!("two m-lines") };
    assert_eq!((video.rids.len(), video.direction), (2, Direction::SendRecv));
    assert_eq!(video.codecs, [Offered { payload_type: 120, codec: Codec::Vp8, rtx: Some(124) }]);
    assert_eq!(video.fid, [(100, 200), (101, 201)]);
    assert!(video.extensions.contains(&(9, uri::RID.to_owned())), "/sendonly is no part of the number");
    assert_eq!(audio.codecs, [Offered { payload_type: 109, codec: Codec::Opus, rtx: None }]);
    assert!(!audio.rejected, "bundle-only lines have port 0 and live");
}

#[test]
fn an_answer_mirrors_its_offer() {
    for offer in [CHROMIUM, FIREFOX] {
        let offer = parse(offer).expect("a good offer");
        let text = answer_everything(&offer);
        let answer = parse(&text).expect("our own answer");
        assert_eq!(answer.setup, Setup::Passive);
        assert!(answer.extmap_allow_mixed);
        assert_eq!(answer.media.len(), offer.media.len());
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            assert_eq!((ours.kind, &ours.mid), (theirs.kind, &theirs.mid));
            if ours.kind != MediaType::Application {
                assert_eq!(ours.direction, Direction::RecvOnly);
            }
            let is_told = ours.extensions.iter().any(|(_, name)| name == uri::TRANSPORT_CC);
            assert_eq!(is_told, ours.kind == MediaType::Video, "when sound arrives is not told");
        }
        assert_eq!(text.matches(" transport-cc").count(), answer.media[1].codecs.len());
        assert_eq!(text.matches("a=candidate:1 1 udp").count(), 1, "one m-line carries the candidates");
        assert!(text.contains("a=candidate:101 1 tcp") && text.contains("tcptype passive"));
        assert!(text.contains("a=ice-lite\r\n"));
        assert!(text.contains("a=simulcast:recv q;h"));
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            assert_eq!(
                ours.codecs, theirs.codecs,
                "their payload types, where one connection is all there is"
            );
        }
    }
}

#[test]
fn a_refused_line_keeps_its_place() {
    let text = CHROMIUM.replace("m=video 9", "m=video 0");
    let offer = parse(&text).expect("a good offer");
    assert!(offer.media[1].rejected);
    let answer = answer_everything(&offer);
    assert!(answer.contains("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n"), "{answer}");
    assert!(answer.contains("a=group:BUNDLE 0 2\r\n"));
}

#[test]
fn an_offer_to_a_subscriber_can_be_read() {
    let credentials = IceCredentials { ufrag: "00abcdefgh".into(), pwd: "0123456789abcdefghijkl".into() };
    let endpoint = LocalEndpoint {
        fingerprint: "AB:CD".into(),
        udp: vec![([192, 0, 2, 1], 7882).into()],
        tcp: Vec::new(),
    };
    let sending = Sending {
        stream_id: "PA_x|TR_y".into(),
        track_id: "TR_y".into(),
        ssrc: 10,
        rtx_ssrc: Some(11),
        stereo: false,
    };
    let line = |mid: &str, kind, codecs, sending| DownLine {
        mid: String::from(mid),
        kind,
        codecs,
        sending,
        playout_delay: false,
    };
    let lines = [
        line("1", MediaKind::Video, vec![Codec::Vp8], Some(sending)),
        line("2", MediaKind::Audio, vec![Codec::Red, Codec::Opus], None),
    ];
    let text = write_offer(&credentials, &endpoint, 7, 1, &lines);
    let offer = parse(&text).expect("our own offer");
    assert_eq!(offer.setup, Setup::ActPass);
    let [data, video, audio] = &offer.media[..] else { panic!("three m-lines") };
    assert_eq!((data.kind, data.mid.as_str()), (MediaType::Application, "0"));
    assert_eq!((video.direction, audio.direction), (Direction::SendOnly, Direction::Inactive));
    assert_eq!((video.ssrcs.as_slice(), video.fid.as_slice()), (&[10, 11][..], &[(10, 11)][..]));
    assert_eq!(video.track_id.as_deref(), Some("TR_y"));
    assert!(text.contains("a=msid:PA_x|TR_y TR_y\r\n"));
    assert!(offer.media.iter().flat_map(|media| &media.extensions).all(|(id, _)| *id <= 14));
    let numbered = (TRANSPORT_EXTENSION, uri::TRANSPORT_CC.to_owned());
    assert!(
        video.extensions.contains(&numbered) && audio.extensions.contains(&numbered),
        "of what we send it is told"
    );
    assert_eq!((text.matches(" transport-cc").count(), text.matches(" goog-remb").count()), (3, 1));
    assert!(!text.contains(uri::PLAYOUT_DELAY));
    let late = lines.map(|line| DownLine { playout_delay: true, ..line });
    let text = write_offer(&credentials, &endpoint, 7, 1, &late);
    let offer = parse(&text).expect("our own offer");
    let with: Vec<bool> = offer
        .media
        .iter()
        .map(|media| media.extensions.iter().any(|(_, name)| name == uri::PLAYOUT_DELAY))
        .collect();
    assert_eq!(with, [false, true, false], "pictures only");
}

#[test]
fn every_codec_of_ours_is_understood_in_its_lowest_profile() {
    let credentials = IceCredentials { ufrag: "00abcdefgh".into(), pwd: "0123456789abcdefghijkl".into() };
    let endpoint = LocalEndpoint { fingerprint: "AB:CD".into(), udp: Vec::new(), tcp: Vec::new() };
    let line = |mid: &str, kind: MediaKind| {
        let codecs = Codec::ALL.into_iter().filter(|codec| codec.kind() == kind).collect();
        DownLine { mid: mid.into(), kind, codecs, sending: None, playout_delay: false }
    };
    let lines = [line("1", MediaKind::Video), line("2", MediaKind::Audio)];
    let text = write_offer(&credentials, &endpoint, 7, 1, &lines);
    let offer = parse(&text).expect("our own offer");
    let understood = |text: &str| {
        let offer = parse(text).expect("a good offer");
        offer.media.iter().flat_map(|media| &media.codecs).map(|offered| offered.codec).collect::<Vec<_>>()
    };
    let all: Vec<Codec> = lines.iter().flat_map(|line| line.codecs.clone()).collect();
    assert_eq!(understood(&text), all);
    for offered in offer.media.iter().flat_map(|media| &media.codecs) {
        assert_eq!(offered.payload_type, offered.codec.payload_type());
        assert_eq!(offered.rtx, offered.codec.rtx_payload_type());
    }
    let with = |from: &str, to: &str| understood(&text.replace(from, to));
    assert!(!with("profile-id=0", "profile-id=2").contains(&Codec::Vp9));
    let rest = "a=rtpmap:35 AV1/90000\r\n";
    assert!(!with(rest, &format!("{rest}a=fmtp:35 profile=1\r\n")).contains(&Codec::Av1));
    assert!(with(rest, &format!("{rest}a=fmtp:35 level-idx=5;profile=0;tier=0\r\n")).contains(&Codec::Av1));
    let [_, video, audio] = &offer.media[..] else { panic!("three m-lines") };
    let has = |media: &Media| media.extensions.iter().any(|(_, name)| name == uri::DEPENDENCY);
    assert!(has(video) && !has(audio));
}

#[test]
fn bad_descriptions_are_refused_with_the_line() {
    let error = |from: &str, to: &str| parse(&CHROMIUM.replace(from, to)).expect_err(to);
    assert!(matches!(error("a=setup:actpass", "a=setup:both"), SdpError::Bad { what: "a=setup", line: 14 }));
    assert!(matches!(error("m=video 9", "m=video nine"), SdpError::Bad { what: "m-line", .. }));
    assert!(matches!(error("a=mid:1", "a=mid:0"), SdpError::DuplicateMid(_)));
    assert!(matches!(error("a=mid:1\r\n", ""), SdpError::Missing("a=mid")));
    assert!(matches!(error("a=mid:1", "a=mid:a b"), SdpError::Bad { what: "a=mid", .. }));
    assert!(matches!(error("a=ice-ufrag:", "a=x:"), SdpError::Missing("a=ice-ufrag")));
    assert!(matches!(error("a=ice-ufrag:Ab1+", "a=ice-ufrag:A b"), SdpError::Bad { .. }));
    assert!(matches!(error("a=rid:q send", "a=rid:toolongname send"), SdpError::Bad { what: "a=rid", .. }));
    assert_eq!(parse(""), Err(SdpError::Missing("a=ice-ufrag")));
    assert_eq!(parse(&"a".repeat(MAX_SDP_LEN + 1)), Err(SdpError::TooLong));
    let many = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(MAX_MEDIA + 1);
    assert_eq!(parse(&many), Err(SdpError::TooMany("m-lines")));
}

#[test]
fn no_cut_of_an_offer_does_harm() {
    for text in [CHROMIUM, FIREFOX] {
        for end in 0..text.len() {
            fuzz(&text.as_bytes()[..end]);
        }
    }
}
