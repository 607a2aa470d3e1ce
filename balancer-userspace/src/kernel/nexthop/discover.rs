//! The interfaces that the program should run on when none are configured.

use std::net::IpAddr;

use super::resolve::{base, find};
use crate::kernel::Error;
use crate::kernel::net::{Link, Net};

/// Name of the loopback interface, which packets from other hosts never come in by.
const LOOPBACK: &str = "lo";

/// What addresses and routes say of where packets come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Names of the interfaces, without repetition; VLAN devices are replaced by what is below them.
    pub interfaces: Vec<String>,
    /// VIPs that no interface holds.
    pub homeless: Vec<IpAddr>,
    /// VIPs that only the loopback interface or a dummy holds, which does not tell where packets come in.
    pub placeless: Vec<IpAddr>,
    /// Backends that no route leads to.
    pub unreachable: Vec<IpAddr>,
}

/// Finds the interfaces that hold the VIPs, and those that the routes to the backends leave by.
///
/// A VIP that no interface holds is expected where its network is. Devices that are not Ethernet are left out: the program
/// cannot read their packets.
///
/// # Errors
///
/// When the kernel does not answer.
pub fn discover(net: &mut Net, vips: &[IpAddr], backends: &[IpAddr]) -> Result<Discovered, Error> {
    let (links, addresses) = (net.links()?, net.addresses()?);
    let mut found = Discovered::default();
    for vip in vips {
        let holders: Vec<u32> =
            addresses.iter().filter(|(_, address)| address == vip).map(|(index, _)| *index).collect();
        if holders.is_empty() {
            found.homeless.push(*vip);
            // On-link, although nobody answers for it: clients come in there.
            if let Some(route) = net.route(*vip)?
                && route.via == *vip
            {
                found.add(&links, route.ifindex);
            }
        }
        if !holders.is_empty() && !holders.iter().any(|index| find(&links, *index).is_some_and(receives)) {
            found.placeless.push(*vip);
        }
        for index in holders {
            found.add(&links, index);
        }
    }
    for backend in backends {
        match net.route(*backend)? {
            Some(route) => found.add(&links, route.ifindex),
            None => found.unreachable.push(*backend),
        }
    }
    Ok(found)
}

/// Whether packets of other hosts come in by an interface.
fn receives(link: &Link) -> bool {
    link.name != LOOPBACK && link.kind.as_deref() != Some("dummy")
}

impl Discovered {
    fn add(&mut self, links: &[Link], index: u32) {
        if let Some(link) = find(links, index) {
            let base = base(links, link);
            if receives(base) && base.mac.is_some() && !self.interfaces.contains(&base.name) {
                self.interfaces.push(base.name.clone());
            }
        }
    }
}
