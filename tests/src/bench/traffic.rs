//! The packets that are measured, and what makes them those.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balancer_common::{
    abi::{Draw, FlowKey4, FlowKey6, ServiceFlags, ServiceId},
    outcome::Outcome,
};
use balancer_ebpf::Load;
use clap::ValueEnum;
use serde::Serialize;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// An established flow's, client to backend.
    Request,
    /// An established flow's, backend to client.
    Reply,
    /// The SYN of a flow that nobody knows: steered and remembered.
    Syn,
    /// The same while SYNs flood: steered by the ring alone.
    Flood,
    /// Mid-stream, of a flow that nobody knows: answered with a RST.
    Unknown,
    /// To no service.
    Other,
}

impl Path {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::Request, Self::Reply, Self::Syn, Self::Flood, Self::Unknown, Self::Other];

    /// How every packet of the path ends.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Request => Outcome::ForwardRequest,
            Self::Reply => Outcome::ForwardReply,
            Self::Syn => Outcome::ForwardSyn,
            Self::Flood => Outcome::ForwardSynStateless,
            Self::Unknown => Outcome::ResetUnknownFlow,
            Self::Other => Outcome::PassNotOurs,
        }
    }

    /// Whether the packets are of flows that are in the flow table.
    #[must_use]
    pub const fn is_established(self) -> bool {
        matches!(self, Self::Request | Self::Reply)
    }

    /// Whether balancers have such a path whose backends answer clients directly: they see no replies, and answer no
    /// unknown flow.
    #[must_use]
    pub const fn is_one_way(self) -> bool {
        matches!(self, Self::Request | Self::Syn | Self::Flood | Self::Other)
    }

    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "established, client to backend",
            Self::Reply => "established, backend to client",
            Self::Syn => "new flow (SYN)",
            Self::Flood => "SYN under flood",
            Self::Unknown => "unknown flow (RST)",
            Self::Other => "not ours",
        }
    }
}

/// How candidates are drawn: what of a policy the kernel sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Three candidates by hash, lowest score.
    Adaptive,
    /// Two candidates by hash, lowest score.
    LeastConn,
    /// One candidate by counter, as `weighted-cpu` too.
    RoundRobin,
    /// One candidate by chance.
    Random,
    /// One candidate by hash; unknown flows are adopted.
    Maglev,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Adaptive, Self::LeastConn, Self::RoundRobin, Self::Random, Self::Maglev];

    /// How candidates are drawn, how many, and the service's flags.
    #[must_use]
    pub const fn steering(self) -> (Draw, u8, u8) {
        match self {
            Self::Adaptive => (Draw::Hash, 3, 0),
            Self::LeastConn => (Draw::Hash, 2, 0),
            Self::RoundRobin => (Draw::Counter, 1, 0),
            Self::Random => (Draw::Random, 1, 0),
            Self::Maglev => (Draw::Hash, 1, ServiceFlags::ADOPT),
        }
    }
}

/// In which order flows have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The order in which they were entered: neighbours in the table follow each other.
    Sequential,
    /// Far apart: no cache can foresee the next.
    Scattered,
}

/// The service and every backend listen here: the common case, and the one in which the port table says least.
const PORT: u16 = 1883;
/// A port that is nobody's.
const OTHER_PORT: u16 = 443;
/// Clients of established flows: 10.0.0.0 and up, or the same below fd00::.
const CLIENTS: u32 = 0x0a00_0000;
/// Clients that nobody knows, apart for each path and CPU.
const STRANGERS: u32 = 0x1400_0000;
const BACKENDS: u32 = 0x0a80_0000;
const VIP: u32 = 0xc000_0201;
/// New flows come from this many tuples, many more than the half-open table holds.
const TUPLES: u32 = 1 << 22;

/// Link address of whoever sends the frames.
pub(super) const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Link address that frames are sent to.
pub(super) const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Length of a frame in words: Ethernet, IP, TCP and a few bytes of payload.
const WORDS4: u32 = 8;
const WORDS6: u32 = 10;

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn addr(self, last: u32) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(last)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(last))),
        }
    }

    pub(super) fn vip(self) -> SocketAddr {
        SocketAddr::new(self.addr(VIP), PORT)
    }

    pub(super) fn backend(self, id: u16) -> SocketAddr {
        SocketAddr::new(self.addr(BACKENDS + u32::from(id)), PORT)
    }

    fn client(self, flow: u32) -> SocketAddr {
        SocketAddr::new(self.addr(CLIENTS + flow), Load::port(flow))
    }

    const fn words(self) -> u32 {
        match self {
            Self::V4 => WORDS4,
            Self::V6 => WORDS6,
        }
    }

    /// Offsets of the last four bytes of the source and the destination address, and of the TCP header.
    const fn offsets(self) -> (u32, u32, u32) {
        match self {
            Self::V4 => (26, 30, 34),
            Self::V6 => (34, 50, 54),
        }
    }

    /// The packets of a path. Established flows are those below `flows`.
    pub(super) fn load(self, (path, order): (Path, Order), flows: u32, backends: u16) -> Load {
        let (source_at, destination_at, l4) = self.offsets();
        let is_reply = path == Path::Reply;
        let flows = if path.is_established() { flows } else { TUPLES };
        Load {
            frame: words(&self.frame(path)),
            words: self.words(),
            flows,
            stride: stride(flows, order),
            cursor: path as u32,
            client: if path.is_established() { CLIENTS } else { STRANGERS + path as u32 * TUPLES },
            backend: BACKENDS,
            backend_mask: u32::from(backends) - 1,
            client_at: if is_reply { destination_at } else { source_at },
            port_at: if is_reply { l4 + 2 } else { l4 },
            backend_at: if is_reply { source_at } else { 0 },
            ack_at: l4 + 8,
            clients_per_cpu: if path.is_established() { 0 } else { 8 * TUPLES },
        }
    }

    /// The frame of flow 0. Its checksums are zero: the program mends checksums and does not judge them.
    fn frame(self, path: Path) -> Vec<u8> {
        const ACK: u8 = 0x10;
        const SYN: u8 = 0x02;
        let (client, vip) = (self.client(0), self.vip());
        let (from, to) = match path {
            Path::Reply => (self.backend(0), client),
            Path::Other => (client, SocketAddr::new(self.addr(STRANGERS - 1), OTHER_PORT)),
            Path::Request | Path::Syn | Path::Flood | Path::Unknown => (client, vip),
        };
        let flags = if matches!(path, Path::Syn | Path::Flood) { SYN } else { ACK };
        let len = self.words() as usize * 8;
        let mut frame = [RECEIVER, SENDER].concat();
        match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend(((len - 14) as u16).to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(((len - 54) as u16).to_be_bytes());
                frame.extend([6, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("one family"),
        }
        frame.extend(from.port().to_be_bytes());
        frame.extend(to.port().to_be_bytes());
        frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.resize(len, 0);
        frame
    }
}

/// The keys of a flow in both families.
pub(super) fn keys(flow: u32, service: ServiceId) -> (FlowKey4, FlowKey6) {
    let port = Load::port(flow).to_be_bytes();
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (Family::V4.client(flow).ip(), Family::V6.client(flow).ip())
    else {
        unreachable!("an address is of the family it was asked of")
    };
    (
        FlowKey4 { client: v4.octets(), port, service },
        FlowKey6 { client: v6.octets(), port, service, reserved: 0 },
    )
}

/// The step that visits all flows in an order.
fn stride(flows: u32, order: Order) -> u32 {
    if order == Order::Sequential {
        return u32::from(flows > 1);
    }
    // About the golden ratio, which spreads consecutive steps evenly; made coprime.
    let mut stride = (u64::from(flows) * 618 / 1000) as u32;
    while flows > 1 && gcd(stride, flows) != 1 {
        stride += 1;
    }
    stride
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().expect("a chunk has eight bytes"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_visits_every_flow() {
        let orders = [Order::Sequential, Order::Scattered];
        for (flows, order) in [1, 2, 1_000, 100_000].into_iter().flat_map(|n| orders.map(|order| (n, order)))
        {
            let stride = stride(flows, order);
            let mut seen = vec![false; flows as usize];
            let mut flow = 0;
            for _ in 0..flows {
                seen[flow as usize] = true;
                flow = (flow + stride) % flows;
            }
            assert!(seen.iter().all(|seen| *seen), "{flows} {order:?}");
        }
    }

    #[test]
    fn the_fields_are_where_the_load_says() {
        for family in Family::ALL {
            for path in Path::ALL {
                let load = family.load((path, Order::Scattered), 1_000, 16);
                let frame = family.frame(path);
                assert_eq!(frame.len(), load.words as usize * 8);
                let port = &frame[load.port_at as usize..][..2];
                assert_eq!(port, Load::port(0).to_be_bytes(), "{family:?} {path:?}");
                let client = &frame[load.client_at as usize..][..4];
                assert_eq!(client, CLIENTS.to_be_bytes(), "{family:?} {path:?}");
            }
        }
    }
}
