//! A scenario of the simulation, played with real sockets against a real server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use plenum_sim::Conditions;
use plenum_sim::scenario::{Attendance, Change, Event, Played, Role, SCENARIOS, Scenario};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::network::Network;
use crate::participant::{Order, Participant};
use crate::report::Play;
use crate::server::{Program, Server};

/// Orders that somebody has not read yet.
const ORDERS_MAX: usize = 16;

/// The scenarios that can be played in real time: translations of addresses are not made anew there.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    let rebinds = |scenario: &Scenario| scenario.changes.iter().any(|one| matches!(one.what, Event::Rebind));
    SCENARIOS.iter().filter(move |scenario| !rebinds(scenario))
}

/// Plays it, for `limit` at most. What the server prints goes to `log`.
pub fn play(
    scenario: &'static Scenario,
    limit: Option<Duration>,
    program: &Program,
    log: &Path,
) -> Result<Play> {
    let people = u8::try_from(scenario.cast.len()).context("not so many people")?;
    let network = Network::new(people)?;
    let _server = Server::start(&network, program, log)?;
    let played = network.people.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Call::new(scenario, &network).play(limit))
    })?;
    Ok(Play::of(&played, network.late(), program.kind, limit.is_none()))
}

/// A call that is being played.
struct Call<'a> {
    scenario: &'static Scenario,
    network: &'a Network,
    start: Instant,
    present: BTreeMap<&'static str, Present>,
}

/// Somebody who is coming, or has come.
struct Present {
    nth: u8,
    links: [Conditions; 2],
    came: Instant,
    carried: Vec<(Instant, Conditions)>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<Result<plenum_sim::Person>>,
}

impl<'a> Call<'a> {
    fn new(scenario: &'static Scenario, network: &'a Network) -> Self {
        Self { scenario, network, start: Instant::now(), present: BTreeMap::new() }
    }

    async fn play(mut self, limit: Option<Duration>) -> Result<Played> {
        let length = limit.map_or(self.scenario.length, |limit| limit.min(self.scenario.length));
        for (moment, (roles, changes)) in self.scenario.moments() {
            if moment >= length {
                break;
            }
            sleep_until((self.start + moment).into()).await;
            roles.into_iter().for_each(|role| self.come(role));
            for change in changes {
                self.change(change).await?;
            }
        }
        sleep_until((self.start + length).into()).await;
        self.end().await
    }

    fn come(&mut self, role: &'static Role) {
        // There are not more than fit, or there would be no network.
        let nth = self.present.len() as u8;
        self.network.set_links(nth, role.name, role.up, role.down);
        let (orders, mailbox) = mpsc::channel(ORDERS_MAX);
        let (came, epoch) = (Instant::now(), self.start);
        let task = tokio::spawn(async move {
            let prepare = |person: &mut plenum_sim::Person| role.publish(came, epoch, person);
            let address = Network::address(nth);
            let entering = Participant::enter(address, role.name, role.reception(), prepare);
            let participant = Box::pin(entering).await?;
            Box::pin(participant.live(mailbox)).await
        });
        let (links, carried) = ([role.up, role.down], vec![(came, role.down)]);
        self.present.insert(role.name, Present { nth, links, came, carried, orders, task });
    }

    async fn change(&mut self, change: &Change) -> Result<()> {
        let Some(who) = self.present.get_mut(change.who) else { return Ok(()) };
        match change.what {
            Event::Up(up) => who.links[0] = up,
            Event::Down(down) => {
                who.links[1] = down;
                who.carried.push((Instant::now(), down));
            }
            // Whoever is gone says why at the end.
            Event::Fits(rate) => _ = who.orders.send(Order::Fit(rate)).await,
            Event::Rebind => anyhow::bail!("translations of addresses are not made anew in real time"),
        }
        let [up, down] = who.links;
        self.network.set_links(who.nth, change.who, up, down);
        Ok(())
    }

    async fn end(self) -> Result<Played> {
        let end = Instant::now();
        let mut people = BTreeMap::new();
        for (name, present) in self.present {
            let _ = present.orders.send(Order::End).await;
            let person = present.task.await.context("somebody panicked")?;
            let person = person.with_context(|| format!("{name} could not go on"))?;
            let Present { came, carried, .. } = present;
            people.insert(name, Attendance { person, came, carried });
        }
        Ok(Played { scenario: self.scenario, epoch: self.start, start: self.start, end, people })
    }
}
