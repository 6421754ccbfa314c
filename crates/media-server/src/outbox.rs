//! Signal messages that wait for one client: bounded in number and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use livekit_protocol::signal_response::Message;
use tokio::sync::mpsc;

/// Messages that may wait.
const MESSAGES: usize = 1_024;
/// Bytes that they may have together. One that is longer waits alone.
const BYTES: usize = 8 * 1024 * 1024;

/// To a client.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Box<Message>),
    Close,
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
            Outgoing::Message(message) => message.encoded_len(),
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
    /// The next message; `None` when there will be none.
    pub(crate) async fn recv(&mut self) -> Option<Outgoing> {
        let (message, len) = self.messages.recv().await?;
        self.waiting.fetch_sub(len, Ordering::Relaxed);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;

    use super::*;

    fn update(len: usize) -> Outgoing {
        let info = proto::ParticipantInfo { metadata: "m".repeat(len), ..Default::default() };
        let update = proto::ParticipantUpdate { participants: vec![info] };
        Outgoing::Message(Box::new(Message::Update(update)))
    }

    #[tokio::test]
    async fn bytes_are_bounded_whatever_the_number_of_messages() {
        let (outbox, mut reader) = outbox();
        let taken = (0..100).take_while(|_| outbox.send(update(512 * 1024)).is_ok()).count();
        assert_eq!(taken, 15);
        // Whoever did not keep up once is cut off: nothing makes up for what was left out.
        assert!(reader.recv().await.is_some());
    }

    #[tokio::test]
    async fn who_takes_what_comes_gets_any_amount() {
        let (outbox, mut reader) = outbox();
        for _ in 0..100 {
            assert_eq!(outbox.send(update(512 * 1024)), Ok(()));
            assert!(reader.recv().await.is_some());
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
