//! The places between a decision and its last effect where a process may stop. In the binary they are nothing; tests stop
//! an instance at each of them and let another one finish.

/// What was just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A record was read; nothing is decided yet.
    Read,
    /// State and effects are written; nobody knows yet.
    Written,
    /// Effects are in work and callers have their answers.
    Answered,
    /// A message of the outbox is acknowledged; that is not noted yet.
    Published,
    /// An effect other than a message is done; that is not noted yet.
    EffectDone,
    /// A command of the worker stream is decided and written; what answers it is not sent.
    CommandDecided,
    /// What answers it is sent; the command is not acknowledged.
    CommandAnswered,
    /// The command is acknowledged.
    CommandAcknowledged,
    /// A room's chat has an end; the room is not closed yet.
    ChatEnded,
    /// A connection got its durable; the broker does not know yet that it may come in.
    DurableMade,
}

/// Told of each step.
#[cfg(not(test))]
#[derive(Clone, Default)]
pub(crate) struct Steps(());

#[cfg(not(test))]
impl Steps {
    #[inline]
    #[expect(clippy::unused_async, reason = "under test it waits")]
    pub(crate) async fn reached(&self, _step: Step) {}
}

#[cfg(test)]
pub(crate) use stopping::Steps;

#[cfg(test)]
mod stopping {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::watch;

    use super::Step;

    /// Stops the whole instance at one step: whatever reaches any step from then on stays there for ever.
    #[derive(Clone, Default)]
    pub(crate) struct Steps {
        stop: Option<Arc<Stop>>,
    }

    struct Stop {
        at: Step,
        /// Stops at the step that finds this at 0.
        left: AtomicUsize,
        stopped: watch::Sender<bool>,
    }

    impl Steps {
        /// Stops when `at` is reached for the `nth` time, counted from 0, after [`Steps::arm`].
        pub(crate) fn stop_at(at: Step) -> Self {
            let stop = Stop { at, left: AtomicUsize::new(usize::MAX), stopped: watch::Sender::new(false) };
            Self { stop: Some(Arc::new(stop)) }
        }

        /// From now on steps count.
        pub(crate) fn arm(&self, nth: usize) {
            if let Some(stop) = &self.stop {
                stop.left.store(nth, Ordering::SeqCst);
            }
        }

        /// Resolves when the instance has stopped.
        pub(crate) async fn stopped(&self) {
            let Some(stop) = &self.stop else { return std::future::pending().await };
            let _ = stop.stopped.subscribe().wait_for(|stopped| *stopped).await;
        }

        pub(crate) async fn reached(&self, step: Step) {
            let Some(stop) = &self.stop else { return };
            if step == stop.at && stop.left.load(Ordering::SeqCst) != usize::MAX {
                let before = stop.left.fetch_sub(1, Ordering::SeqCst);
                if before == 0 {
                    stop.stopped.send_replace(true);
                }
            }
            if *stop.stopped.borrow() {
                std::future::pending::<()>().await;
            }
        }
    }
}
