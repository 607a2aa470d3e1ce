//! What the shield against floods of SYNs has to know of this machine.

use super::core::Agent;
use crate::api::wire;
use crate::kernel::net::Net;
use crate::kernel::{Error, cookies};

/// What a packet on an Ethernet holds. A longer one may not get through everywhere.
const ETHERNET: u32 = 1500;

/// The segments that clients of shielded flows are asked to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segments {
    pub(super) v4: u16,
    pub(super) v6: u16,
}

impl Segments {
    /// Those that fit through all of these interfaces: nobody knows yet which backend a client will have.
    pub(super) fn through(interfaces: &[String]) -> Result<Self, Error> {
        let links = Net::open()?.links()?;
        let ours = links.iter().filter(|link| interfaces.contains(&link.name));
        Ok(Self::in_packets(ours.map(|link| link.mtu).min().unwrap_or(ETHERNET)))
    }

    /// Those in packets of `mtu` bytes, and no less than what every host takes.
    fn in_packets(mtu: u32) -> Self {
        let segment = |header: u32, least: u32| mtu.min(ETHERNET).saturating_sub(header).max(least) as u16;
        Self { v4: segment(40, 536), v6: segment(60, 1220) }
    }
}

impl Agent {
    /// The shield as the API has it.
    pub(super) fn shield(&self) -> wire::Shield {
        let supported = cookies::are_there();
        wire::Shield { syns: self.config.datapath.shield_syns.on(supported).unwrap_or(0), supported }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_fit_the_smallest_link_and_no_more_than_an_ethernet() {
        assert_eq!(Segments::in_packets(1500), Segments { v4: 1460, v6: 1440 });
        assert_eq!(Segments::in_packets(9000), Segments { v4: 1460, v6: 1440 });
        assert_eq!(Segments::in_packets(1400), Segments { v4: 1360, v6: 1340 });
        assert_eq!(Segments::in_packets(68), Segments { v4: 536, v6: 1220 });
    }
}
