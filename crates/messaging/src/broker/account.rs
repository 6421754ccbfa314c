//! Accounts as the broker runs them: subscriptions, and the links that imports make.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Broker;
use crate::{
    config::{AccountConfig, BrokerConfig, ConfigError, Export, Import, ResponseType},
    jetstream::{ConsumerId, StreamId},
    subject::{self, Mapping},
    sublist::Sublist,
};

/// Who a subscription leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A subscription of a client; through which stream import of its account, if any.
    Client { connection: u64, slot: u32, import: Option<u16> },
    /// A stream that keeps the message.
    Stream { stream: StreamId, import: Option<u16> },
    /// A service import of this account.
    Service(u16),
    /// The JetStream API, acknowledgements and flow control.
    JetStream,
    /// Requests to the broker itself.
    System,
}

impl Target {
    fn through(self, import: u16) -> Target {
        match self {
            Target::Client { connection, slot, .. } => {
                Target::Client { connection, slot, import: Some(import) }
            }
            Target::Stream { stream, .. } => Target::Stream { stream, import: Some(import) },
            Target::Service(_) | Target::JetStream | Target::System => self,
        }
    }
}

/// A subscription in the index of one account.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    account: usize,
    pattern: String,
    target: Target,
}

pub(super) struct ServiceImport {
    pub(super) exporter: usize,
    /// From the subject here to the subject there.
    pub(super) map: Mapping,
    pub(super) response: ResponseType,
}

pub(super) struct StreamImport {
    exporter: usize,
    /// From the subject there to the subject here.
    pub(super) map: Mapping,
}

#[derive(Default)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) jetstream: bool,
    pub(super) subs: Sublist<Target>,
    pub(super) services: Vec<Arc<ServiceImport>>,
    pub(super) streams: Vec<Arc<StreamImport>>,
    pub(super) connections: usize,
    /// Push consumers that wait for somebody to subscribe a subject.
    pub(super) watched: HashMap<String, Vec<(StreamId, ConsumerId)>>,
}

/// Where each account that has streams hears JetStream.
const JETSTREAM_SUBJECTS: [&str; 3] = ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>"];

/// Builds all accounts of a configuration, and refuses what does not fit together.
pub(super) fn build(config: &BrokerConfig) -> Result<Vec<Account>, ConfigError> {
    let mut accounts = Vec::with_capacity(config.accounts.len());
    for account in &config.accounts {
        if !subject::is_valid(&account.name) || account.name.contains(['.', '*', '>']) {
            return Err(ConfigError::new(
                "accounts",
                format!("{:?} is not a name of one word", account.name),
            ));
        }
        if accounts.iter().any(|a: &Account| a.name == account.name) {
            return Err(ConfigError::new(format!("accounts.{}", account.name), "is there twice"));
        }
        let mut built =
            Account { name: account.name.clone(), jetstream: account.jetstream, ..Account::default() };
        built.subs.insert("$SYS.REQ.USER.INFO", None, Target::System);
        // An account without streams hears the API only to say so.
        for subject in if account.jetstream { &JETSTREAM_SUBJECTS[..] } else { &JETSTREAM_SUBJECTS[..1] } {
            built.subs.insert(subject, None, Target::JetStream);
        }
        if account.name == config.system_account {
            built.subs.insert("$SYS.REQ.SERVER.*.KICK", None, Target::System);
        }
        accounts.push(built);
    }
    for (at, account) in config.accounts.iter().enumerate() {
        for (number, import) in account.imports.iter().enumerate() {
            let place = format!("accounts.{}.imports[{number}]", account.name);
            link(&mut accounts, at, account, import, config).map_err(|why| ConfigError::new(place, why))?;
        }
        for (number, export) in account.exports.iter().enumerate() {
            let (Export::Service { subject, .. } | Export::Stream { subject, .. }) = export;
            if !subject::is_valid(subject) {
                let place = format!("accounts.{}.exports[{number}]", account.name);
                return Err(ConfigError::new(place, format!("{subject:?} is not a valid subject")));
            }
        }
        for user in &account.users {
            if let Some(permissions) = &user.permissions {
                let place = || format!("accounts.{}.users", account.name);
                permissions.check().map_err(|why| ConfigError::new(place(), why))?;
            }
        }
    }
    Ok(accounts)
}

fn link(
    accounts: &mut [Account],
    importer: usize,
    account: &AccountConfig,
    import: &Import,
    config: &BrokerConfig,
) -> Result<(), String> {
    let (Import::Service { account: from, subject, .. } | Import::Stream { account: from, subject, .. }) =
        import;
    let exporter = accounts.iter().position(|a| a.name == *from).ok_or(format!("no account {from:?}"))?;
    let exports = &config.accounts[exporter].exports;
    let open_to = |list: &[String]| list.is_empty() || list.contains(&account.name);
    match import {
        Import::Service { to, .. } => {
            let response = exports
                .iter()
                .find_map(|export| match export {
                    Export::Service { subject: offered, response, accounts }
                        if subject::covers(offered, subject) && open_to(accounts) =>
                    {
                        Some(*response)
                    }
                    Export::Service { .. } | Export::Stream { .. } => None,
                })
                .ok_or(format!("account {from:?} exports no service {subject:?} to {:?}", account.name))?;
            let local = to.as_deref().unwrap_or(subject);
            let map = Mapping::new(local, subject).map_err(|e| e.to_string())?;
            let number = u16::try_from(accounts[importer].services.len()).map_err(|_| "too many imports")?;
            let local = local.to_owned();
            accounts[importer].services.push(Arc::new(ServiceImport { exporter, map, response }));
            accounts[importer].subs.insert(&local, None, Target::Service(number));
        }
        Import::Stream { to, prefix, .. } => {
            let offered = exports.iter().any(|export| match export {
                Export::Stream { subject: offered, accounts } => {
                    subject::covers(offered, subject) && open_to(accounts)
                }
                Export::Service { .. } => false,
            });
            if !offered {
                return Err(format!("account {from:?} exports no stream {subject:?} to {:?}", account.name));
            }
            let local = match (to, prefix) {
                (Some(_), Some(_)) => return Err("has both to and prefix".into()),
                (Some(to), None) => to.clone(),
                (None, Some(prefix)) => format!("{prefix}.{subject}"),
                (None, None) => subject.clone(),
            };
            let map = Mapping::new(subject, &local).map_err(|e| e.to_string())?;
            u16::try_from(accounts[importer].streams.len()).map_err(|_| "too many imports")?;
            accounts[importer].streams.push(Arc::new(StreamImport { exporter, map }));
        }
    }
    Ok(())
}

impl Broker {
    /// Puts a subscription into its account, and into those that the account imports matching streams from.
    pub(super) fn place(
        &mut self,
        account: usize,
        pattern: &str,
        queue: Option<&str>,
        target: Target,
    ) -> Vec<Placement> {
        let mut placements = vec![Placement { account, pattern: pattern.to_owned(), target }];
        for (number, import) in self.accounts[account].streams.iter().enumerate() {
            let Some(both) = subject::intersection(pattern, import.map.to()) else { continue };
            let Some(there) = import.map.revert(&both) else { continue };
            // The number of imports was checked to fit when the account was built.
            let target = target.through(number as u16);
            placements.push(Placement { account: import.exporter, pattern: there, target });
        }
        for placement in &placements {
            self.accounts[placement.account].subs.insert(&placement.pattern, queue, placement.target);
        }
        placements
    }

    pub(super) fn unplace(&mut self, placements: &[Placement], queue: Option<&str>) {
        for placement in placements {
            self.accounts[placement.account].subs.remove(&placement.pattern, queue, placement.target);
        }
    }
}
