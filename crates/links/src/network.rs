//! Two namespaces, and the links between them.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use plenum_sim::Conditions;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::carrier::{Carrier, MTU};
use crate::namespace::{Namespace, ip};

/// The address of the server, in its namespace.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 210, 0, 1);
/// The device, in both namespaces.
const DEVICE: &str = "tun0";

/// This machine lets nobody make such a network, or not this user.
#[derive(Debug)]
pub struct Unavailable(anyhow::Error);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = &self.0;
        write!(f, "links in real time need root, network namespaces, /dev/net/tun and iproute2: {reason:#}")
    }
}

impl std::error::Error for Unavailable {}

/// A namespace with the address of a server, one with those of people, and everybody's links between the two.
pub struct Network {
    /// Where the server is.
    pub server: Namespace,
    /// Where people are.
    pub people: Namespace,
    carrier: Carrier,
}

impl Network {
    /// Two namespaces. Each of so many people has an address of their own; nobody has a link yet.
    pub fn new(people: u8) -> Result<Self, Unavailable> {
        let addresses: Vec<Ipv4Addr> = (0..people).map(Self::address).collect();
        let make = || {
            let (server, people) = (Namespace::new()?, Namespace::new()?);
            let devices = [server.run(|| device(&[SERVER]))?, people.run(|| device(&addresses))?];
            let [of_server, of_people] = devices;
            let carrier = Carrier::new(of_server, of_people).context("the TUN devices")?;
            Ok(Self { server, people, carrier })
        };
        make().map_err(Unavailable)
    }

    /// The address of somebody, counted from 0.
    pub fn address(nth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 210, 1, nth)
    }

    /// The links from somebody and to them are like this from now on. Chance depends on nothing but their name.
    pub fn set_links(&self, nth: u8, name: &str, up: Conditions, down: Conditions) {
        self.carrier.set(Self::address(nth), name, up, down);
    }

    /// The part of all packets that this machine had no time for when they were due, 0 to 1: how little to believe.
    pub fn late(&self) -> f64 {
        self.carrier.late()
    }

    /// Packets that the links from somebody and to them have lost or dropped.
    pub fn dropped(&self, nth: u8) -> (u64, u64) {
        self.carrier.dropped(Self::address(nth))
    }
}

/// A device through which everything goes that leaves the namespace in which this is called.
fn device(addresses: &[Ipv4Addr]) -> Result<SyncDevice> {
    let device = DeviceBuilder::new().name(DEVICE).mtu(MTU as u16).enable(false).build_sync();
    let device = device.context("a TUN device")?;
    // IPv6 would bring addresses that nobody has asked for.
    ip(&["link", "set", "dev", DEVICE, "addrgenmode", "none"])?;
    for address in addresses {
        ip(&["address", "add", &format!("{address}/16"), "dev", DEVICE])?;
    }
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "set", "dev", DEVICE, "up"])?;
    ip(&["route", "add", "default", "dev", DEVICE])?;
    Ok(device)
}
