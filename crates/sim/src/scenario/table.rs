//! The calls: round trip 60 ms, a drop-tail queue of 300 ms, a camera with layers of 150, 500 and 1,700 kbit/s and a voice,
//! where nothing else is said.

use std::time::Duration;

use super::Media::{Camera, Slides, Voice};
use super::{Change, Event, Hold, Law, Role, Scenario, View};
use plenum_media::bwe::Bitrate;

use crate::link::{Bursts, Conditions};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const GOOD: Conditions = Conditions::kbps(5_000);

/// Whom nearly everybody looks at.
const ALICE: Role = Role::new("alice").publishing(&[Camera, Voice]);
const BOB: Role = Role::new("bob");

const fn sees(who: &'static str, whom: &'static str) -> View {
    View { who, whom }
}

const BOB_ALICE: View = sees("bob", "alice");

const fn down(at: u64, who: &'static str, conditions: Conditions) -> Change {
    Change { at: s(at), who, what: Event::Down(conditions) }
}

const fn up(at: u64, who: &'static str, conditions: Conditions) -> Change {
    Change { at: s(at), who, what: Event::Up(conditions) }
}

/// Between two seconds.
const fn hold(view: View, from: u64, to: u64, law: Law) -> Hold {
    Hold { view, from: s(from), to: s(to), law }
}

const END: u64 = 1_000;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a good link",
        cast: &[ALICE, BOB],
        changes: &[],
        length: s(30),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 0, END, Law::Reaches(2, ms(2_500))),
            hold(BOB_ALICE, 3, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(100))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(0))),
            hold(BOB_ALICE, 0, END, Law::Keyframes(6)),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "subscriber falls to 300 kbit/s",
        cast: &[ALICE, BOB],
        changes: &[down(15, "bob", Conditions::kbps(300)), down(35, "bob", GOOD)],
        length: s(60),
        watched: &[BOB_ALICE],
        holds: &[
            // Sound without a gap but for what a full queue has dropped, a small moving picture within two seconds …
            hold(BOB_ALICE, 1, END, Law::Sound(ms(100))),
            hold(BOB_ALICE, 15, 35, Law::Reaches(0, s(2))),
            hold(BOB_ALICE, 19, 35, Law::Sound(ms(0))),
            hold(BOB_ALICE, 19, 35, Law::Pictures(ms(300))),
            hold(BOB_ALICE, 19, 35, Law::Layers(0, 0)),
            // … and everything again within ten of the link's being good again.
            hold(BOB_ALICE, 35, END, Law::Reaches(2, s(10))),
            hold(BOB_ALICE, 45, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "publisher falls to 400 kbit/s",
        cast: &[ALICE.with_up(Conditions::kbps(3_000)), BOB],
        changes: &[
            up(20, "alice", Conditions::kbps(400)),
            // As fast as libwebrtc, more or less.
            Change { at: ms(20_500), who: "alice", what: Event::Fits(Bitrate::kbps(350)) },
            up(40, "alice", Conditions::kbps(3_000)),
            Change { at: s(43), who: "alice", what: Event::Fits(Bitrate::kbps(2_700)) },
        ],
        length: s(70),
        watched: &[BOB_ALICE],
        holds: &[
            // The link loses nearly everything for half a second, and a queue more. The small picture moves soon after.
            hold(BOB_ALICE, 20, 40, Law::Pictures(ms(700))),
            hold(BOB_ALICE, 22, 40, Law::Layers(0, 0)),
            hold(BOB_ALICE, 22, END, Law::Pictures(ms(150))),
            // What comes back is used at its first key frame, without a freeze.
            hold(BOB_ALICE, 43, END, Law::Reaches(2, s(1))),
            hold(BOB_ALICE, 44, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(100))),
        ],
    },
    Scenario {
        name: "slides at 500 kbit/s",
        cast: &[
            Role::new("alice").publishing(&[Slides]),
            Role::new("carol").publishing(&[Camera, Voice]),
            BOB.with_down(Conditions::kbps(500)),
        ],
        changes: &[],
        length: s(60),
        watched: &[BOB_ALICE, sees("bob", "carol")],
        holds: &[
            hold(BOB_ALICE, 0, END, Law::Reaches(0, s(3))),
            hold(BOB_ALICE, 3, END, Law::Pages(ms(1_500))),
            hold(sees("bob", "carol"), 1, END, Law::Sound(ms(0))),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "sound with 20 % of loss",
        cast: &[ALICE, BOB],
        changes: &[down(10, "bob", Conditions { loss: 0.2, ..GOOD })],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[hold(BOB_ALICE, 1, END, Law::Sound(ms(100))), hold(BOB_ALICE, 0, END, Law::Unpaused)],
    },
    Scenario {
        name: "one bad subscriber",
        cast: &[ALICE, BOB, Role::new("carol"), Role::new("dave")],
        changes: &[
            down(10, "bob", Conditions::kbps(300)),
            down(16, "bob", Conditions { loss: 0.1, ..Conditions::kbps(2_500) }),
            down(22, "bob", Conditions::kbps(200)),
            down(28, "bob", Conditions { jitter: ms(100), ..Conditions::kbps(700) }),
            down(34, "bob", Conditions::kbps(250)),
        ],
        length: s(40),
        watched: &[sees("carol", "alice"), sees("dave", "alice"), BOB_ALICE],
        holds: &[
            hold(sees("carol", "alice"), 3, END, Law::Layers(2, 2)),
            hold(sees("carol", "alice"), 3, END, Law::Pictures(ms(100))),
            hold(sees("carol", "alice"), 1, END, Law::Sound(ms(0))),
            hold(sees("dave", "alice"), 3, END, Law::Layers(2, 2)),
            hold(sees("dave", "alice"), 3, END, Law::Pictures(ms(100))),
            hold(sees("dave", "alice"), 1, END, Law::Sound(ms(0))),
            hold(sees("carol", "alice"), 3, END, Law::Keyframes(15)),
            // From 2,500 to 200 kbit/s at once: what was on its way fills the queue, which drops sound as well until we know.
            hold(BOB_ALICE, 1, END, Law::Sound(ms(240))),
        ],
    },
    Scenario {
        name: "bursts of loss",
        cast: &[ALICE, BOB],
        changes: &[down(
            10,
            "bob",
            Conditions { bursts: Bursts { begin: 0.004, end: 0.1, loss: 0.9 }, ..GOOD },
        )],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 3, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(400))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(200))),
        ],
    },
    Scenario {
        name: "bursts of loss on the way up",
        cast: &[ALICE, BOB],
        changes: &[up(
            10,
            "alice",
            Conditions { bursts: Bursts { begin: 0.004, end: 0.1, loss: 0.9 }, jitter: ms(30), ..GOOD },
        )],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[
            // The air is no queue: the large picture stays.
            hold(BOB_ALICE, 3, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(400))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(200))),
        ],
    },
    Scenario {
        name: "packets overtake others",
        cast: &[ALICE, BOB.with_down(Conditions { reorder: 0.05, ..GOOD })],
        changes: &[],
        length: s(30),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 3, END, Law::Layers(1, 2)),
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(100))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(0))),
        ],
    },
    Scenario {
        name: "jitter of 80 ms",
        cast: &[ALICE, BOB.with_down(Conditions { jitter: ms(80), ..GOOD })],
        changes: &[],
        length: s(30),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 3, END, Law::Layers(1, 2)),
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(150))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(0))),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "round trip of 400 ms",
        cast: &[ALICE, BOB.with_down(Conditions { delay: ms(200), loss: 0.01, ..Conditions::kbps(2_500) })],
        changes: &[
            up(0, "bob", Conditions { delay: ms(200), ..Conditions::PERFECT }),
            down(20, "bob", Conditions { delay: ms(200), loss: 0.01, ..Conditions::kbps(700) }),
        ],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 0, 20, Law::Reaches(0, s(3))),
            hold(BOB_ALICE, 4, END, Law::Pictures(ms(1_500))),
            hold(BOB_ALICE, 3, END, Law::Sound(ms(60))),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "addresses are translated anew",
        cast: &[ALICE, BOB],
        changes: &[
            Change { at: s(10), who: "bob", what: Event::Rebind },
            Change { at: s(25), who: "alice", what: Event::Rebind },
        ],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[
            // The client itself does not know, and asks for its path every three seconds only.
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(3_500))),
            hold(BOB_ALICE, 14, 25, Law::Pictures(ms(100))),
            hold(BOB_ALICE, 29, END, Law::Pictures(ms(100))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(3_000))),
        ],
    },
    Scenario {
        name: "a slow join",
        cast: &[
            ALICE,
            BOB,
            Role::new("carol")
                .coming_after(s(5))
                .with_down(Conditions { delay: ms(150), ..Conditions::kbps(400) }),
        ],
        changes: &[],
        length: s(30),
        watched: &[sees("carol", "alice"), BOB_ALICE],
        holds: &[
            hold(sees("carol", "alice"), 5, END, Law::Reaches(0, s(2))),
            hold(sees("carol", "alice"), 8, END, Law::Pictures(ms(500))),
            hold(sees("carol", "alice"), 8, END, Law::Sound(ms(60))),
            hold(BOB_ALICE, 3, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(100))),
        ],
    },
    Scenario {
        name: "20 people, one on a phone",
        cast: &[
            ALICE,
            Role::new("p2").publishing(&[Camera, Voice]).counting(),
            Role::new("p3").publishing(&[Camera, Voice]).counting(),
            Role::new("p4").publishing(&[Camera]).counting(),
            Role::new("p5").publishing(&[Voice]).counting(),
            Role::new("p6").counting(),
            Role::new("p7").counting(),
            Role::new("p8").counting(),
            Role::new("p9").counting(),
            Role::new("p10").counting(),
            Role::new("p11").counting(),
            Role::new("p12").counting(),
            Role::new("p13").counting(),
            Role::new("p14").counting(),
            Role::new("p15").counting(),
            Role::new("p16").counting(),
            Role::new("p17").counting(),
            Role::new("p18").counting(),
            Role::new("carol").with_down(Conditions::kbps(12_000)),
            BOB.with_down(Conditions {
                jitter: ms(40),
                bursts: Bursts { begin: 0.002, end: 0.2, loss: 0.8 },
                ..Conditions::kbps(900)
            }),
        ],
        changes: &[],
        length: s(20),
        watched: &[BOB_ALICE, sees("carol", "alice")],
        holds: &[
            hold(BOB_ALICE, 0, END, Law::Reaches(0, s(2))),
            hold(BOB_ALICE, 5, END, Law::Pictures(ms(800))),
            hold(BOB_ALICE, 2, END, Law::Sound(ms(60))),
            hold(sees("carol", "alice"), 5, END, Law::Layers(2, 2)),
            hold(sees("carol", "alice"), 5, END, Law::Pictures(ms(100))),
            hold(sees("carol", "alice"), 2, END, Law::Sound(ms(0))),
        ],
    },
    Scenario {
        name: "up and down",
        cast: &[ALICE, BOB],
        changes: &[
            down(8, "bob", Conditions::kbps(600)),
            down(14, "bob", Conditions::kbps(2_500)),
            down(20, "bob", Conditions::kbps(300)),
            down(26, "bob", Conditions::kbps(2_500)),
            down(32, "bob", Conditions::kbps(600)),
            down(38, "bob", Conditions::kbps(2_500)),
        ],
        length: s(50),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(1_300))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(100))),
            hold(BOB_ALICE, 0, END, Law::Switches(14)),
            hold(BOB_ALICE, 45, END, Law::Layers(2, 2)),
        ],
    },
    Scenario {
        name: "a policer of 1,000 kbit/s",
        cast: &[ALICE, BOB],
        changes: &[down(10, "bob", Conditions { queue: ms(15), ..Conditions::kbps(1_000) })],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 13, END, Law::Layers(0, 1)),
            hold(BOB_ALICE, 10, END, Law::Pictures(ms(2_500))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(100))),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "others in the queue",
        cast: &[ALICE, BOB],
        changes: &[down(
            10,
            "bob",
            Conditions { competing: Bitrate::kbps(1_000), ..Conditions::kbps(2_000) },
        )],
        length: s(40),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(400))),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(0))),
            hold(BOB_ALICE, 0, END, Law::Unpaused),
        ],
    },
    Scenario {
        name: "gone for two seconds",
        cast: &[ALICE, BOB],
        changes: &[
            down(10, "bob", Conditions { loss: 1.0, ..GOOD }),
            down(12, "bob", GOOD),
            up(20, "alice", Conditions { loss: 1.0, ..GOOD }),
            up(22, "alice", Conditions { rate: None, ..GOOD }),
        ],
        length: s(35),
        watched: &[BOB_ALICE],
        holds: &[
            hold(BOB_ALICE, 3, END, Law::Pictures(ms(2_400))),
            hold(BOB_ALICE, 16, 20, Law::Layers(2, 2)),
            hold(BOB_ALICE, 26, END, Law::Layers(2, 2)),
            hold(BOB_ALICE, 1, END, Law::Sound(ms(2_100))),
        ],
    },
];
