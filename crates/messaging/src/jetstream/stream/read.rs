//! Reading single messages: MSG.GET and DIRECT.GET.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;

use super::Stream;
use crate::{
    jetstream::{Context, error::ApiError, headers, json, store::Stored},
    protocol::status_headers,
    subject,
    time::Timestamp,
};

/// Messages of one batch at most, so that one request cannot fill its client's buffer.
const MAX_BATCH: u64 = 1000;
/// Subjects that one request for last messages may name, as a stock server allows.
const MAX_SUBJECTS: usize = 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::jetstream) struct GetRequest {
    seq: u64,
    last_by_subj: String,
    next_by_subj: String,
    start_time: Option<Timestamp>,
    no_hdr: bool,
    batch: u64,
    max_bytes: u64,
    multi_last: Vec<String>,
    up_to_seq: u64,
    up_to_time: Option<Timestamp>,
}

impl GetRequest {
    /// Does it ask for nothing?
    fn is_empty(&self) -> bool {
        self.seq == 0
            && self.last_by_subj.is_empty()
            && self.next_by_subj.is_empty()
            && self.start_time.is_none()
            && self.multi_last.is_empty()
            && self.batch == 0
    }
}

impl Stream {
    /// The one message that a request names.
    pub(in crate::jetstream) fn get_message(&self, request: &GetRequest) -> Result<Value, ApiError> {
        self.usable()?;
        if request.batch > 0 || !request.multi_last.is_empty() {
            return Err(ApiError::bad_request());
        }
        let (seq, message) = self.find(request)?.ok_or_else(ApiError::no_message)?;
        let mut out =
            serde_json::json!({"subject": &*message.subject, "seq": seq, "time": message.ts.to_rfc3339()});
        if !message.headers.is_empty() && !request.no_hdr {
            out["hdrs"] = BASE64.encode(&message.headers).into();
        }
        if !message.payload.is_empty() {
            out["data"] = BASE64.encode(&message.payload).into();
        }
        Ok(out)
    }

    fn find(&self, request: &GetRequest) -> Result<Option<(u64, &Stored)>, ApiError> {
        let filters = [&request.last_by_subj, &request.next_by_subj];
        if filters.iter().any(|f| !f.is_empty() && !subject::is_valid(f)) {
            return Err(ApiError::bad_request());
        }
        let last = !request.last_by_subj.is_empty();
        let next = !request.next_by_subj.is_empty();
        let by_seq = request.seq > 0;
        let by_time = request.start_time.is_some();
        if (last && (next || by_seq || by_time))
            || (by_seq && by_time)
            || !(last || next || by_seq || by_time)
        {
            return Err(ApiError::bad_request());
        }
        let store = &self.store;
        if last {
            return Ok(store
                .last_matching(&request.last_by_subj)
                .and_then(|seq| Some((seq, store.get(seq)?))));
        }
        let from = match request.start_time {
            None => request.seq,
            Some(ts) => match store.first_at(ts) {
                None => return Ok(None),
                Some(seq) => seq,
            },
        };
        Ok(if next {
            store.next_matching(&[&request.next_by_subj], from)
        } else if by_time {
            store.next_matching(&[], from)
        } else {
            store.get(from).map(|m| (from, m))
        })
    }

    /// Answers DIRECT.GET.
    pub(crate) fn direct_get(&mut self, payload: &[u8], reply: &str, cx: &mut Context<'_>) {
        if self.has_failed() {
            return self.direct_status(reply, 503, "Stream Storage Failed", cx);
        }
        if payload.trim_ascii().is_empty() {
            return self.direct_status(reply, 408, "Empty Request", cx);
        }
        let Ok(request) = json::read::<GetRequest>(payload) else {
            return self.direct_status(reply, 408, "Malformed Request", cx);
        };
        if request.is_empty() {
            return self.direct_status(reply, 408, "Empty Request", cx);
        }
        if request.multi_last.is_empty() && request.batch == 0 {
            match self.find(&request) {
                Ok(Some((seq, _))) => self.direct_message(seq, reply, &[], cx),
                Ok(None) => self.direct_status(reply, 404, "Message Not Found", cx),
                Err(_) => self.direct_status(reply, 408, "Bad Request", cx),
            }
        } else if request.multi_last.is_empty() {
            self.direct_batch(&request, reply, cx);
        } else {
            self.direct_last(&request, reply, cx);
        }
    }

    /// Is the stream open for DIRECT.GET?
    pub(crate) fn allows_direct(&self) -> bool {
        self.config.allow_direct
    }

    /// Answers DIRECT.GET with the subject in the request's subject.
    pub(crate) fn direct_get_last(&mut self, subject: &str, reply: &str, cx: &mut Context<'_>) {
        if self.has_failed() {
            return self.direct_status(reply, 503, "Stream Storage Failed", cx);
        }
        match self.store.of_subject(subject).and_then(|seqs| seqs.back().copied()) {
            Some(seq) => self.direct_message(seq, reply, &[], cx),
            None => self.direct_status(reply, 404, "Message Not Found", cx),
        }
    }

    fn direct_batch(&mut self, request: &GetRequest, reply: &str, cx: &mut Context<'_>) {
        if !request.last_by_subj.is_empty() || (request.seq > 0 && request.start_time.is_some()) {
            return self.direct_status(reply, 408, "Bad Request", cx);
        }
        let from = match request.start_time {
            Some(ts) => self.store.first_at(ts).unwrap_or(self.store.last_seq + 1),
            None => request.seq,
        };
        let filter = request.next_by_subj.clone();
        if !filter.is_empty() && !subject::is_valid(&filter) {
            return self.direct_status(reply, 408, "Bad Request", cx);
        }
        let filters: Vec<&str> = if filter.is_empty() { Vec::new() } else { vec![&filter] };
        let total = self.store.count_matching(&filters, from);
        let mut found = Vec::new();
        let mut next = from;
        while (found.len() as u64) < request.batch.min(MAX_BATCH) {
            let Some((seq, _)) = self.store.next_matching(&filters, next) else { break };
            found.push(seq);
            next = seq + 1;
        }
        self.direct_many(&found, total, request.max_bytes, None, reply, cx);
    }

    fn direct_last(&mut self, request: &GetRequest, reply: &str, cx: &mut Context<'_>) {
        let filters: Vec<&str> = request.multi_last.iter().map(String::as_str).collect();
        if filters.len() > MAX_SUBJECTS || filters.iter().any(|f| !subject::is_valid(f)) {
            return self.direct_status(reply, 408, "Bad Request", cx);
        }
        let up_to = match (request.up_to_seq, request.up_to_time) {
            (0, None) => self.store.last_seq,
            (0, Some(ts)) => self.store.first_at(ts).map_or(self.store.last_seq, |seq| seq - 1),
            (seq, None) => seq,
            _ => return self.direct_status(reply, 408, "Bad Request", cx),
        };
        let mut seqs = std::collections::BTreeSet::new();
        for filter in &filters {
            for (_, of_subject) in self.store.subjects_matching(filter) {
                let before = of_subject.partition_point(|s| *s <= up_to);
                if let Some(seq) = before.checked_sub(1).and_then(|at| of_subject.get(at)) {
                    seqs.insert(*seq);
                }
                if seqs.len() > MAX_SUBJECTS {
                    break;
                }
            }
        }
        if seqs.len() > MAX_SUBJECTS {
            return self.direct_status(reply, 413, "Too Many Results", cx);
        }
        if seqs.is_empty() {
            return self.direct_status(reply, 404, "No Results", cx);
        }
        let total = seqs.len() as u64;
        let limit = if request.batch == 0 {
            usize::MAX
        } else {
            usize::try_from(request.batch).unwrap_or(usize::MAX)
        };
        let found: Vec<u64> = seqs.into_iter().take(limit).collect();
        self.direct_many(&found, total, request.max_bytes, Some(up_to), reply, cx);
    }

    /// Sends several messages and the end mark.
    fn direct_many(
        &mut self,
        seqs: &[u64],
        total: u64,
        max_bytes: u64,
        up_to: Option<u64>,
        reply: &str,
        cx: &mut Context<'_>,
    ) {
        if seqs.is_empty() {
            return self.direct_status(reply, 404, "Message Not Found", cx);
        }
        let budget = if max_bytes == 0 { 8 << 20 } else { max_bytes };
        let (mut left, mut last, mut bytes) = (total, 0, 0);
        for seq in seqs {
            let Some(message) = self.store.get(*seq) else { continue };
            bytes += (message.subject.len() + message.headers.len() + message.payload.len()) as u64;
            if bytes > budget && last > 0 {
                break;
            }
            left -= 1;
            let fields = [("Nats-Num-Pending", left.to_string()), ("Nats-Last-Sequence", last.to_string())];
            self.direct_message(*seq, reply, &fields, cx);
            last = *seq;
        }
        let (left, last) = (left.to_string(), last.to_string());
        let up_to = up_to.map(|seq| seq.to_string());
        let mut fields = vec![("Nats-Num-Pending", left.as_str()), ("Nats-Last-Sequence", last.as_str())];
        if let Some(up_to) = &up_to {
            fields.push(("Nats-UpTo-Sequence", up_to));
        }
        self.answer(reply, status_headers(204, "EOB", &fields), Vec::new(), cx);
    }

    fn direct_message(&mut self, seq: u64, reply: &str, more: &[(&str, String)], cx: &mut Context<'_>) {
        let Some(message) = self.store.get(seq) else { return };
        let (number, time) = (seq.to_string(), message.ts.to_rfc3339());
        let mut fields = vec![
            ("Nats-Stream", self.config.name.as_str()),
            ("Nats-Subject", &*message.subject),
            ("Nats-Sequence", number.as_str()),
            ("Nats-Time-Stamp", time.as_str()),
        ];
        fields.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        let block = headers::with_fields(&message.headers, &fields);
        let payload = message.payload.to_vec();
        self.answer(reply, block, payload, cx);
    }

    fn direct_status(&mut self, reply: &str, code: u16, text: &str, cx: &mut Context<'_>) {
        self.answer(reply, status_headers(code, text, &[]), Vec::new(), cx);
    }
}
