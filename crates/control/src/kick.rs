//! Closing a participant's broker connection: the system account's `KICK`.

use std::time::Duration;

use async_nats::Client;

/// A broker that is there answers sooner.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Kicks with the system login.
#[derive(Clone)]
pub(crate) struct Kicker {
    system: Client,
    /// There is one broker, so that one that does not answer to its name is over.
    sole_broker: bool,
}

/// What became of a kick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kicked {
    /// The connection is closed.
    Closed,
    /// Its broker cannot be reached: it may be over, or only cut off, with the connection open.
    Unreachable,
}

impl Kicker {
    pub(crate) fn new(system: Client, sole_broker: bool) -> Self {
        Self { system, sole_broker }
    }

    /// # Errors
    /// No answer.
    pub(crate) async fn kick(&self, server: &str, client: u64) -> Result<Kicked, String> {
        let subject = format!("$SYS.REQ.SERVER.{server}.KICK");
        let request = async_nats::Request::new()
            .payload(format!(r#"{{"cid":{client}}}"#).into())
            .timeout(Some(ANSWER_WITHIN));
        match self.system.send_request(subject, request).await {
            // Also an error in the answer: a connection it does not know is closed.
            Ok(_) => Ok(Kicked::Closed),
            Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                Ok(if self.sole_broker { Kicked::Closed } else { Kicked::Unreachable })
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
