//! The JetStream API: requests on `$JS.API.>`, acknowledgements on `$JS.ACK.>`, and all streams behind them.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Context, Effect, LogOp, Publication, Stream, StreamId,
    config::StreamConfig,
    consumer::ConsumerConfig,
    error::ApiError,
    json as wire,
    stream::{Action, DeleteRequest, GetRequest, PurgeRequest},
};
use crate::{
    config::Limits,
    protocol::API_LEVEL,
    subject,
    time::{Timestamp, ZERO_TIME},
};

/// Where requests come in.
pub(crate) const API_PREFIX: &str = "$JS.API.";

const NAMES_PER_PAGE: usize = 1024;
const INFOS_PER_PAGE: usize = 256;
const SUBJECTS_PER_PAGE: usize = 100_000;

/// All streams of all accounts.
pub(crate) struct JetStream {
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// By account and name.
    names: HashMap<usize, HashMap<String, StreamId>>,
    next_id: u64,
    limits: Limits,
    /// Streams whose logs are being deleted, with the answer that waits for it.
    removing: HashMap<StreamId, Option<Effect>>,
    removals: Vec<StreamId>,
    usage: HashMap<usize, ApiUse>,
    /// Bytes in the streams of an account, on file or in memory.
    used: HashMap<(usize, bool), u64>,
    /// What the disk has room for; see [`JetStream::set_disk_room`].
    disk_room: u64,
}

/// What an account asked, and how much of it failed.
#[derive(Clone, Copy, Default)]
struct ApiUse {
    total: u64,
    errors: u64,
}

/// What one answer is about, and its members beside `type`.
type Answer = Result<Value, ApiError>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    offset: usize,
    subject: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StreamInfoRequest {
    deleted_details: bool,
    subjects_filter: String,
    offset: usize,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConsumerCreate {
    stream_name: String,
    config: Option<ConsumerConfig>,
    action: Action,
    pedantic: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pause {
    pause_until: Option<Timestamp>,
}

/// A request that is being answered.
#[derive(Clone, Copy)]
struct Request<'a> {
    account: usize,
    account_name: &'a str,
    payload: &'a [u8],
}

impl JetStream {
    pub(crate) fn new(limits: Limits) -> JetStream {
        JetStream {
            streams: BTreeMap::new(),
            names: HashMap::new(),
            next_id: 1,
            limits,
            removing: HashMap::new(),
            removals: Vec::new(),
            usage: HashMap::new(),
            used: HashMap::new(),
            disk_room: u64::MAX,
        }
    }

    /// Takes in a recovered stream.
    pub(crate) fn adopt(&mut self, stream: Stream, cx: &mut Context<'_>) {
        self.next_id = self.next_id.max(stream.id.0 + 1);
        // Of two with one name the older was deleted before the other was created; only that did not get to the disk.
        if let Some(other) = self.stream_named(stream.account, stream.name()).map(|s| s.id) {
            if other > stream.id {
                self.removing.insert(stream.id, None);
                self.removals.push(stream.id);
                return;
            }
            self.remove(other, cx);
        }
        stream.announce(cx);
        self.names.entry(stream.account).or_default().insert(stream.name().to_owned(), stream.id);
        self.streams.insert(stream.id, stream);
    }

    /// Ends a stream and has its log deleted.
    fn remove(&mut self, id: StreamId, cx: &mut Context<'_>) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        if let Some(names) = self.names.get_mut(&stream.account) {
            names.remove(stream.name());
        }
        stream.delete(cx);
        if let Some(used) = self.used.get_mut(&(stream.account, stream.is_file())) {
            *used = used.saturating_sub(stream.counted);
        }
        if stream.is_file() {
            self.removing.insert(id, None);
            self.removals.push(id);
        }
    }

    /// The number of a stream that is on the disk although it is not used, so that it is not given again.
    pub(crate) fn reserve(&mut self, id: StreamId) {
        self.next_id = self.next_id.max(id.0 + 1);
    }

    pub(crate) fn stream_named(&mut self, account: usize, name: &str) -> Option<&mut Stream> {
        let id = self.names.get(&account)?.get(name)?;
        self.streams.get_mut(id)
    }

    /// Bytes that an account may still store in streams of this kind.
    pub(crate) fn room(&self, account: usize, file: bool) -> u64 {
        let used = self.used.get(&(account, file)).copied().unwrap_or(0);
        if file {
            self.limits.max_storage.saturating_sub(used).min(self.disk_room)
        } else {
            self.limits.max_memory.saturating_sub(used)
        }
    }

    /// File streams of all accounts may take so many bytes more, until this is said again.
    pub(crate) fn set_disk_room(&mut self, bytes: u64) {
        self.disk_room = bytes;
    }

    /// Counts what a stream holds now. To be called after each work on it.
    pub(crate) fn count(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let bytes = stream.bytes();
        let before = std::mem::replace(&mut stream.counted, bytes);
        if stream.is_file() {
            self.disk_room = self.disk_room.saturating_sub(bytes.saturating_sub(before));
        }
        let used = self.used.entry((stream.account, stream.is_file())).or_default();
        *used = (*used + bytes).saturating_sub(before);
    }

    /// Logs to delete since the last call.
    pub(crate) fn take_removals(&mut self) -> Vec<(StreamId, LogOp)> {
        self.removals.drain(..).map(|id| (id, LogOp::Remove)).collect()
    }

    /// The log of a deleted stream is gone, or cannot be deleted. Gives the answer that waited for it.
    pub(crate) fn removed(&mut self, id: StreamId, outcome: Result<(), &str>) -> Option<Effect> {
        let mut answer = self.removing.remove(&id).flatten();
        if let (Err(why), Some(Effect::Publish(publication))) = (outcome, &mut answer) {
            let error = ApiError::store_failed(format!("stream storage cannot be deleted: {why}"));
            publication.payload = envelope("stream_delete", Err(error)).into();
        }
        answer
    }

    /// Answers a request on `$JS.API.<verb>`. False when nobody is there for it.
    pub(crate) fn request(
        &mut self,
        (account, account_name): (usize, &str),
        verb: &str,
        (headers, payload): (&[u8], &[u8]),
        reply: Option<&str>,
        cx: &mut Context<'_>,
    ) -> bool {
        let tokens: Vec<&str> = verb.splitn(5, '.').collect();
        // These exist per stream or consumer: without it, nobody is there.
        match tokens.as_slice() {
            ["CONSUMER", "MSG", "NEXT", stream, consumer] => {
                let Some(stream) = self.stream_named(account, stream).filter(|s| s.has_consumer(consumer))
                else {
                    return false;
                };
                if let Some(reply) = reply {
                    stream.pull(consumer, payload, reply, cx);
                }
                return true;
            }
            ["DIRECT", "GET", stream, rest @ ..] => {
                let Some(stream) = self.stream_named(account, stream).filter(|s| s.allows_direct()) else {
                    return false;
                };
                if let Some(reply) = reply {
                    match rest {
                        [] => stream.direct_get(payload, reply, cx),
                        rest => stream.direct_get_last(&rest.join("."), reply, cx),
                    }
                }
                return true;
            }
            _ => {}
        }
        let usage = self.usage.entry(account).or_default();
        usage.total += 1;
        let request = Request { account, account_name, payload };
        let Some(kind) = kind_of(&tokens) else {
            // What is no request gets no answer, as from a stock server.
            return true;
        };
        let needs_more = super::headers::get(headers, "Nats-Required-Api-Level").is_some_and(|level| {
            let level = std::str::from_utf8(level).ok().and_then(|n| n.parse::<u32>().ok());
            level.is_none_or(|n| n > API_LEVEL)
        });
        let answer =
            if needs_more { Err(ApiError::api_level()) } else { self.dispatch(&tokens, request, cx) };
        if answer.is_err() {
            self.usage.entry(account).or_default().errors += 1;
        }
        let Some(reply) = reply else { return true };
        let body = envelope(kind, answer);
        match self.stream_named(account, stream_of(&tokens)) {
            Some(stream) => stream.answer(reply, Vec::new(), body, cx),
            None => {
                let effect = Effect::Publish(plain(account, reply, body));
                // The answer to a deletion waits until the log is gone.
                match self.removals.last().and_then(|id| self.removing.get_mut(id)) {
                    Some(waiting @ None) if tokens.starts_with(&["STREAM", "DELETE"]) => {
                        *waiting = Some(effect);
                    }
                    _ => cx.effects.push_back(effect),
                }
            }
        }
        true
    }

    /// Carries out what [`kind_of`] knows.
    fn dispatch(&mut self, tokens: &[&str], request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        match *tokens {
            ["STREAM", "CREATE", name] => self.stream_create(name, request, cx),
            ["STREAM", "UPDATE", name] => self.stream_update(name, request, cx),
            ["STREAM", "INFO", name] => self.stream_info(name, request, cx),
            ["STREAM", "DELETE", name] => self.stream_delete(name, request, cx),
            ["STREAM", "PURGE", name] => self.stream_purge(name, request, cx),
            ["STREAM", "NAMES"] => self.stream_names(request),
            ["STREAM", "LIST"] => self.stream_list(request, cx),
            ["STREAM", "MSG", "GET", name] => self.message_get(name, request),
            ["STREAM", "MSG", "DELETE", name] => self.message_delete(name, request, cx),
            ["STREAM", "SNAPSHOT" | "RESTORE", _] => Err(unsupported("snapshots")),
            ["STREAM", "LEADER" | "PEER", ..] | ["CONSUMER", "LEADER", ..] => {
                Err(ApiError::cluster_required())
            }
            ["CONSUMER", "CREATE", stream, ref rest @ ..] => {
                let name = rest.first().copied();
                let filter = (rest.len() > 1).then(|| rest[1..].join("."));
                self.consumer_create(stream, name, filter.as_deref(), false, request, cx)
            }
            ["CONSUMER", "DURABLE", "CREATE", stream, name] => {
                self.consumer_create(stream, Some(name), None, true, request, cx)
            }
            ["CONSUMER", "INFO", stream, name] => self.consumer_info(stream, name, request, cx),
            ["CONSUMER", "DELETE", stream, name] => self.consumer_delete(stream, name, request, cx),
            ["CONSUMER", "NAMES", stream] => self.consumer_names(stream, request),
            ["CONSUMER", "LIST", stream] => self.consumer_list(stream, request, cx),
            ["CONSUMER", "PAUSE", stream, name] => self.consumer_pause(stream, name, request, cx),
            ["CONSUMER", "UNPIN", ..] => Err(unsupported("priority groups")),
            _ => self.account_info(request),
        }
    }

    fn require(&mut self, name: &str, request: Request<'_>) -> Result<&mut Stream, ApiError> {
        self.stream_named(request.account, name).ok_or_else(ApiError::stream_not_found)
    }

    fn account_info(&self, request: Request<'_>) -> Answer {
        let own = || self.streams.values().filter(|s| s.account == request.account);
        let bytes = |file: bool| own().filter(|s| s.is_file() == file).map(Stream::bytes).sum::<u64>();
        let usage = self.usage.get(&request.account).copied().unwrap_or_default();
        Ok(json!({
            "memory": bytes(false), "storage": bytes(true), "reserved_memory": 0, "reserved_storage": 0,
            "streams": own().count(), "consumers": own().map(Stream::consumer_count).sum::<usize>(),
            "limits": {
                "max_memory": self.limits.max_memory, "max_storage": self.limits.max_storage,
                "max_streams": self.limits.max_streams, "max_consumers": -1, "max_ack_pending": -1,
                "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": false,
            },
            "api": {"level": API_LEVEL, "total": usage.total, "errors": usage.errors},
        }))
    }

    fn read_stream_config(name: &str, request: Request<'_>) -> Result<StreamConfig, ApiError> {
        let mut body = read_json(request.payload)?;
        if let Some(members) = body.as_object_mut() {
            // What the server adds to answers comes back in updates.
            if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|key, _| !key.starts_with("_nats."));
            }
            if members.remove("pedantic") == Some(Value::Bool(true)) {
                return Err(ApiError::pedantic("not supported by this server"));
            }
        }
        let config: StreamConfig = serde_json::from_value(body).map_err(|e| ApiError::from_json(&e))?;
        if config.name != name {
            return Err(ApiError::stream_mismatch());
        }
        config.settle()
    }

    fn check_overlap(&self, config: &StreamConfig, request: Request<'_>) -> Result<(), ApiError> {
        let others =
            self.streams.values().filter(|s| s.account == request.account && s.name() != config.name);
        for other in others {
            let theirs = &other.config.subjects;
            if config.subjects.iter().any(|a| theirs.iter().any(|b| subject::overlaps(a, b))) {
                return Err(ApiError::subject_overlap());
            }
        }
        Ok(())
    }

    fn stream_create(&mut self, name: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        let config = Self::read_stream_config(name, request)?;
        if config.sealed {
            return Err(ApiError::stream_config("stream configuration for create can not be sealed"));
        }
        if let Some(stream) = self.stream_named(request.account, name) {
            if stream.config != config {
                return Err(ApiError::stream_exists());
            }
        } else {
            self.check_overlap(&config, request)?;
            if self.streams.values().filter(|s| s.account == request.account).count()
                >= self.limits.max_streams
            {
                return Err(ApiError::stream_limit());
            }
            let id = StreamId(self.next_id);
            self.next_id += 1;
            let stream = Stream::create(
                id,
                request.account,
                request.account_name,
                config,
                self.limits.segment_size,
                cx.now,
            );
            stream.announce(cx);
            self.names.entry(request.account).or_default().insert(name.to_owned(), id);
            self.streams.insert(id, stream);
            stream_advisory("CREATED", "create", name, request.account, cx);
        }
        let mut info = self.require(name, request)?.info(cx.now);
        info["did_create"] = true.into();
        Ok(info)
    }

    fn stream_update(&mut self, name: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        let config = Self::read_stream_config(name, request)?;
        self.require(name, request)?;
        self.check_overlap(&config, request)?;
        let stream = self.require(name, request)?;
        stream.update(config, cx)?;
        let info = stream.info(cx.now);
        stream_advisory("UPDATED", "modify", name, request.account, cx);
        Ok(info)
    }

    fn stream_info(&mut self, name: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        let wanted: StreamInfoRequest = read_or_default(request.payload)?;
        let stream = self.require(name, request)?;
        let mut info = stream.info(cx.now);
        if wanted.deleted_details {
            info["state"]["deleted"] = stream.deleted().into();
        }
        let mut total = 0;
        if !wanted.subjects_filter.is_empty() {
            if !subject::is_valid(&wanted.subjects_filter) {
                return Err(ApiError::bad_request());
            }
            let counts: Vec<(&str, usize)> = stream.subject_counts(&wanted.subjects_filter).collect();
            total = counts.len();
            let page = counts.into_iter().skip(wanted.offset).take(SUBJECTS_PER_PAGE);
            info["state"]["subjects"] = page.map(|(s, n)| (s.to_owned(), Value::from(n))).collect();
        }
        info["total"] = total.into();
        info["offset"] = wanted.offset.into();
        info["limit"] = if wanted.subjects_filter.is_empty() { 0 } else { SUBJECTS_PER_PAGE }.into();
        Ok(info)
    }

    fn stream_delete(&mut self, name: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        expect_empty(request.payload)?;
        let id = self.require(name, request)?.id;
        self.remove(id, cx);
        stream_advisory("DELETED", "delete", name, request.account, cx);
        Ok(json!({"success": true}))
    }

    fn stream_purge(&mut self, name: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        let purge: PurgeRequest = read_or_default(request.payload)?;
        let purged = self.require(name, request)?.purge(&purge, cx)?;
        Ok(json!({"success": true, "purged": purged}))
    }

    fn matching(&self, request: Request<'_>, filter: &str) -> Result<Vec<&Stream>, ApiError> {
        if !filter.is_empty() && !subject::is_valid(filter) {
            return Err(ApiError::bad_request());
        }
        let mut streams: Vec<&Stream> = self
            .streams
            .values()
            .filter(|s| s.account == request.account)
            .filter(|s| {
                filter.is_empty() || s.config.subjects.iter().any(|own| subject::overlaps(own, filter))
            })
            .collect();
        streams.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(streams)
    }

    fn stream_names(&self, request: Request<'_>) -> Answer {
        let page: Page = read_or_default(request.payload)?;
        let streams = self.matching(request, &page.subject)?;
        let names: Vec<&str> =
            streams.iter().map(|s| s.name()).skip(page.offset).take(NAMES_PER_PAGE).collect();
        let total = streams.len();
        Ok(json!({"total": total, "offset": page.offset, "limit": NAMES_PER_PAGE,
            "streams": if names.is_empty() { Value::Null } else { names.into() }}))
    }

    fn stream_list(&self, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        let page: Page = read_or_default(request.payload)?;
        let streams = self.matching(request, &page.subject)?;
        let infos: Vec<Value> =
            streams.iter().skip(page.offset).take(INFOS_PER_PAGE).map(|s| s.info(cx.now)).collect();
        Ok(json!({"total": streams.len(), "offset": page.offset, "limit": INFOS_PER_PAGE, "streams": infos}))
    }

    fn message_get(&mut self, name: &str, request: Request<'_>) -> Answer {
        if request.payload.trim_ascii().is_empty() {
            return Err(ApiError::bad_request());
        }
        let wanted: GetRequest = read_or_default(request.payload)?;
        Ok(json!({"message": self.require(name, request)?.get_message(&wanted)?}))
    }

    fn message_delete(&mut self, name: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        if request.payload.trim_ascii().is_empty() {
            return Err(ApiError::bad_request());
        }
        let wanted: DeleteRequest = read_or_default(request.payload)?;
        self.require(name, request)?.delete_message(&wanted, cx)?;
        Ok(json!({"success": true}))
    }

    fn consumer_create(
        &mut self,
        stream: &str,
        name: Option<&str>,
        filter: Option<&str>,
        durable: bool,
        request: Request<'_>,
        cx: &mut Context<'_>,
    ) -> Answer {
        let mut body = read_json(request.payload)?;
        if let Some(metadata) = body.pointer_mut("/config/metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !key.starts_with("_nats."));
        }
        let create: ConsumerCreate = serde_json::from_value(body).map_err(|e| ApiError::from_json(&e))?;
        if create.pedantic {
            return Err(ApiError::pedantic("not supported by this server"));
        }
        if create.stream_name != stream {
            return Err(ApiError::stream_mismatch());
        }
        let mut config = create.config.ok_or_else(ApiError::config_required)?;
        if let Some(filter) = filter {
            if !config.filter_subjects.is_empty() {
                return Err(ApiError::filters_in_subject());
            }
            if config.filter_subject != filter {
                return Err(ApiError::create_filter());
            }
        }
        match name {
            Some(name) if durable => {
                if config.durable_name.is_empty() {
                    return Err(ApiError::durable_not_set());
                }
                if config.durable_name != name {
                    return Err(ApiError::consumer_mismatch());
                }
            }
            Some(name) => {
                let own = if config.durable_name.is_empty() { &config.name } else { &config.durable_name };
                if own.is_empty() {
                    name.clone_into(&mut config.name);
                } else if own != name {
                    return Err(ApiError::consumer_mismatch());
                }
            }
            None => {
                if !config.durable_name.is_empty() {
                    return Err(ApiError::ephemeral_with_durable());
                }
                if config.name.is_empty() {
                    config.name = crate::random_token(cx.rng, 8);
                }
            }
        }
        let limit = self.limits.max_consumers;
        let stream = self.require(stream, request)?;
        let name =
            if config.durable_name.is_empty() { config.name.clone() } else { config.durable_name.clone() };
        stream.put_consumer(config, create.action, limit, cx)?;
        let consumer = stream.consumer(&name).ok_or_else(ApiError::consumer_not_found)?;
        Ok(stream.consumer_info(consumer, cx.now))
    }

    fn consumer_info(
        &mut self,
        stream: &str,
        name: &str,
        request: Request<'_>,
        cx: &mut Context<'_>,
    ) -> Answer {
        expect_empty(request.payload)?;
        let stream = self.require(stream, request)?;
        let consumer = stream.consumer(name).ok_or_else(ApiError::consumer_not_found)?;
        Ok(stream.consumer_info(consumer, cx.now))
    }

    fn consumer_delete(
        &mut self,
        stream: &str,
        name: &str,
        request: Request<'_>,
        cx: &mut Context<'_>,
    ) -> Answer {
        expect_empty(request.payload)?;
        self.require(stream, request)?.delete_consumer(name, cx)?;
        Ok(json!({"success": true}))
    }

    fn consumer_names(&mut self, stream: &str, request: Request<'_>) -> Answer {
        let page: Page = read_or_default(request.payload)?;
        let stream = self.require(stream, request)?;
        let names: Vec<&str> = stream.consumer_names().skip(page.offset).take(NAMES_PER_PAGE).collect();
        Ok(json!({"total": stream.consumer_count(), "offset": page.offset, "limit": NAMES_PER_PAGE,
            "consumers": names}))
    }

    fn consumer_list(&mut self, stream: &str, request: Request<'_>, cx: &mut Context<'_>) -> Answer {
        let page: Page = read_or_default(request.payload)?;
        let stream = self.require(stream, request)?;
        let infos: Vec<Value> = stream
            .consumer_names()
            .skip(page.offset)
            .take(INFOS_PER_PAGE)
            .filter_map(|name| stream.consumer(name))
            .map(|consumer| stream.consumer_info(consumer, cx.now))
            .collect();
        Ok(json!({"total": stream.consumer_count(), "offset": page.offset, "limit": INFOS_PER_PAGE,
            "consumers": infos}))
    }

    fn consumer_pause(
        &mut self,
        stream: &str,
        name: &str,
        request: Request<'_>,
        cx: &mut Context<'_>,
    ) -> Answer {
        let pause: Pause = read_or_default(request.payload)?;
        let now = cx.now;
        let paused = self.require(stream, request)?.pause_consumer(name, pause.pause_until, cx)?;
        let until = pause.pause_until.map_or_else(|| ZERO_TIME.to_owned(), Timestamp::to_rfc3339);
        let mut answer = json!({"paused": paused, "pause_until": until});
        if paused {
            answer["pause_remaining"] = pause.pause_until.map_or(0, |until| until.0 - now.0).into();
        }
        Ok(answer)
    }

    /// An acknowledgement on `$JS.ACK.<rest>`. False when there is no such consumer.
    pub(crate) fn acknowledge(
        &mut self,
        account: usize,
        rest: &str,
        payload: &[u8],
        reply: Option<&str>,
        cx: &mut Context<'_>,
    ) -> bool {
        // The longer form has a domain and an account in front, which a client may choose freely: whoever is allowed
        // to acknowledge for one consumer could name any other behind them. This broker never hands it out.
        let tokens: Vec<&str> = rest.split('.').collect();
        let [stream, consumer, _deliveries, seq, delivery, _time, _left] = tokens[..] else { return false };
        let (Ok(seq), Ok(delivery)) = (seq.parse::<u64>(), delivery.parse::<u64>()) else { return false };
        let Some(stream) = self.stream_named(account, stream).filter(|s| s.has_consumer(consumer)) else {
            return false;
        };
        stream.acknowledge(consumer, (seq, delivery), payload, reply, cx);
        true
    }

    /// A flow-control answer on `subject`. False when there is no such consumer.
    pub(crate) fn flow_confirmed(&mut self, account: usize, subject: &str) -> bool {
        let mut tokens = subject.split('.').skip(2);
        let (Some(stream), Some(consumer)) = (tokens.next(), tokens.next()) else { return false };
        let Some(stream) = self.stream_named(account, stream).filter(|s| s.has_consumer(consumer)) else {
            return false;
        };
        stream.flow_confirmed(consumer, subject);
        true
    }
}

/// The stream that a request is about, if any.
pub(crate) fn stream_of<'a>(tokens: &[&'a str]) -> &'a str {
    match *tokens {
        ["CONSUMER", "MSG", "NEXT", stream, ..]
        | ["CONSUMER", "DURABLE", "CREATE", stream, ..]
        | ["STREAM", "MSG", _, stream, ..]
        | ["CONSUMER" | "DIRECT" | "STREAM", _, stream, ..] => stream,
        _ => "",
    }
}

/// What the answer to a request is called, or `None` when it is no request.
fn kind_of(tokens: &[&str]) -> Option<&'static str> {
    Some(match *tokens {
        ["INFO"] => "account_info",
        ["STREAM", "CREATE", _] => "stream_create",
        ["STREAM", "UPDATE", _] => "stream_update",
        ["STREAM", "INFO", _] => "stream_info",
        ["STREAM", "DELETE", _] => "stream_delete",
        ["STREAM", "PURGE", _] => "stream_purge",
        ["STREAM", "NAMES"] => "stream_names",
        ["STREAM", "LIST"] => "stream_list",
        ["STREAM", "MSG", "GET", _] => "stream_msg_get",
        ["STREAM", "MSG", "DELETE", _] => "stream_msg_delete",
        ["STREAM", "SNAPSHOT", _] => "stream_snapshot",
        ["STREAM", "RESTORE", _] => "stream_restore",
        ["STREAM", "LEADER", "STEPDOWN", _] => "stream_leader_stepdown",
        ["STREAM", "PEER", "REMOVE", _] => "stream_remove_peer",
        ["CONSUMER", "CREATE", _, ..] | ["CONSUMER", "DURABLE", "CREATE", _, _] => "consumer_create",
        ["CONSUMER", "INFO", _, _] => "consumer_info",
        ["CONSUMER", "DELETE", _, _] => "consumer_delete",
        ["CONSUMER", "NAMES", _] => "consumer_names",
        ["CONSUMER", "LIST", _] => "consumer_list",
        ["CONSUMER", "PAUSE", _, _] => "consumer_pause",
        ["CONSUMER", "UNPIN", _, _] => "consumer_unpin",
        ["CONSUMER", "LEADER", "STEPDOWN", _, _] => "consumer_leader_stepdown",
        _ => return None,
    })
}

/// The answer of an account that has no streams.
pub(crate) fn not_enabled(account: usize, verb: &str, reply: &str) -> Effect {
    let kind = kind_of(&verb.splitn(5, '.').collect::<Vec<_>>()).unwrap_or("account_info");
    Effect::Publish(plain(account, reply, envelope(kind, Err(ApiError::not_enabled()))))
}

fn plain(account: usize, reply: &str, body: Vec<u8>) -> Publication {
    Publication {
        account,
        subject: reply.to_owned(),
        shown: None,
        reply: None,
        headers: bytes::Bytes::new(),
        payload: body.into(),
    }
}

fn envelope(kind: &str, answer: Answer) -> Vec<u8> {
    let mut body = match answer {
        Ok(body) => body,
        Err(error) => {
            let mut body = json!({"error": error});
            // Answers in pages keep their shape also when they fail.
            let list = match kind {
                "stream_names" | "stream_list" => Some(("streams", Value::Null)),
                "consumer_names" | "consumer_list" => Some(("consumers", json!([]))),
                _ => None,
            };
            if list.is_some() || kind == "stream_info" {
                for member in ["total", "offset", "limit"] {
                    body[member] = 0.into();
                }
            }
            if let Some((name, empty)) = list {
                body[name] = empty;
            }
            if kind == "stream_purge" {
                body["purged"] = 0.into();
            }
            body
        }
    };
    body["type"] = format!("io.nats.jetstream.api.v1.{kind}_response").into();
    body.to_string().into_bytes()
}

fn unsupported(what: &str) -> ApiError {
    ApiError::stream_config(format!("{what} are not supported by this server"))
}

fn stream_advisory(event: &str, action: &str, name: &str, account: usize, cx: &mut Context<'_>) {
    cx.effects.push_back(Effect::Advisory {
        account,
        subject: format!("STREAM.{event}.{name}"),
        kind: "stream_action",
        body: json!({"stream": name, "action": action}),
    });
}

fn read_or_default<T: DeserializeOwned + Default>(payload: &[u8]) -> Result<T, ApiError> {
    wire::read(payload).map_err(|e| ApiError::from_json(&e))
}

fn read_json(payload: &[u8]) -> Result<Value, ApiError> {
    wire::read_value(payload).map_err(|e| ApiError::from_json(&e))
}

fn expect_empty(payload: &[u8]) -> Result<(), ApiError> {
    match payload.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(ApiError::not_empty_request()),
    }
}
