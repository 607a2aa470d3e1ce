//! Frames that one CPU forwards.
//!
//! The generator of `bench packet` writes 64-byte frames of established connections, and the kernel takes them for
//! received on `wan0` (`BPF_PROG_TEST_RUN` with live frames, Linux 5.18). The balancer's program sends them on; for the
//! others they go up into the network stack. At the far end of `lan0` a program drops and counts them.

use std::{
    net::{SocketAddr, SocketAddrV4},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, ProgramInfo, TestRunAttrs, xdp::XdpMode},
};
use balancer_common::abi::names;
use balancer_ebpf::{Load, Target, names as generator};
use etherparse::PacketBuilder;
use serde::Deserialize;
use tokio::net::{TcpSocket, TcpStream};

use super::rival::{Rival, Running};
use crate::{
    bench::{measure, object, rig, traffic},
    lab::{self, Lab},
    netns::Netns,
    peer::Sink,
};

/// Connections that the frames are of, in turn.
const FLOWS: u32 = 64;

/// Frames that the kernel makes at a time, as many as a driver's poll does.
const BATCH: u32 = 64;

/// Frames that warm caches up before the clock runs.
const WARM_UP: u32 = 50_000;

/// Length of a frame in words of the generator.
const WORDS: usize = 8;

/// Where a frame ends for IP, and padding begins: there the generator may write what differs from frame to frame.
const PADDING: u32 = 56;

/// Frames per second that the gateway forwards on one CPU.
pub(super) fn forwarded(lab: &Lab, running: &mut Running<'_>, frames: u32) -> Result<f64> {
    let SocketAddr::V4(to) = running.mqtt[0] else { bail!("frames are IPv4") };
    if running.rival == Rival::Nftables {
        // Ports differ from frame to frame and numbers stay, so neither may be judged. Less work, in its favour.
        lab.gateway.enter(|| {
            lab::sysctl("net/netfilter/nf_conntrack_checksum", "0")?;
            lab::sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")
        })??;
    }
    // Held for as long as their frames are sent.
    let _connections = connections(lab, to)?;
    running.free_lan();
    let _sink = Sink::attach(&lab.switch, "gw0")?;
    lab.gateway.enter(|| {
        // One CPU: what the far end does counts as well, as the same few instructions for everybody.
        measure::pin(0)?;
        let injector = Injector::new(lab, running, to)?;
        injector.send(WARM_UP)?;
        let before = dropped(&lab.switch)?;
        let began = Instant::now();
        injector.send(frames)?;
        let took = began.elapsed();
        // The last ones are on their way through the far end's queue.
        thread::sleep(Duration::from_millis(20));
        let arrived = dropped(&lab.switch)? - before;
        ensure!(
            arrived * 2 > u64::from(frames),
            "only {arrived} of {frames} frames came out of {}: the others are lost on the way",
            running.rival.as_str()
        );
        Ok(arrived as f64 / took.as_secs_f64())
    })?
}

/// Real connections, from the ports that the generator's flows have.
fn connections(lab: &Lab, to: SocketAddrV4) -> Result<Vec<std::net::TcpStream>> {
    let client = &lab.clients[0];
    client.netns.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.context("failed to make a runtime")?.block_on(async {
            let mut all = Vec::new();
            for flow in 0..FLOWS {
                let socket = TcpSocket::new_v4().context("failed to make a socket")?;
                socket.set_reuseaddr(true).context("failed to allow a port that was used before")?;
                let from = SocketAddr::from((client.v4, Load::port(flow)));
                socket.bind(from).with_context(|| format!("failed to bind {from}"))?;
                let stream = socket.connect(SocketAddr::V4(to)).await.and_then(TcpStream::into_std);
                all.push(stream.with_context(|| format!("failed to connect {from} to {to}"))?);
            }
            Ok(all)
        })
    })?
}

/// The generator in front of what is measured.
struct Injector {
    object: Ebpf,
    program: &'static str,
    ingress: u32,
}

impl Injector {
    /// Must be called, and used, inside the gateway.
    fn new(lab: &Lab, running: &Running<'_>, to: SocketAddrV4) -> Result<Self> {
        let wan = Link::of(&lab.gateway, "wan0")?;
        let client = Link::of(&lab.clients[0].netns, "eth0")?;
        let mut object = object::load(
            object::GENERATOR_VARIABLE,
            &[generator::EMPTY, generator::TO_BALANCER, generator::TO_EMPTY],
        )?;
        let (target, fd) = match running.agent() {
            Some(agent) => (Target::Balancer, pinned(&agent.pins())?),
            None => (Target::Empty, object::program(&object, generator::EMPTY)?.fd()?.try_clone()?),
        };
        if target == Target::Empty {
            // The kernel makes test runs take place on interfaces only that a program is attached to.
            object::program_mut(&mut object, generator::EMPTY)?
                .attach_to_if_index(wan.index, XdpMode::Driver)?;
        }
        let map = object.map_mut(generator::TARGETS).context("no targets in the generator")?;
        ProgramArray::try_from(map)?.set(target as u32, &fd, 0).context("failed to aim the generator")?;
        let load = load(&wan, &client, SocketAddrV4::new(lab.clients[0].v4, Load::port(0)), to)?;
        let map = object.map_mut(generator::LOAD).context("the generator has no load")?;
        Array::<_, rig::Wire>::try_from(map)?.set(0, rig::Wire(load), 0)?;
        let program = if target == Target::Balancer { generator::TO_BALANCER } else { generator::TO_EMPTY };
        Ok(Self { object, program, ingress: wan.index })
    }

    fn send(&self, frames: u32) -> Result<()> {
        let frame = [0; WORDS * 8];
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&rig::context(frame.len() as u32, self.ingress)),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        object::program(&self.object, self.program)?
            .test_run(options)
            .context("failed to inject frames (Linux 5.18 is the first that can)")?;
        Ok(())
    }
}

/// The balancer's program, as it runs.
fn pinned(pins: &Path) -> Result<ProgramFd> {
    let program = ProgramInfo::from_pin(pins.join(names::PROGRAM));
    Ok(program.context("failed to open the pinned program")?.fd()?)
}

/// The first flow's frame, and what is different in those of the others: the client's port.
fn load(wan: &Link, client: &Link, from: SocketAddrV4, to: SocketAddrV4) -> Result<Load> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(client.mac()?, wan.mac()?)
        .ipv4(from.ip().octets(), to.ip().octets(), 64)
        .tcp(from.port(), to.port(), 1, 502)
        .ack(1)
        .psh()
        .write(&mut frame, b"hi")
        .context("failed to build a frame")?;
    ensure!(frame.len() == PADDING as usize, "the frame has {} bytes", frame.len());
    frame.resize(WORDS * 8, 0);
    Ok(Load {
        frame: traffic::words(&frame),
        words: WORDS as u32,
        flows: FLOWS,
        stride: 1,
        cursor: 0,
        client: 0,
        client_at: PADDING,
        port_at: 34,
        backend: 0,
        backend_mask: 0,
        backend_at: 0,
        ack_at: PADDING + 4,
        clients_per_cpu: 0,
    })
}

/// What `ip -json link` says of an interface.
#[derive(Debug, Deserialize)]
struct Link {
    #[serde(rename = "ifindex")]
    index: u32,
    address: String,
}

impl Link {
    fn of(netns: &Netns, name: &str) -> Result<Self> {
        let text = netns.run("ip", &["-json", "link", "show", "dev", name])?;
        let links: Vec<Self> = serde_json::from_str(&text).with_context(|| format!("ip says: {text}"))?;
        links.into_iter().next().with_context(|| format!("no interface {name}"))
    }

    fn mac(&self) -> Result<[u8; 6]> {
        let bytes =
            self.address.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>();
        let bytes = bytes.ok().and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        bytes.with_context(|| format!("{} is no link address", self.address))
    }
}

/// Frames that the program at the far end of `lan0` has dropped.
fn dropped(switch: &Netns) -> Result<u64> {
    let text = switch.run("ethtool", &["-S", "gw0"])?;
    dropped_in(&text).with_context(|| format!("ethtool says:\n{text}"))
}

fn dropped_in(text: &str) -> Option<u64> {
    let counts: Vec<u64> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rx_queue_")?.split_once("_xdp_drops: ")?.1.parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_all_queues_are_counted() {
        let text = "NIC statistics:\n     peer_ifindex: 3\n     rx_queue_0_xdp_packets: 9\n     \
                    rx_queue_0_xdp_drops: 5\n     rx_queue_0_xdp_tx: 1\n     rx_queue_1_xdp_drops: 2\n";
        assert_eq!(dropped_in(text), Some(7));
        assert_eq!(dropped_in("no stats available"), None);
    }

    #[test]
    fn a_frame_has_its_port_where_the_generator_writes_it() {
        let link = |address: &str| Link { index: 1, address: address.to_owned() };
        let (wan, client) = (link("02:00:00:00:00:01"), link("02:00:00:00:00:02"));
        let from = SocketAddrV4::new([198, 51, 100, 2].into(), Load::port(0));
        let load = load(&wan, &client, from, SocketAddrV4::new([198, 51, 100, 10].into(), 1883)).unwrap();
        let bytes: Vec<u8> = load.frame[..WORDS].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes[..6], [2, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[34..36], Load::port(0).to_be_bytes());
        assert!(link("02:00").mac().is_err());
    }
}
