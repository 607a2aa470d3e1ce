//! The network that the tables play in, as interfaces of a namespace.

use std::{fs, net::SocketAddr, process::Command, thread};

use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

use crate::table::{
    CLIENTS, Net, SERVERS,
    world::{NEIGHBOURS, client_hop, server_hop},
};

/// Runs a test in a network namespace of its own that has the two links, on the first CPU.
///
/// # Panics
/// When the test does, and when the namespace cannot be made: no root, or no iproute2.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    in_namespace_on(0, test);
}

/// As [`in_namespace`], on one of the CPUs.
///
/// # Panics
/// As well when there is no such CPU.
pub fn in_namespace_on(cpu: usize, test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root makes network namespaces");
        let mut cpus = CpuSet::new();
        cpus.set(cpu).expect("a CPU's number");
        sched_setaffinity(Pid::from_raw(0), &cpus).expect("a thread may run on one CPU alone");
        links();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes the two links, with the addresses and neighbours of the tables. It goes with the namespace.
fn links() {
    for (path, value) in
        [("/proc/sys/net/ipv4/ip_forward", "1"), ("/proc/sys/net/ipv6/conf/all/forwarding", "1")]
    {
        fs::write(path, value).unwrap_or_else(|error| panic!("failed to write to {path}: {error}"));
    }
    ip("link set lo up");
    let sides = [
        ("clients", CLIENTS, client_hop as fn(u8) -> _, Net::client as fn(Net, u8, u16) -> SocketAddr),
        ("servers", SERVERS, server_hop, Net::server),
    ];
    for (name, index, hop, host) in sides {
        ip(&format!(
            "link add {name} index {index} address {} type veth peer name {name}-peer",
            mac(hop(1).own)
        ));
        for net in Net::BOTH {
            let length = if net == Net::V4 { "24" } else { "64 nodad" };
            let addr = host(net, 1, 0).ip();
            ip(&format!("address add {addr}/{} dev {name}{}", &length[..2], &length[2..]));
        }
        ip(&format!("link set {name} up"));
        ip(&format!("link set {name}-peer up"));
        for n in NEIGHBOURS {
            for net in Net::BOTH {
                let (addr, mac) = (host(net, n, 0).ip(), mac(hop(n).neighbour));
                ip(&format!("neighbour replace {addr} lladdr {mac} dev {name} nud permanent"));
            }
        }
    }
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is there");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
