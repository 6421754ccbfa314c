//! What a broker is told at its start. The model is that of nats-server's configuration, so that both
//! run from one definition: the server crate writes it as a configuration of nats-server.

use std::{fmt, time::Duration};

pub use crate::permission::{AllowResponses, Permissions, Rules};

/// Everything that a [`crate::Broker`] needs to know.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Shown to clients and in events.
    pub server_name: String,
    /// All accounts, each with a subject space of its own.
    pub accounts: Vec<AccountConfig>,
    /// The account that connection events are published in and that may ask for kicks.
    pub system_account: String,
    /// Asks a service about every client that is not one of its `auth_users`.
    pub auth_callout: Option<AuthCalloutConfig>,
    /// Bounds of everything that clients can make grow.
    pub limits: Limits,
}

/// A subject space with its users and its links to other accounts.
#[derive(Clone, Debug, Default)]
pub struct AccountConfig {
    /// Appears in event subjects and in the callout's `aud`.
    pub name: String,
    /// Does the account have streams?
    pub jetstream: bool,
    /// Users with static credentials.
    pub users: Vec<UserConfig>,
    /// What other accounts may import.
    pub exports: Vec<Export>,
    /// What this account takes from others.
    pub imports: Vec<Import>,
}

/// A user with static credentials.
#[derive(Clone, Debug)]
pub struct UserConfig {
    /// How it proves who it is.
    pub credentials: Credentials,
    /// What it may do; everything in its account when absent.
    pub permissions: Option<Permissions>,
}

/// How a user with static credentials logs in.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// By name and password.
    Password {
        /// The name.
        user: String,
        /// The password, in clear.
        password: Secret,
    },
    /// By a signature with the private half of this public key (`U…`).
    Nkey(String),
}

impl UserConfig {
    /// A user that may do everything in its account.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> UserConfig {
        let credentials = Credentials::Password { user: user.into(), password: Secret(password.into()) };
        UserConfig { credentials, permissions: None }
    }

    /// What the list of `auth_users` calls this user.
    pub fn name(&self) -> &str {
        match &self.credentials {
            Credentials::Password { user, .. } => user,
            Credentials::Nkey(key) => key,
        }
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Something that an account offers to others.
#[derive(Clone, Debug)]
pub enum Export {
    /// Requests on `subject` are answered here.
    Service {
        /// The pattern of request subjects.
        subject: String,
        /// How many answers a request gets.
        response: ResponseType,
        /// The accounts that may import it; any when empty.
        accounts: Vec<String>,
    },
    /// Messages on `subject` may be listened to.
    Stream {
        /// The pattern of subjects.
        subject: String,
        /// The accounts that may import it; any when empty.
        accounts: Vec<String>,
    },
}

/// How many answers a request through a service import gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// One.
    #[default]
    Single,
    /// Any number, while the requester listens.
    Stream,
}

/// Something that an account takes from another.
#[derive(Clone, Debug)]
pub enum Import {
    /// Requests on `to` go to `subject` of the other account.
    Service {
        /// The exporting account.
        account: String,
        /// The subject there.
        subject: String,
        /// The subject here, with the same wildcards; the same subject when absent.
        to: Option<String>,
    },
    /// Messages on `subject` of the other account appear here.
    Stream {
        /// The exporting account.
        account: String,
        /// The subject there.
        subject: String,
        /// The subject here, with the same wildcards; the same subject when absent.
        to: Option<String>,
        /// Instead of `to`: here the subject has these tokens in front.
        prefix: Option<String>,
    },
}

/// Who decides about clients without static credentials.
#[derive(Clone, Debug)]
pub struct AuthCalloutConfig {
    /// The public account key (`A…`) that signs the answers.
    pub issuer: String,
    /// Names or nkeys of static users that log in without being asked about.
    pub auth_users: Vec<String>,
    /// The account in which the question is published.
    pub account: String,
    /// The public curve key (`X…`) of the answering service; questions and answers are sealed with it.
    pub xkey: Option<String>,
    /// How long the service may take.
    pub timeout: Duration,
}

impl AuthCalloutConfig {
    /// The time that a service has to answer unless configured otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Bounds. The defaults are those of nats-server where it has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one message, headers included.
    pub max_payload: usize,
    /// Bytes of one protocol line. CONNECT counts, so tokens must stay below it.
    pub max_control_line: usize,
    /// Bytes that may wait for one client before it is closed as too slow.
    pub max_pending: usize,
    /// Connections at a time.
    pub max_connections: usize,
    /// Subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Between two pings of the broker.
    pub ping_interval: Duration,
    /// Unanswered pings after which a connection is stale.
    pub ping_max: u32,
    /// From accepting a connection to its CONNECT.
    pub auth_timeout: Duration,
    /// Longest time that one write to a client may take.
    pub write_deadline: Duration,
    /// Clients that may wait for the auth callout at a time; further ones are refused.
    pub max_pending_callouts: usize,
    /// Requests to other accounts that may wait for answers at a time.
    pub max_pending_responses: usize,
    /// Bytes of all memory streams of one account.
    pub max_memory: u64,
    /// Bytes of all file streams of one account.
    pub max_storage: u64,
    /// Streams of one account.
    pub max_streams: usize,
    /// Consumers of one stream, whatever the stream asks for.
    pub max_consumers: usize,
    /// Largest segment of a stream log in bytes.
    pub segment_size: u64,
    /// Bytes that file streams leave free on their disk: what is acknowledged, removed and noted still has to be written
    /// when no more messages are taken.
    pub min_free_disk: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_payload: 1 << 20,
            max_control_line: 4096,
            max_pending: 64 << 20,
            max_connections: 65_536,
            // With the longest subjects these are about 64 MiB of index, as much as may wait for a client.
            max_subscriptions: 4_096,
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            auth_timeout: Duration::from_secs(2),
            write_deadline: Duration::from_secs(10),
            max_pending_callouts: 10_000,
            max_pending_responses: 200_000,
            max_memory: 1 << 30,
            max_storage: 4 << 30,
            max_streams: 1_000,
            max_consumers: 1_000_000,
            segment_size: 8 << 20,
            min_free_disk: 64 << 20,
        }
    }
}

/// What is wrong with a [`BrokerConfig`], with the place where it is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// The member, such as `accounts.SVC.imports[2]`.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(place: impl Into<String>, problem: impl Into<String>) -> ConfigError {
        ConfigError { place: place.into(), problem: problem.into() }
    }
}
