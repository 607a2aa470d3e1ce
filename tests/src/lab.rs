//! The network that everything is tried in.
//!
//! ```text
//!  client ns            gateway ns                    switch ns          broker ns, one each
//!  eth0 ────────────── wan0  lan0 ────────────────── gw0 ┐ bridge  ┌ p0 ─── eth0
//!  198.51.100.2        198.51.100.1  10.71.0.1           └─────────┘        10.71.0.11 ...
//!  2001:db8:1::2       2001:db8:1::1 2001:db8:2::1                          2001:db8:2::11 ...
//!                      VIPs 198.51.100.10 and 2001:db8:1::10
//! ```
//!
//! With more than one client the switch has a second bridge between `wan0` and the clients. The gateway forwards, and
//! is everybody's default route: without a balancer, clients reach brokers by plain routing.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    netns::Netns,
    owner,
    peer::Pass,
    wait::{self, PATIENCE},
};

/// The VIPs' IPv4 address.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The VIPs' IPv6 address.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// The gateway's own IPv4 address on `wan0`.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The gateway's own IPv6 address on `wan0`.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const LAN4: Ipv4Addr = Ipv4Addr::new(10, 71, 0, 1);
const LAN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
/// The port that services and brokers use.
pub const PORT: u16 = 1883;

/// What a lab consists of.
#[derive(Clone, Copy, Debug)]
pub struct LabOptions {
    /// Number of broker namespaces, 1 to 100.
    pub brokers: u8,
    /// Number of client namespaces, 1 to 50.
    pub clients: u8,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { brokers: 3, clients: 1 }
    }
}

/// A client or broker: a namespace with one interface, `eth0`.
#[derive(Debug)]
pub struct Host {
    /// `client0`, `broker1` and so on.
    pub name: String,
    /// Where it lives.
    pub netns: Netns,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// The address of the service port, IPv4.
    #[must_use]
    pub const fn socket4(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.v4), PORT)
    }

    /// The address of the service port, IPv6.
    #[must_use]
    pub const fn socket6(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.v6), PORT)
    }
}

/// A network of namespaces, deleted on drop.
#[derive(Debug)]
pub struct Lab {
    /// On the far ends of `wan0` and `lan0`.
    _passes: Option<[Pass; 2]>,
    /// Unique in this process: part of the names of everything that belongs to the lab.
    pub serial: u32,
    /// Where clients live, at least one.
    pub clients: Vec<Host>,
    /// The gateway, with `wan0` and `lan0`.
    pub gateway: Netns,
    /// The switch: it only has bridges.
    pub switch: Netns,
    /// Where brokers live.
    pub brokers: Vec<Host>,
}

impl Lab {
    /// The VIP's service port, IPv4.
    pub const VIP4: SocketAddr = SocketAddr::new(IpAddr::V4(VIP4), PORT);
    /// The VIP's service port, IPv6.
    pub const VIP6: SocketAddr = SocketAddr::new(IpAddr::V6(VIP6), PORT);

    /// Builds the network.
    ///
    /// # Errors
    /// Not root, a tool (ip, nsenter, ethtool) is missing, or the kernel lacks veth or bridges.
    pub fn new(options: LabOptions) -> Result<Self> {
        let mut lab = Self::bare(options)?;
        lab._passes = Some(lab.attach_passes()?);
        Ok(lab)
    }

    /// As [`Lab::new`], without the programs that frames sent by XDP need at the far ends of the gateway's links.
    ///
    /// # Errors
    /// As there.
    pub fn bare(options: LabOptions) -> Result<Self> {
        let serial = owner::serial();
        let host = |role: &str, index: u8, v4: Ipv4Addr, v6: Ipv6Addr| -> Result<Host> {
            let name = format!("{role}{index}");
            Ok(Host { netns: Netns::new(serial, &name)?, name, v4, v6 })
        };
        let clients = (0..options.clients).map(|i| host("client", i, client4(i), client6(i)));
        let clients: Vec<Host> = clients.collect::<Result<_>>()?;
        let gateway = Netns::new(serial, "gateway")?;
        let switch = Netns::new(serial, "switch")?;
        let brokers = (0..options.brokers).map(|i| host("broker", i, broker4(i), broker6(i)));
        let brokers: Vec<Host> = brokers.collect::<Result<_>>()?;
        let wires = Wires { clients: &clients, gateway: &gateway, switch: &switch, brokers: &brokers };
        wires.lay()?;
        Ok(Self { _passes: None, serial, clients, gateway, switch, brokers })
    }

    /// Attaches those programs: to the far ends of `wan0` and `lan0`.
    ///
    /// # Errors
    /// The kernel refused, or they are there.
    pub fn attach_passes(&self) -> Result<[Pass; 2]> {
        let wan = match self.clients.as_slice() {
            [client] => Pass::attach(&client.netns, "eth0")?,
            _ => Pass::attach(&self.switch, "gw1")?,
        };
        Ok([wan, Pass::attach(&self.switch, "gw0")?])
    }
}

/// What is wired together.
#[derive(Clone, Copy)]
struct Wires<'a> {
    clients: &'a [Host],
    gateway: &'a Netns,
    switch: &'a Netns,
    brokers: &'a [Host],
}

impl Wires<'_> {
    fn lay(self) -> Result<()> {
        self.prepare().context("failed to set the namespaces up")?;
        self.wire_lan().context("failed to wire the brokers")?;
        self.wire_wan().context("failed to wire the clients")?;
        self.give_addresses().context("failed to give addresses")?;
        self.set_offloads().context("failed to set offloads")?;
        self.settle()
    }

    /// All namespaces.
    fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        self.hosts().map(|host| &host.netns).chain([self.gateway, self.switch])
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.clients.iter().chain(self.brokers)
    }

    /// Addresses must be usable at once, so duplicate address detection is off before any link is up.
    fn prepare(&self) -> Result<()> {
        for netns in self.namespaces() {
            netns.enter(|| -> Result<()> {
                sysctl("net/ipv6/conf/all/accept_dad", "0")?;
                sysctl("net/ipv6/conf/default/accept_dad", "0")
            })??;
        }
        // A switch filters nothing. Where the kernel has bridge netfilter, every frame would be taken through it.
        self.switch.enter(|| -> Result<()> {
            for family in ["ip", "ip6"] {
                let key = format!("net/bridge/bridge-nf-call-{family}tables");
                if Path::new("/proc/sys").join(&key).exists() {
                    sysctl(&key, "0")?;
                }
            }
            Ok(())
        })??;
        self.gateway.enter(|| -> Result<()> {
            sysctl("net/ipv4/ip_forward", "1")?;
            sysctl("net/ipv6/conf/all/forwarding", "1")
        })?
    }

    fn wire_lan(&self) -> Result<()> {
        let switch = self.switch.name();
        self.gateway.ip(&[format!("link add lan0 type veth peer name gw0 netns {switch}")])?;
        let mut lines =
            vec!["link add lan type bridge mcast_snooping 0".to_owned(), "link set lan up".to_owned()];
        lines.push(join_bridge("gw0", "lan"));
        for (index, broker) in self.brokers.iter().enumerate() {
            lines.push(format!("link add p{index} type veth peer name eth0 netns {}", broker.netns.name()));
            lines.push(join_bridge(&format!("p{index}"), "lan"));
        }
        self.switch.ip(&lines)
    }

    fn wire_wan(&self) -> Result<()> {
        if let [client] = self.clients {
            return self
                .gateway
                .ip(&[format!("link add wan0 type veth peer name eth0 netns {}", client.netns.name())]);
        }
        let switch = self.switch.name();
        self.gateway.ip(&[format!("link add wan0 type veth peer name gw1 netns {switch}")])?;
        let mut lines =
            vec!["link add wan type bridge mcast_snooping 0".to_owned(), "link set wan up".to_owned()];
        lines.push(join_bridge("gw1", "wan"));
        for (index, client) in self.clients.iter().enumerate() {
            lines.push(format!("link add c{index} type veth peer name eth0 netns {}", client.netns.name()));
            lines.push(join_bridge(&format!("c{index}"), "wan"));
        }
        self.switch.ip(&lines)
    }

    fn give_addresses(&self) -> Result<()> {
        self.gateway.ip(&[
            format!("addr add {GATEWAY4}/24 dev wan0"),
            format!("addr add {VIP4}/32 dev wan0"),
            format!("addr add {GATEWAY6}/64 dev wan0 nodad"),
            format!("addr add {VIP6}/128 dev wan0 nodad"),
            format!("addr add {LAN4}/24 dev lan0"),
            format!("addr add {LAN6}/64 dev lan0 nodad"),
            "link set wan0 up".to_owned(),
            "link set lan0 up".to_owned(),
        ])?;
        let clients = self.clients.iter().map(|host| (host, GATEWAY4, GATEWAY6));
        let brokers = self.brokers.iter().map(|host| (host, LAN4, LAN6));
        for (host, gateway4, gateway6) in clients.chain(brokers) {
            host.netns.ip(&[
                format!("addr add {}/24 dev eth0", host.v4),
                format!("addr add {}/64 dev eth0 nodad", host.v6),
                "link set eth0 up".to_owned(),
                format!("route add default via {gateway4} dev eth0"),
                format!("route add default via {gateway6} dev eth0"),
            ])?;
        }
        Ok(())
    }

    /// Local stacks send `CHECKSUM_PARTIAL`, which a rewritten packet would carry to a receiver that believes it.
    fn set_offloads(&self) -> Result<()> {
        for host in self.hosts() {
            host.netns.run("ethtool", &["-K", "eth0", "tx", "off"])?;
        }
        Ok(())
    }

    /// The kernel tells IPv6 of a carrier up to a second late; until then it receives no neighbour solicitations.
    fn settle(&self) -> Result<()> {
        for client in self.clients {
            client.netns.enter(|| -> Result<()> {
                for to in self.brokers.iter().flat_map(|host| [host.socket4(), host.socket6()]) {
                    wait::until_ok("the network to work", PATIENCE, || reaches(to))?;
                }
                Ok(())
            })??;
        }
        Ok(())
    }
}

/// Nothing listens yet, so a refusal proves the way there and back.
fn reaches(to: SocketAddr) -> Result<()> {
    match TcpStream::connect_timeout(&to, Duration::from_millis(100)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error).with_context(|| format!("failed to reach {to}")),
        Ok(_) => bail!("something listens on {to} already"),
    }
}

fn join_bridge(port: &str, bridge: &str) -> String {
    format!("link set {port} master {bridge} up")
}

pub(crate) fn sysctl(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{key}");
    fs::write(&path, value).with_context(|| format!("failed to write {path}"))
}

const fn client4(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, if index == 0 { 2 } else { 20 + index })
}

const fn client6(index: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, if index == 0 { 2 } else { 0x20 + index as u16 })
}

const fn broker4(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 71, 0, 11 + index)
}

const fn broker6(index: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11 + index as u16)
}
