//! CONNECT: static users, and everybody else by way of the auth callout.

use std::sync::Arc;

use super::{
    Broker, ConnectionId, Output, account::Target, connection::Phase, operations::FIRST_PING, route::Message,
};
use crate::{
    auth::{
        self,
        callout::{self, Grant, Subject},
    },
    config::Permissions,
    protocol::{CloseReason, ConnectOptions},
    random_token,
    time::Timestamp,
};

/// Answers to the broker's own questions go here, in the callout's account.
const ANSWER_PREFIX: &str = "$SYS._INBOX.";

impl Broker {
    pub(super) fn connect(&mut self, id: u64, json: &[u8], now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !matches!(connection.phase, Phase::Greeting) {
            return self.fail(id, "Parser Error", CloseReason::ProtocolViolation, now);
        }
        let options = match ConnectOptions::read(json) {
            Some(options) => options,
            // As a stock server, without a word.
            None => return self.close(id, CloseReason::ParseError, now),
        };
        if !(0..=1).contains(&options.protocol) {
            return self.fail(id, "invalid client protocol", CloseReason::BadClientProtocolVersion, now);
        }
        if options.no_responders && !options.headers {
            return self.fail(
                id,
                "no responders requires headers support",
                CloseReason::NoRespondersRequiresHeaders,
                now,
            );
        }
        connection.options = options;
        self.authenticate(id, now);
    }

    fn authenticate(&mut self, id: u64, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let options = &connection.options;
        let name = if options.user.is_empty() { &options.nkey } else { &options.user };
        let is_static = match &self.callout {
            None => true,
            Some(callout) => !name.is_empty() && callout.auth_users.contains(name),
        };
        if !is_static {
            return self.ask(id, now);
        }
        // All users are tried, so that the time does not tell which names exist.
        let mut found = None;
        for (account, user) in &self.users {
            if auth::proves(user, options, &connection.nonce) {
                found = Some((*account, user.name().to_owned(), user.permissions.clone()));
            }
        }
        let Some((account, user, permissions)) = found else {
            return self.refuse(id, "wrong user or password", now);
        };
        connection.account = account;
        connection.issuer = String::new();
        connection.user = user;
        connection.permissions = permissions.map(Arc::new);
        self.admit(id, now);
    }

    /// Asks the service about a client.
    fn ask(&mut self, id: u64, now: Timestamp) {
        let (Some(callout), Some(connection)) = (&self.callout, self.connections.get_mut(&id)) else {
            return;
        };
        if self.asking >= self.limits.max_pending_callouts {
            return self.refuse(id, "too many clients wait for the service", now);
        }
        let subject = Subject {
            server_name: &self.config.server_name,
            server_host: &self.host,
            client_id: id,
            host: &connection.host,
            websocket: connection.transport == super::Transport::WebSocket,
            nonce: &connection.nonce,
            options: &connection.options,
        };
        let Some((question, body)) = callout.ask(&self.keys, &subject, &mut self.rng, now) else {
            return self.refuse(id, "the question could not be made", now);
        };
        let account = callout.account;
        let headers = if callout.is_sealed() {
            crate::jetstream::headers::with_fields(b"", &[(callout::XKEY_HEADER, &self.keys.xkey_public)])
        } else {
            Vec::new()
        };
        let reply = format!("{ANSWER_PREFIX}{}.{id}", random_token(&mut self.rng, 22));
        connection.phase = Phase::Asking(question);
        connection.deadline = now.plus(callout.timeout);
        self.asking += 1;
        self.accounts[account].subs.insert(&reply, None, Target::System);
        let message = Message {
            subject: callout::SUBJECT,
            shown: None,
            reply: Some(&reply),
            headers: &headers,
            payload: &body,
        };
        let anybody = self.route(account, &message, None, now);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.question_reply = reply;
        }
        self.arm_connection(id);
        if !anybody {
            self.refuse(id, "no service answers the auth callout", now);
        }
    }

    /// The service answered about a client.
    pub(super) fn answered(&mut self, account: usize, message: &Message<'_>, now: Timestamp) -> bool {
        let Some((_, id)) = message.subject.rsplit_once('.') else { return false };
        let Ok(id) = id.parse::<u64>() else { return false };
        let websocket = self.is_websocket(id);
        let (Some(callout), Some(connection)) = (&self.callout, self.connections.get_mut(&id)) else {
            return false;
        };
        let Phase::Asking(question) = &connection.phase else { return false };
        if callout.account != account || connection.question_reply != message.subject {
            return false;
        }
        match callout.judge(&self.keys, question, message.payload, websocket, now) {
            Ok(grant) => self.grant(id, grant, now),
            Err(why) => self.refuse(id, &why, now),
        }
        true
    }

    fn grant(&mut self, id: u64, grant: Grant, now: Timestamp) {
        let Some(account) = self.accounts.iter().position(|a| a.name == grant.account) else {
            return self.refuse(id, "the user token is for an unknown account", now);
        };
        let issuer = self.callout.as_ref().map(|c| self.accounts[c.account].name.clone()).unwrap_or_default();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.account = account;
        connection.user = if grant.name.is_empty() { connection.options.user.clone() } else { grant.name };
        connection.issuer = issuer;
        let everything = grant.permissions == Permissions::default();
        connection.permissions = (!everything).then(|| Arc::new(grant.permissions));
        connection.expires = grant.expires;
        if let Some(max) = grant.max_subscriptions {
            connection.max_subscriptions = max;
        }
        if let Some(max) = grant.max_payload {
            connection.max_payload = max;
        }
        self.admit(id, now);
    }

    /// Opens a connection whose account and permissions are set.
    fn admit(&mut self, id: u64, now: Timestamp) {
        self.forget_question(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // Nobody but the broker itself asks the callout, or it could be asked about invented clients.
        let asks_callout = self
            .callout
            .as_ref()
            .is_some_and(|c| c.account == connection.account && !c.auth_users.contains(&connection.user));
        if asks_callout {
            let mut permissions = connection.permissions.as_deref().cloned().unwrap_or_default();
            permissions.publish.deny.push(callout::SUBJECT.to_owned());
            connection.permissions = Some(Arc::new(permissions));
        }
        // Secrets are not kept longer than they are needed.
        let options = &mut connection.options;
        for secret in [&mut options.pass, &mut options.auth_token, &mut options.jwt, &mut options.sig] {
            *secret = String::new();
        }
        let was_asking = matches!(connection.phase, Phase::Asking(_));
        connection.phase = Phase::Open;
        connection.next_ping = now.plus(FIRST_PING);
        if connection.options.verbose {
            connection.answer(|out| out.extend_from_slice(b"+OK\r\n"));
        }
        self.accounts[connection.account].connections += 1;
        if was_asking {
            self.asking -= 1;
            self.outputs.push_back(Output::Resume(ConnectionId(id)));
        }
        self.arm_connection(id);
        self.flush(id);
        self.connected(id, now);
    }

    /// Sends a client away. It is told nothing but that.
    pub(super) fn refuse(&mut self, id: u64, why: &str, now: Timestamp) {
        self.forget_question(id);
        self.statistics.refused += 1;
        self.refused(id, why, now);
        self.fail(id, "Authorization Violation", CloseReason::AuthenticationFailure, now);
    }

    pub(super) fn forget_question(&mut self, id: u64) {
        let (Some(callout), Some(connection)) = (&self.callout, self.connections.get_mut(&id)) else {
            return;
        };
        let reply = std::mem::take(&mut connection.question_reply);
        if !reply.is_empty() {
            self.accounts[callout.account].subs.remove(&reply, None, Target::System);
        }
    }
}
