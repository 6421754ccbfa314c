//! The broker asks who a new connection is and what it may do. The answer is the command *Connect*: connection and rights
//! come from one revision of the record.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, HeaderMap, Message};
use futures_util::StreamExt as _;
use nkeys::{KeyPair, XKey};
use plenum_meeting::{Answer, Command, Refusal};
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};
use tracing::{debug, info, warn};

use crate::{
    clock::Clock,
    durables::Durables,
    layout,
    nats_jwt::{self, AuthRequest, UserGrant},
    repository::Repository,
    steps::{Step, Steps},
    token::Tokens,
    writer::{CommandError, Writers},
};

/// The broker waits 5 s; a person who waits longer than this had better try again.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Connections that may be asked about at a time; beyond, they are refused and try again.
const PENDING_MAX: usize = 256;
/// Where a page writes its name into the connection's name.
const PAGE_MARK: &str = "#page=";

/// Keys of the callout.
#[derive(Clone)]
pub struct CalloutKeys {
    /// Seed of the account key that signs answers (`SA…`).
    pub issuer_seed: String,
    /// Seed of the curve key that requests are sealed to (`SX…`).
    pub xkey_seed: String,
}

pub(crate) struct Callout {
    client: Client,
    issuer: KeyPair,
    xkey: XKey,
    tokens: Tokens,
    writers: Writers,
    durables: Durables,
    repository: Repository,
    steps: Steps,
    clock: Clock,
    pending: Semaphore,
}

impl Callout {
    #[expect(clippy::too_many_arguments, reason = "the parts of one instance")]
    pub(crate) fn new(
        client: Client,
        keys: &CalloutKeys,
        tokens: Tokens,
        writers: Writers,
        durables: Durables,
        repository: Repository,
        steps: Steps,
        clock: Clock,
    ) -> Result<Self, String> {
        let issuer = KeyPair::from_seed(&keys.issuer_seed)
            .map_err(|_| "nats.issuer_seed is not an account seed (SA…)".to_owned())?;
        let xkey = XKey::from_seed(&keys.xkey_seed)
            .map_err(|_| "nats.xkey_seed is not a curve seed (SX…)".to_owned())?;
        let pending = Semaphore::new(PENDING_MAX);
        Ok(Self { client, issuer, xkey, tokens, writers, durables, repository, steps, clock, pending })
    }

    /// Serves until the connection to the broker is closed.
    pub(crate) async fn serve(self: Arc<Self>) -> Result<tokio::task::JoinHandle<()>, String> {
        let mut requests = self
            .client
            .queue_subscribe("$SYS.REQ.USER.AUTH", "pnm-auth-queue".into())
            .await
            .map_err(|error| error.to_string())?;
        // The subscription is at the broker before this returns.
        self.client.flush().await.map_err(|error| error.to_string())?;
        Ok(tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let callout = Arc::clone(&self);
                tokio::spawn(async move { callout.answer(message).await });
            }
        }))
    }

    async fn answer(&self, message: Message) {
        let Some(reply) = message.reply.clone() else { return };
        let server_xkey = message
            .headers
            .as_ref()
            .and_then(|headers: &HeaderMap| headers.get("Nats-Server-Xkey"))
            .map(|value| value.as_str().to_owned());
        let sealer = server_xkey.as_deref().and_then(|key| XKey::from_public_key(key).ok());
        let jwt = match &sealer {
            Some(server) => self.xkey.open(&message.payload, server).ok(),
            None => Some(message.payload.to_vec()),
        };
        let request =
            jwt.and_then(|jwt| String::from_utf8(jwt).ok()).and_then(|jwt| nats_jwt::read_request(&jwt));
        let Some(request) = request else {
            warn!("The broker's question about a connection cannot be read; check nats.xkey_seed");
            return;
        };
        let grant = match self.pending.try_acquire() {
            Ok(_permit) => timeout(ANSWER_WITHIN, self.admit(&request))
                .await
                .unwrap_or_else(|_| Err("the server is busy, try again".to_owned())),
            Err(_) => Err("the server is busy, try again".to_owned()),
        };
        if let Err(error) = &grant {
            let claims = self.tokens.verify(&request.nats.connect_opts.auth_token).ok();
            info!(
                error = %error,
                connection.id = request.nats.client_info.id,
                room.id = claims.as_ref().map(|claims| claims.room.as_str()),
                room.sid = claims.as_ref().map(|claims| claims.sid.as_str()),
                "Connection refused"
            );
        }
        metrics::counter!("plenum_control_connections_asked_total", "admitted" => grant.is_ok().to_string())
            .increment(1);
        let body = &request.nats;
        // The broker checks the answer's times by its own clock.
        let now_s = self.clock.now() / 1000;
        let answer = nats_jwt::respond(&self.issuer, &body.server_id.id, &body.user_nkey, grant, now_s);
        let payload = match &sealer {
            Some(server) => match self.xkey.seal(answer.as_bytes(), server) {
                Ok(sealed) => sealed,
                Err(_) => return,
            },
            None => answer.into_bytes(),
        };
        let _ = self.client.publish(reply, payload.into()).await;
    }

    async fn admit<'a>(&self, request: &'a AuthRequest) -> Result<UserGrant<'a>, String> {
        let body = &request.nats;
        let claims = self.tokens.verify(&body.connect_opts.auth_token).map_err(|error| error.to_string())?;
        let page = body.connect_opts.name.rsplit_once(PAGE_MARK).map_or("", |(_, page)| page);
        let command = Command::Connect {
            user: claims.user.clone(),
            sid: claims.sid.clone(),
            seat: claims.seat.clone(),
            page: page.chars().take(64).collect(),
            server: body.server_id.id.clone(),
            client: body.client_info.id,
        };
        let outcome = self.writers.command(&claims.room, command).await.map_err(|error| match error {
            CommandError::Refused(Refusal::RoomUnknown) => Refusal::NotActive.to_string(),
            other => other.to_string(),
        })?;
        let Answer::Admitted(admission) = outcome.decision.answer else {
            return Err("the server is busy, try again".to_owned());
        };
        let busy = |error: String| {
            debug!(error = %error, "The connection cannot be let in now");
            Refusal::Busy.to_string()
        };
        // The name may have become somebody else's while this person was away.
        if !self.durables.claim(&claims.room, &claims.user).await.map_err(busy)? {
            return Err(Refusal::NameTaken.to_string());
        }
        self.durables
            .ensure(&claims.room, &claims.user, admission.rights, admission.fresh_durable)
            .await
            .map_err(busy)?;
        self.steps.reached(Step::DurableMade).await;
        // Meanwhile the seat may have gone to another connection, or the person may have been removed.
        let held = self.repository.load(&claims.room).await.map_err(|error| busy(error.to_string()))?;
        let holds = held.is_some_and(|held| {
            held.room.is_running()
                && held.room.sid == claims.sid
                && held.room.people.get(claims.user.as_str()).is_some_and(|person| {
                    person.rights == admission.rights_version
                        && person
                            .live_connection()
                            .is_some_and(|held| held.is(&body.server_id.id, body.client_info.id))
                })
        });
        if !holds {
            return Err(busy("the seat changed".to_owned()));
        }
        let (publish, subscribe) = layout::permissions(&claims.room, &claims.user, admission.rights);
        // The connection events carry this name: it says whose connection it is, with which rights.
        let name = json!({
            "name": admission.person.name,
            "userId": claims.user.as_str(),
            "roomId": claims.room.as_str(),
            "isAdmin": admission.person.is_admin,
            "rights": admission.rights_version,
        });
        Ok(UserGrant {
            user_nkey: &body.user_nkey,
            account: layout::PARTICIPANTS,
            name: name.to_string(),
            publish,
            subscribe,
        })
    }
}
