//! VIPs, routes and neighbours of the configured services.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::host::chain;
use super::{Finding, Report};
use crate::config::Config;
use crate::kernel::net::{Link, Net};
use crate::kernel::nexthop::{Problem, Resolution, discover, resolve};

/// How long an unknown neighbour is waited for.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Time between two looks.
const STEP: Duration = Duration::from_millis(50);

/// The interfaces that the program will run on: those configured, or those that VIPs and routes name.
pub(super) fn interfaces<'a>(
    config: &Config,
    links: &'a [Link],
    net: &mut Net,
    report: &mut Report,
) -> Vec<&'a Link> {
    let names = if config.datapath.interfaces.is_empty() {
        match discover(net, &vips(config), &backends(config)) {
            Ok(found) => found.interfaces,
            Err(error) => {
                report.add(Finding::fail("interfaces", chain(&error)));
                Vec::new()
            }
        }
    } else {
        config.datapath.interfaces.clone()
    };
    if names.is_empty() {
        report.add(
            Finding::fail("interfaces", "no interface holds a VIP and no route leads to a backend")
                .because("there is nothing to attach the program to")
                .fix("datapath.interfaces = [\"…\"]"),
        );
    }
    let mut chosen = Vec::new();
    for name in names {
        match links.iter().find(|link| link.name == name) {
            Some(link) => chosen.push(link),
            None => report.add(
                Finding::fail(format!("interface {name}"), "does not exist in this network namespace")
                    .because("the program cannot be attached to it")
                    .fix("`ip link` lists those there are; correct datapath.interfaces"),
            ),
        }
    }
    chosen
}

pub(super) fn examine(config: &Config, links: &[Link], chosen: &[&Link], net: &mut Net, report: &mut Report) {
    homeless(config, chosen, net, report);
    let devices: BTreeSet<u32> = chosen.iter().map(|link| link.index).collect();
    let addresses = backends(config);
    let found = look_for(&addresses, links, &devices, net);
    for (address, resolution) in addresses.iter().zip(found) {
        let check = format!("backend {address}");
        report.add(match resolution {
            Ok(Resolution { hop: Ok(hop), .. }) => {
                let [a, b, c, d, e, f] = hop.neighbour;
                Finding::ok(check, format!("next hop {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
            }
            Ok(Resolution { hop: Err(problem), .. }) => describe(check, *address, &problem),
            Err(error) => Finding::fail(check, error),
        });
    }
}

fn describe(check: String, address: IpAddr, problem: &Problem) -> Finding {
    let what = problem.to_string();
    match problem {
        Problem::NoRoute => Finding::fail(check, what)
            .because("no packet can be sent there")
            .fix(format!("ip route add {address} via ROUTER")),
        Problem::Local => Finding::fail(check, what)
            .because("packets that the program sends leave the host; a broker on the gateway itself is not reached by nat"),
        Problem::Down { interface } => Finding::fail(check, what)
            .because("no packet can be sent there")
            .fix(format!("ip link set dev {interface} up")),
        Problem::NoNeighbour { .. } => Finding::warn(check, what)
            .because("it is switched off, or its address or network is wrong"),
        Problem::NotAttached { interface } => Finding::warn(check, what)
            .because("packets go there by the network stack, and what comes back by it reaches clients untranslated")
            .fix(format!("add \"{interface}\" to datapath.interfaces")),
        Problem::Bridged { .. } => Finding::ok(check, what),
        Problem::NotEthernet { .. } | Problem::TooManyTags { .. } => {
            Finding::warn(check, what).because("packets go there by the network stack, which is slower")
        }
    }
}

fn homeless(config: &Config, chosen: &[&Link], net: &mut Net, report: &mut Report) {
    let addresses = match net.addresses() {
        Ok(addresses) => addresses,
        Err(error) => return report.add(Finding::fail("addresses", chain(&error))),
    };
    let interface = chosen.first().map_or("INTERFACE", |link| link.name.as_str());
    for vip in vips(config) {
        let check = format!("vip {vip}");
        report.add(if addresses.iter().any(|(_, address)| *address == vip) {
            Finding::ok(check, "is on an interface")
        } else {
            let prefix = if vip.is_ipv4() { 32 } else { 128 };
            Finding::warn(check, "is on no interface")
                .because("nobody answers when clients ask for its MAC address; it is right only if a router sends its packets here")
                .fix(format!("ip addr add {vip}/{prefix} dev {interface}"))
        });
    }
}

/// Resolves every address; has the kernel look for those that it does not know, and waits for the answers together.
fn look_for(
    addresses: &[IpAddr],
    links: &[Link],
    devices: &BTreeSet<u32>,
    net: &mut Net,
) -> Vec<Result<Resolution, String>> {
    let deadline = Instant::now() + PATIENCE;
    let mut nudged = BTreeSet::new();
    loop {
        let found: Vec<_> = addresses
            .iter()
            .map(|address| {
                look_once(*address, links, devices, net, &mut nudged).map_err(|error| chain(&error))
            })
            .collect();
        let waiting = found
            .iter()
            .any(|found| matches!(found, Ok(Resolution { hop: Err(Problem::NoNeighbour { .. }), .. })));
        if !waiting || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(STEP);
    }
}

fn look_once(
    address: IpAddr,
    links: &[Link],
    devices: &BTreeSet<u32>,
    net: &mut Net,
    nudged: &mut BTreeSet<(u32, IpAddr)>,
) -> Result<Resolution, crate::kernel::Error> {
    let route = net.route(address)?;
    let next = route.filter(|route| !route.local).map(|route| (route.ifindex, route.via));
    let neighbour = match next {
        Some((ifindex, via)) => net.neighbour(ifindex, via)?,
        None => None,
    };
    let resolution = resolve(links, route, neighbour, devices);
    if let Some((ifindex, via)) = next
        && resolution.nudge
        && nudged.insert((ifindex, via))
    {
        // A refusal shows in that the neighbour stays unknown.
        let _ = net.nudge(ifindex, via);
    }
    Ok(resolution)
}

fn vips(config: &Config) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = config.services.iter().map(|service| service.vip.ip()).collect();
    all.into_iter().collect()
}

fn backends(config: &Config) -> Vec<IpAddr> {
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let all: BTreeSet<IpAddr> = backends.map(|backend| backend.address.ip()).collect();
    all.into_iter().collect()
}
