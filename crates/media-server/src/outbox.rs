//! Signal messages that wait for one client: bounded in number and in bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::ws;
use livekit_protocol::signal_response::Message;
use plenum_media::signalling::{Format, encode};
use tokio::sync::mpsc;

/// Messages that may wait.
const MESSAGES: usize = 1_024;
/// Bytes that they may have together. One that is longer waits alone.
const BYTES: usize = 8 * 1024 * 1024;
/// Messages that are written to the network at once.
const BATCH: usize = 64;

/// A signal message to one client or to many; it is written once.
#[derive(Debug)]
pub(crate) struct Letter {
    message: Message,
    /// Bytes of the message, as Protobuf.
    len: usize,
    binary: OnceLock<Bytes>,
}

impl Letter {
    pub(crate) fn new(message: Message) -> Arc<Self> {
        Arc::new(Self { len: message.encoded_len(), message, binary: OnceLock::new() })
    }

    /// The frame that carries it.
    pub(crate) fn frame(&self, format: Format) -> ws::Message {
        match format {
            Format::Binary => {
                let write = || encode(&self.message, Format::Binary).into();
                ws::Message::Binary(self.binary.get_or_init(write).clone())
            }
            Format::Json => {
                let text = String::from_utf8(encode(&self.message, Format::Json)).unwrap_or_default();
                ws::Message::Text(text.into())
            }
        }
    }
}

/// To a client.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Arc<Letter>),
    Close,
}

impl Outgoing {
    /// The letter, unless this is the end.
    pub(crate) fn letter(&self) -> Option<&Letter> {
        match self {
            Self::Message(letter) => Some(letter),
            Self::Close => None,
        }
    }
}

/// The client does not take its messages as fast as they come, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// The end where messages go in.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    messages: mpsc::Sender<(Outgoing, usize)>,
    waiting: Arc<AtomicUsize>,
}

/// The end where they come out.
#[derive(Debug)]
pub(crate) struct OutboxReader {
    messages: mpsc::Receiver<(Outgoing, usize)>,
    waiting: Arc<AtomicUsize>,
}

/// An empty outbox.
pub(crate) fn outbox() -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Outbox { messages: sender, waiting: waiting.clone() }, OutboxReader { messages: receiver, waiting })
}

impl Outbox {
    /// Lets a message wait for the client.
    pub(crate) fn send(&self, message: Outgoing) -> Result<(), TooSlow> {
        let len = match &message {
            Outgoing::Message(letter) => letter.len,
            Outgoing::Close => 0,
        };
        let before = self.waiting.fetch_add(len, Ordering::Relaxed);
        if before > 0 && before + len > BYTES {
            return Err(TooSlow);
        }
        self.messages.try_send((message, len)).map_err(|_| TooSlow)
    }
}

impl OutboxReader {
    /// What waits, in order and [`BATCH`] at most, once there is something; nothing when there will be nothing any more.
    pub(crate) async fn recv(&mut self) -> Vec<Outgoing> {
        let mut messages = Vec::new();
        self.messages.recv_many(&mut messages, BATCH).await;
        let len = messages.iter().map(|(_, len)| *len).sum();
        self.waiting.fetch_sub(len, Ordering::Relaxed);
        messages.into_iter().map(|(message, _)| message).collect()
    }
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;

    use super::*;

    fn update(len: usize) -> Outgoing {
        let info = proto::ParticipantInfo { metadata: "m".repeat(len), ..Default::default() };
        let update = proto::ParticipantUpdate { participants: vec![info] };
        Outgoing::Message(Letter::new(Message::Update(update)))
    }

    #[tokio::test]
    async fn bytes_are_bounded_whatever_the_number_of_messages() {
        let (outbox, mut reader) = outbox();
        let taken = (0..100).take_while(|_| outbox.send(update(512 * 1024)).is_ok()).count();
        assert_eq!(taken, 15);
        // Whoever did not keep up once is cut off: nothing makes up for what was left out.
        assert_eq!(reader.recv().await.len(), 15);
    }

    #[tokio::test]
    async fn who_takes_what_comes_gets_any_amount() {
        let (outbox, mut reader) = outbox();
        for _ in 0..100 {
            assert_eq!(outbox.send(update(512 * 1024)), Ok(()));
            assert_eq!(reader.recv().await.len(), 1);
        }
        assert_eq!(
            outbox.send(update(9 * 1024 * 1024)),
            Ok(()),
            "alone, as the first message of a large room"
        );
        assert_eq!(outbox.send(update(1)), Err(TooSlow));
    }

    #[tokio::test]
    async fn messages_are_bounded_too() {
        let (outbox, _reader) = outbox();
        assert_eq!((0..2_000).take_while(|_| outbox.send(update(1)).is_ok()).count(), MESSAGES);
    }
}
