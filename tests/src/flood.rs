//! SYNs in the names of others, as many as are asked for.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use balancer_common::abi::Hop;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    netns::Netns,
    packet::{Ethernet, Packet, Tcp},
};

/// `IPPROTO_RAW`: the sender writes the network header.
const RAW: i32 = 255;

/// Bytes of a frame before its network header.
const ETHERNET: usize = 14;

/// How often a sender looks at the clock.
const TICK: Duration = Duration::from_millis(5);

/// A flood of SYNs from 198.18.0.0/15 (RFC 2544), which nobody answers for, until it is dropped. One sender on each CPU,
/// since a program that counts them does so by CPU.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    senders: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Starts sending `rate` SYNs a second from each CPU out of a namespace to an IPv4 address.
    ///
    /// # Errors
    /// No root, or the address is IPv6.
    pub fn start(netns: &Netns, to: SocketAddr, rate: u32) -> Result<Self> {
        ensure!(to.is_ipv4(), "{to} is not IPv4");
        let mut flood = Self { stop: Arc::default(), sent: Arc::default(), senders: Vec::new() };
        let cpus = thread::available_parallelism().context("CPUs cannot be counted")?.get();
        for cpu in 0..cpus {
            let socket = netns.enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))))?;
            let socket = socket.context("failed to open a raw socket")?;
            let (stop, sent) = (Arc::clone(&flood.stop), Arc::clone(&flood.sent));
            let seed = cpu as u64;
            flood.senders.push(thread::spawn(move || {
                let mut only = CpuSet::new();
                // On a CPU that the test may not use, any other will do.
                let _ = only.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
                send(&socket, to, rate, seed, &stop, &sent);
            }));
        }
        Ok(flood)
    }

    /// SYNs sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            // A sender that panicked has sent less.
            let _ = sender.join();
        }
    }
}

fn send(socket: &Socket, to: SocketAddr, rate: u32, seed: u64, stop: &AtomicBool, sent: &AtomicU64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (start, mut done) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while done < due {
            let from = [198, 18 + random.u8(0..2), random.u8(..), random.u8(1..255)];
            let from = SocketAddr::from((from, random.u16(1024..)));
            let packet = Packet::new(Ethernet::leaving(&Hop::UNKNOWN), from, to, Tcp::syn(random.u32(..)));
            // A full queue loses some.
            if socket.send_to(&packet.bytes()[ETHERNET..], &to.into()).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
            done += 1;
        }
        thread::sleep(TICK);
    }
}
