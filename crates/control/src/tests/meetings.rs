//! What happens at the edges of a meeting: made anew at once, left by force, worked on by two, on streams that are new.

use super::*;

/// A participant's connection to the broker, and what it hears under its own name.
struct Page {
    client: async_nats::Client,
    inbox: async_nats::Subscriber,
    cut: Arc<AtomicBool>,
}

impl Page {
    async fn open(place: &Place, room: &Room, who: &str) -> Self {
        let id = RoomId::parse(&room.room_id, "room_id").unwrap();
        let claims = crate::Claims {
            room: id.clone(),
            user: user(who),
            name: who.into(),
            is_admin: false,
            sid: room.sid.clone(),
            seat: room.people[who].sid.clone(),
        };
        let token = Tokens::new("key", "secret").make(&claims, token_end(now()));
        let cut = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&cut);
        let client = async_nats::ConnectOptions::with_token(token)
            .custom_inbox_prefix(format!("_INBOX.{id}.{who}"))
            .event_callback(move |event| {
                let is_cut = matches!(event, async_nats::Event::Disconnected);
                noted.fetch_or(is_cut, Ordering::SeqCst);
                std::future::ready(())
            })
            .connect(place.url())
            .await
            .unwrap();
        let subject = client.new_inbox();
        let inbox = client.subscribe(subject.clone()).await.unwrap();
        let pull =
            format!("plenum.API.CONSUMER.MSG.NEXT.{}.{}", layout::ROOMS, layout::durable(id.as_str(), who));
        let want = r#"{"batch":100,"expires":60000000000}"#;
        client.publish_with_reply(pull, subject, want.into()).await.unwrap();
        client.flush().await.unwrap();
        Self { client, inbox, cut }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// What it has heard until now, and acknowledges.
    async fn heard(&mut self) -> Vec<Event> {
        let mut heard = Vec::new();
        while let Ok(Some(message)) = timeout(Duration::from_millis(200), self.inbox.next()).await {
            if let Some(reply) = message.reply {
                self.client.publish(reply, "+ACK".into()).await.unwrap();
            }
            if let Ok(envelope) = NatsMsgServerToClient::decode(message.payload) {
                heard.push(envelope.event());
            }
        }
        heard
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_hears_why_before_the_connection_is_cut() {
    let place = Place::new().await;
    let instance = place.instance(Steps::default(), true).await;
    let id = RoomId::parse("r", "room_id").unwrap();
    instance.create(&id, &["ann"]).await;
    let room = instance.room(&id).await.unwrap();
    let mut page = Page::open(&place, &room, "ann").await;
    until(async || instance.room(&id).await.unwrap().online().count() == 1).await;
    // Nothing else is on its way to it that would hold the cut up.
    page.heard().await;
    // For a while the broker does not take what people are told.
    let take_up_to = async |bytes: i32| {
        let mut config = place.js().get_stream(layout::ROOMS).await.unwrap().cached_info().config.clone();
        config.max_message_size = bytes;
        place.js().update_stream(config).await.unwrap();
    };
    take_up_to(8).await;
    let remove = Moderation::Remove { user: user("ann"), message: String::new(), block: false };
    instance.moderate(&id, remove).await.unwrap();
    sleep(Duration::from_millis(1_500)).await;
    assert!(!page.is_cut());
    take_up_to(-1).await;
    until(async || page.is_cut()).await;
    let heard = page.heard().await;
    assert!(heard.contains(&Event::SessionEnded), "{heard:?}");
}

/// The run before is still being cleared up when the next one begins: each loses only what is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_that_is_made_anew_at_once_keeps_what_is_its_own() {
    let place = Place::new().await;
    let instance = place.instance(Steps::default(), true).await;
    let id = RoomId::parse("r", "room_id").unwrap();
    instance.create(&id, &["ann"]).await;
    let first = instance.room(&id).await.unwrap();
    let old = Page::open(&place, &first, "ann").await;
    until(async || instance.room(&id).await.unwrap().online().count() == 1).await;
    place.ask(&id, "ann", chat("of the first run", None)).await;
    until(async || place.said(&id).await.len() == 1).await;
    // The media server answers nothing for now, so that the first run's media is still there.
    place.media_is_there.store(false, Ordering::SeqCst);
    instance.moderate(&id, Moderation::End(EndReason::Asked)).await.unwrap();
    instance.create(&id, &["ann"]).await;
    let second = instance.room(&id).await.unwrap();
    assert_ne!(first.sid, second.sid);
    assert!(!second.outbox.is_empty(), "the first run is still being cleared up");
    place.media_calls.lock().unwrap().clear();
    place.ask(&id, "ann", chat("of the second run", None)).await;
    let new = Page::open(&place, &second, "ann").await;
    place.media_is_there.store(true, Ordering::SeqCst);
    until(async || instance.room(&id).await.unwrap().outbox.is_empty()).await;

    until(async || old.is_cut()).await;
    let held = instance.room(&id).await.unwrap();
    assert_eq!((held.sid.as_str(), held.online().count()), (second.sid.as_str(), 1));
    assert!(!new.is_cut());
    assert_eq!(place.said(&id).await, ["chat.r ann: of the second run"]);
    let rooms = place.js().get_stream(layout::ROOMS).await.unwrap();
    assert!(rooms.consumer_info("r_ann").await.is_ok(), "the second run's durable stays");
    let names = place.js().get_key_value(layout::DURABLES_BUCKET).await.unwrap();
    assert!(names.get("r_ann").await.unwrap().is_some(), "and its name");
    let asked = place.media_calls.lock().unwrap().clone();
    assert!(asked.iter().any(|call| call.ends_with("/listparticipants")), "{asked:?}");
    assert!(!asked.iter().any(|call| call.ends_with("/deleteroom")), "{asked:?}");
    drop(new.client);
}

/// An alignment that a pillar did not take is made again until it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_reach_a_media_server_that_was_away() {
    let place = Place::new().await;
    let instance = place.instance(Steps::default(), true).await;
    let id = RoomId::parse("r", "room_id").unwrap();
    instance.create(&id, &["bob"]).await;
    place.media_is_there.store(false, Ordering::SeqCst);
    instance.moderate(&id, Story::Asks.act()).await.unwrap();
    let updates = || {
        let calls = place.media_calls.lock().unwrap();
        calls.iter().filter(|call| call.ends_with("/updateparticipant")).count()
    };
    until(async || updates() >= 2).await;
    assert!(!instance.room(&id).await.unwrap().outbox.is_empty(), "it is still to be done");
    place.media_is_there.store(true, Ordering::SeqCst);
    until(async || instance.room(&id).await.unwrap().outbox.is_empty()).await;
    let done = updates();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(updates(), done, "and then no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_the_work_and_neither_gives_up_more_than_half() {
    let place = Place::new().await;
    let first = place.instance(Steps::default(), false).await;
    let leases = place.js().get_key_value(layout::LEASE_BUCKET).await.unwrap();
    let holders = async || {
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for shard in 0..16 {
            if let Ok(Some(server)) = leases.get(format!("shard.{shard}")).await {
                *holders.entry(String::from_utf8(server.to_vec()).unwrap()).or_default() += 1;
            }
        }
        holders
    };
    let alone = holders().await;
    assert_eq!(alone.values().copied().collect::<Vec<_>>(), [16]);
    let name = alone.into_keys().next().unwrap();
    let second = place.instance(Steps::default(), false).await;
    let mut least = 16;
    until(async || {
        let now = holders().await;
        least = least.min(now.get(&name).copied().unwrap_or(0));
        now.values().copied().collect::<Vec<_>>() == [8, 8]
    })
    .await;
    for _ in 0..30 {
        sleep(Duration::from_millis(50)).await;
        least = least.min(holders().await.get(&name).copied().unwrap_or(0));
    }
    assert_eq!(least, 8, "no shard is given up that has to come back");
    // One that goes leaves nothing undone.
    second.kill();
    until(async || holders().await.get(&name) == Some(&16)).await;
    drop(first);
}

/// An operator deleted a stream: its numbers begin anew, and work goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_made_anew_are_no_older_ones() {
    let place = Place::new().await;
    let id = RoomId::parse("r", "room_id").unwrap();
    let hand = |event: Ask| NatsMsgClientToServer { event: event.into(), ..NatsMsgClientToServer::default() };
    let is_raised = async |instance: &Instance| {
        let held = instance.room(&id).await.unwrap();
        held.people["ann"].metadata().raised_hand.unwrap_or_default().is_raised
    };
    // The first bucket of leases counts far.
    place.instance(Steps::default(), true).await.kill();
    let leases = place.js().get_key_value(layout::LEASE_BUCKET).await.unwrap();
    for number in 0..200 {
        leases.put(format!("number.{number}"), "".into()).await.unwrap();
    }
    let first = place.instance(Steps::default(), true).await;
    first.create(&id, &["ann"]).await;
    for event in [Ask::ReqRaiseHand, Ask::ReqLowerHand, Ask::ReqRaiseHand] {
        place.ask(&id, "ann", hand(event)).await;
    }
    until(async || place.commands_waiting().await == 0 && is_raised(&first).await).await;
    first.kill();

    let bucket = format!("KV_{}", layout::LEASE_BUCKET);
    place.js().delete_stream(&bucket).await.unwrap();
    let second = place.instance(Steps::default(), false).await;
    place.ask(&id, "ann", hand(Ask::ReqLowerHand)).await;
    until(async || !is_raised(&second).await).await;
    second.kill();

    place.js().delete_stream(layout::WORKER).await.unwrap();
    let third = place.instance(Steps::default(), true).await;
    place.ask(&id, "ann", hand(Ask::ReqRaiseHand)).await;
    until(async || is_raised(&third).await).await;
}
