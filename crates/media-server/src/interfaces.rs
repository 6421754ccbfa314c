//! The addresses that clients are told, and those that this machine has.

use std::net::{IpAddr, Ipv4Addr};

use crate::{BindScope, Config, StartError, external};

/// Most addresses that a candidate list names.
const MAX_ADDRESSES: usize = 8;

/// `node_ip`, else what a STUN server says, else the addresses of the interfaces; loopback when only this machine is
/// served.
pub(crate) async fn addresses(config: &Config) -> Result<Vec<IpAddr>, StartError> {
    let seen = match config.node_ip {
        None => external::address(config).await,
        told => told,
    };
    if let Some(address) = seen {
        if address.is_unspecified() || address.is_multicast() {
            return Err(StartError::BadAddress(address));
        }
        return Ok(vec![address]);
    }
    if config.bind == BindScope::Loopback {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()?
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|address| !address.is_loopback() && !is_link_local(address))
        .collect();
    // Clients try IPv4 first; most networks route it best.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    Ok(addresses)
}

/// All addresses of this machine.
pub(crate) fn own() -> Result<Vec<IpAddr>, StartError> {
    Ok(if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect())
}

/// Whether this machine has that address; if it does not, there is a NAT in between, and what is sent to the address from
/// here may not come back.
pub(crate) fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
