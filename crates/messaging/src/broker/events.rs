//! What the broker tells about connections, and what it does for system users.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Broker,
    connection::{Connection, Transport},
    route::Message,
};
use crate::{
    protocol::{CloseReason, VERSION},
    random_token,
    time::Timestamp,
};

/// What a stock server with JetStream says of itself in this field.
const SERVER_FLAGS: u8 = 7;

#[derive(Deserialize)]
struct Kick {
    cid: u64,
}

impl Broker {
    pub(super) fn connected(&mut self, id: u64, now: Timestamp) {
        let Some(connection) = self.connections.get(&id) else { return };
        let account = self.accounts[connection.account].name.clone();
        let body = json!({"client": self.client(id, connection)});
        self.event(&format!("$SYS.ACCOUNT.{account}.CONNECT"), "client_connect", body, now);
    }

    pub(super) fn disconnected(&mut self, id: u64, reason: CloseReason, now: Timestamp) {
        let Some(connection) = self.connections.get(&id) else { return };
        let body = self.farewell(id, connection, reason.text(), now);
        let account = &mut self.accounts[connection.account];
        account.connections -= 1;
        let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", account.name);
        self.event(&subject, "client_disconnect", body, now);
    }

    /// A client could not log in. `why` is for the operator, not for it.
    pub(super) fn refused(&mut self, id: u64, why: &str, now: Timestamp) {
        let Some(connection) = self.connections.get(&id) else { return };
        let mut body = self.farewell(id, connection, CloseReason::AuthenticationFailure.text(), now);
        body["detail"] = why.into();
        let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", self.keys.id);
        self.event(&subject, "client_disconnect", body.clone(), now);
        self.event("$SYS.ACCOUNT.CLIENT.AUTH.ERR", "client_disconnect", body, now);
    }

    fn farewell(&self, id: u64, connection: &Connection, reason: &str, now: Timestamp) -> Value {
        let mut client = self.client(id, connection);
        client["rtt"] = u64::try_from(connection.rtt.as_nanos()).unwrap_or(u64::MAX).into();
        client["stop"] = now.to_rfc3339().into();
        json!({
            "client": client,
            "sent": {"msgs": connection.sent.messages, "bytes": connection.sent.bytes},
            "received": {"msgs": connection.received.messages, "bytes": connection.received.bytes},
            "reason": reason,
        })
    }

    fn client(&self, id: u64, connection: &Connection) -> Value {
        let mut client = json!({
            "start": connection.started.to_rfc3339(),
            "host": connection.host,
            "id": id,
            "acc": self.accounts[connection.account].name,
            "user": connection.user,
            "kind": "Client",
            "client_type": match connection.transport {
                Transport::Tcp => "nats",
                Transport::WebSocket => "websocket",
            },
        });
        for (name, value) in [
            ("name", &connection.options.name),
            ("lang", &connection.options.lang),
            ("ver", &connection.options.version),
            ("issuer_key", &connection.issuer),
        ] {
            if !value.is_empty() {
                client[name] = value.as_str().into();
            }
        }
        client
    }

    fn server(&mut self, now: Timestamp) -> Value {
        self.event_seq += 1;
        json!({
            "name": self.config.server_name, "host": self.host, "id": self.keys.id, "ver": VERSION,
            "jetstream": self.accounts.iter().any(|a| a.jetstream), "flags": SERVER_FLAGS,
            "seq": self.event_seq, "time": now.to_rfc3339(),
        })
    }

    /// Publishes an event in the system account, if anybody there or in an importing account listens.
    fn event(&mut self, subject: &str, kind: &str, mut body: Value, now: Timestamp) {
        if self.accounts[self.system].subs.find(subject).is_empty() {
            return;
        }
        body["type"] = format!("io.nats.server.advisory.v1.{kind}").into();
        body["id"] = random_token(&mut self.rng, 22).into();
        body["timestamp"] = now.to_rfc3339().into();
        body["server"] = self.server(now);
        let payload = body.to_string();
        self.route(self.system, &Message::plain(subject, payload.as_bytes()), None, now);
    }

    /// A request to the broker itself.
    pub(super) fn system_request(
        &mut self,
        account: usize,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
    ) -> bool {
        if message.subject == "$SYS.REQ.USER.INFO" {
            return self.user_info(account, message, origin, now);
        }
        let Some(rest) = message.subject.strip_prefix("$SYS.REQ.SERVER.") else {
            return self.answered(account, message, now);
        };
        if account != self.system || rest.strip_suffix(".KICK") != Some(&self.keys.id) {
            // Another server's business: there is nobody here for it.
            return false;
        }
        let kick: Result<Kick, _> = serde_json::from_slice(message.payload);
        let outcome = match kick {
            Err(_) => Err((400, "cid is missing")),
            // Also one whose login is still being decided: else it would come in after all.
            Ok(Kick { cid }) if self.connections.get(&cid).is_some_and(|held| !held.is_closing()) => {
                self.close(cid, CloseReason::Kicked, now);
                Ok(())
            }
            Ok(_) => Err((404, "no such client id")),
        };
        let Some(reply) = message.reply else { return true };
        let mut body = json!({"server": self.server(now)});
        if let Err((code, description)) = outcome {
            body["error"] = json!({"code": code, "description": description});
        }
        let payload = body.to_string();
        self.route(account, &Message::plain(reply, payload.as_bytes()), None, now);
        true
    }

    fn user_info(
        &mut self,
        account: usize,
        message: &Message<'_>,
        origin: Option<u64>,
        now: Timestamp,
    ) -> bool {
        let (Some(reply), Some(id)) = (message.reply, origin) else { return false };
        let Some(connection) = self.connections.get(&id) else { return false };
        let name = self.accounts[connection.account].name.clone();
        let mut data = json!({"user": connection.user, "account": name, "account_name": name});
        if let Some(permissions) = &connection.permissions {
            let list = |rules: &crate::config::Rules| json!({"allow": rules.allow, "deny": rules.deny});
            data["permissions"] =
                json!({"publish": list(&permissions.publish), "subscribe": list(&permissions.subscribe)});
        }
        if let Some(expires) = connection.expires {
            data["expires"] = (expires.0 - now.0).into();
        }
        let payload = json!({"server": self.server(now), "data": data}).to_string();
        self.route(account, &Message::plain(reply, payload.as_bytes()), None, now);
        true
    }
}
