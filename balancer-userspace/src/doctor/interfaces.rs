//! The interfaces that the program is to run on.

use super::host::read;
use super::{Finding, Report, placement};
use crate::config::{AttachMode, Config};
use crate::kernel::device::{Features, XdpFeatures};
use crate::kernel::net::Link;
use crate::kernel::{Error, stranger};

/// The largest MTU whose packets fit one page together with XDP's headroom. Above it drivers refuse native mode to
/// programs that take packets in one piece only, as ours does (`BPF_F_XDP_HAS_FRAGS`, Linux 5.18, is not asked for).
const LARGEST_MTU: u32 = 3498;

pub(super) fn examine(
    config: &Config,
    links: &[Link],
    chosen: &[&Link],
    sees_programs: bool,
    report: &mut Report,
) {
    let asked: Vec<_> = chosen.iter().map(|link| (*link, XdpFeatures::usable(link))).collect();
    let unable = asked.iter().find(|(_, xdp)| is_unable(xdp)).map(|(link, _)| link.name.clone());
    let mode = Mode { configured: config.datapath.mode, unable };
    let generic = mode.is_generic();
    for (link, xdp) in asked {
        let features = Features::of(&link.name).unwrap_or_default();
        state(link, &features, report);
        native(&mode, link, &features, xdp, report);
        if let Some(occupied) = stranger(link, &config.agent.pins) {
            report.add(occupier(link, &occupied, sees_programs));
        }
        offloads(link, links, &features, report);
        merging(link, &features, generic).into_iter().for_each(|finding| report.add(finding));
        placement::examine(link, generic).into_iter().for_each(|finding| report.add(finding));
        queues(link, &features, report);
        sysctls(config, link, report);
        if link.kind.as_deref() == Some("veth") {
            peer(link, links, report);
        }
    }
    mtus(chosen, report);
}

/// A program that does not seem to be ours. It may be, for who cannot see programs: nobody is to take that off.
fn occupier(link: &Link, occupied: &Error, sees_programs: bool) -> Finding {
    let check = format!("program {}", link.name);
    if sees_programs {
        return Finding::fail(check, occupied.to_string());
    }
    Finding::warn(check, "an XDP program runs there, and this user cannot tell whose")
        .because("it may be the balancer's own, and the agent refuses an interface with any other")
        .fix("run it as root")
}

fn state(link: &Link, features: &Features, report: &mut Report) {
    let check = format!("interface {}", link.name);
    let driver = features.driver.as_deref().unwrap_or("unknown");
    report.add(if !link.up {
        Finding::fail(check, "is switched off")
            .because("no packet comes in or goes out")
            .fix(format!("ip link set dev {} up", link.name))
    } else if !link.carrier {
        Finding::warn(check, "has no carrier").because("its cable is unplugged, or the other side is off")
    } else {
        Finding::ok(check, format!("is up (driver {driver}, MTU {})", link.mtu))
    });
}

/// How the program will be attached to all interfaces.
struct Mode {
    configured: AttachMode,
    /// An interface whose driver does not run the program, so that with `auto` none does.
    unable: Option<String>,
}

impl Mode {
    /// Whether the program will run in the network stack.
    const fn is_generic(&self) -> bool {
        match self.configured {
            AttachMode::Generic => true,
            AttachMode::Auto => self.unable.is_some(),
            AttachMode::Native => false,
        }
    }
}

/// Whether a driver has no native mode. A kernel that does not say what drivers can do is trusted.
const fn is_unable(xdp: &std::io::Result<Option<XdpFeatures>>) -> bool {
    matches!(xdp, Ok(Some(xdp)) if !xdp.runs_the_program())
}

/// Packets that are merged before the program sees them.
fn merging(link: &Link, features: &Features, generic: bool) -> Option<Finding> {
    (generic && features.gro == Some(true)).then(|| {
        Finding::warn(format!("gro {}", link.name), "generic receive offload is on")
            .because(
                "in generic mode packets are merged before the program sees them, and what is longer than the MTU of \
                 the interface that it is redirected to is lost; in native mode they are merged behind it",
            )
            .fix(format!("ethtool -K {} gro off", link.name))
    })
}

fn native(
    mode: &Mode,
    link: &Link,
    features: &Features,
    xdp: std::io::Result<Option<XdpFeatures>>,
    report: &mut Report,
) {
    let check = format!("xdp {}", link.name);
    let driver = features.driver.as_deref().unwrap_or("unknown");
    let refused = |finding: Finding| {
        finding.because(
            "in generic mode the network stack allocates a buffer for each packet before the program sees it",
        )
    };
    let finding = match (mode.configured, xdp) {
        (AttachMode::Generic, _) => Finding::ok(check, "generic mode, as configured"),
        (configured, Ok(Some(xdp))) if xdp.runs_the_program() => match &mode.unable {
            Some(other) if configured == AttachMode::Auto => refused(Finding::warn(
                check,
                format!(
                    "driver {driver} has native mode; generic mode will be used, as {other} has no other"
                ),
            )),
            _ => Finding::ok(check, "native mode is possible"),
        },
        (AttachMode::Native, Ok(Some(_))) => {
            refused(Finding::fail(check, format!("driver {driver} has no native mode")))
                .fix("mode = \"generic\" or \"auto\"")
        }
        (AttachMode::Auto, Ok(Some(_))) => refused(Finding::warn(
            check,
            format!("driver {driver} has no native mode; generic mode will be used"),
        )),
        (_, Ok(None)) => Finding::ok(
            check,
            format!("this kernel does not say whether driver {driver} has native mode (Linux 6.3 does)"),
        ),
        (_, Err(error)) => Finding::warn(check, format!("cannot ask for native mode: {error}")),
    };
    report.add(finding);
    jumbo(mode.configured, link).into_iter().for_each(|finding| report.add(finding));
}

/// Frames that do not fit one page.
fn jumbo(mode: AttachMode, link: &Link) -> Option<Finding> {
    let then = match mode {
        AttachMode::Generic => return None,
        AttachMode::Auto => {
            "generic mode is used then, on all interfaces, which copies each packet that is in pieces"
        }
        AttachMode::Native => "the agent does not start then",
    };
    (link.mtu > LARGEST_MTU && link.name != "lo").then(|| {
        Finding::warn(format!("mtu {}", link.name), format!("the MTU is {}", link.mtu))
            .because(format!(
                "the program takes packets in one piece, and drivers refuse native mode to such programs above \
                 {LARGEST_MTU} or less; {then}"
            ))
            .fix(format!("ip link set dev {} mtu {LARGEST_MTU}", link.name))
    })
}

fn offloads(link: &Link, links: &[Link], features: &Features, report: &mut Report) {
    if features.lro == Some(true) {
        report.add(
            Finding::warn(format!("lro {}", link.name), "large receive offload is on")
                .because("it merges packets in the card; what is forwarded must not be, and drivers refuse native mode with it")
                .fix(format!("ethtool -K {} lro off", link.name)),
        );
    }
    let carries_vlans = links
        .iter()
        .any(|other| other.tag.is_some() && !other.below_elsewhere && other.below == Some(link.index));
    if carries_vlans && features.rx_vlan == Some(true) {
        report.add(
            Finding::warn(format!("rxvlan {}", link.name), "the card takes VLAN tags off")
                .because("the program then takes a packet of a VLAN for an untagged one, and sends the answer without its tag")
                .fix(format!("ethtool -K {} rxvlan off", link.name)),
        );
    }
}

fn queues(link: &Link, features: &Features, report: &mut Report) {
    let Ok(cpus) = aya::util::online_cpus() else { return };
    let queues = features.queues.filter(|queues| *queues > 0).unwrap_or(link.rx_queues) as usize;
    // Virtual devices get their parallelism from whoever sends.
    if link.kind.is_none() && queues > 0 && queues < cpus.len() && link.name != "lo" {
        report.add(
            Finding::warn(format!("queues {}", link.name), format!("{queues} receive queues for {} CPUs", cpus.len()))
                .because("each queue is served by one CPU; the others do not help, and some drivers refuse to redirect")
                .fix(format!("ethtool -L {} combined {}", link.name, cpus.len())),
        );
    }
}

/// Packets that the program cannot send by itself go through the host's stack, which these settings govern.
fn sysctls(config: &Config, link: &Link, report: &mut Report) {
    let v4 = config.services.iter().any(|service| service.vip.is_ipv4());
    let v6 = config.services.iter().any(|service| service.vip.is_ipv6());
    let value = |family: &str, interface: &str, key: &str| {
        let text = read(format!("/proc/sys/net/{family}/conf/{interface}/{key}"))?;
        text.parse::<u8>().ok()
    };
    let mut wrong = |family: &str, key: &str, is: &str, wanted: u8, why: &str| {
        // sysctl has dots between names, and slashes for the dots in them.
        let name = format!("net.{family}.conf.{}.{key}", link.name.replace('.', "/"));
        report.add(
            Finding::warn(format!("sysctl {}", link.name), format!("{family} {key} is {is}"))
                .because(why)
                .fix(format!("sysctl -w {name}={wanted}")),
        );
    };
    for (family, _) in [("ipv4", v4), ("ipv6", v6)].into_iter().filter(|(_, used)| *used) {
        if value(family, &link.name, "forwarding") == Some(0) {
            let why = "packets whose neighbour is not known are given to the network stack, which drops them otherwise";
            wrong(family, "forwarding", "off", 1, why);
        }
    }
    // The stricter of the two counts: 1 is strict, 2 is loose and larger.
    let filter = |interface| value("ipv4", interface, "rp_filter").unwrap_or(0);
    if v4 && filter("all").max(filter(&link.name)) == 1 {
        let why = "the network stack drops packets that come in by another interface than its route to their source";
        wrong("ipv4", "rp_filter", "strict", 2, why);
    }
}

fn peer(link: &Link, links: &[Link], report: &mut Report) {
    let check = format!("veth {}", link.name);
    let why = "a veth takes redirected packets only when its peer polls for them, and RSTs and SYN cookies only when its peer \
               has an XDP program; local stacks leave checksums to the device, where rewritten packets come out wrong";
    let seen = links.iter().find(|other| !link.below_elsewhere && Some(other.index) == link.below);
    let Some(peer) = seen else {
        report.add(
            Finding::ok(check, "its peer is in another network namespace and was not examined")
                .because(why)
                .fix("there: ethtool -K PEER gro on tx off, and an XDP program that passes every packet"),
        );
        return;
    };
    let Ok(features) = Features::of(&peer.name) else { return };
    let polls = features.gro == Some(true) || !peer.xdp.is_empty();
    let mut wrong = Vec::new();
    if !polls {
        wrong.push("gro on");
    }
    if features.tx_checksum == Some(true) {
        wrong.push("tx off");
    }
    report.add(if wrong.is_empty() && peer.xdp.is_empty() {
        Finding::warn(check, format!("its peer {} has no XDP program", peer.name))
            .because(
                "RSTs and SYN cookies that the program answers with do not arrive there, and clients wait",
            )
            .fix(format!("attach a program to {} that passes every packet", peer.name))
    } else if wrong.is_empty() {
        Finding::ok(check, format!("its peer {} takes what the program sends", peer.name))
    } else {
        let wrong = wrong.join(" ");
        Finding::warn(check, format!("its peer {} needs {wrong}", peer.name))
            .because(why)
            .fix(format!("ethtool -K {} {wrong}", peer.name))
    });
}

fn mtus(chosen: &[&Link], report: &mut Report) {
    let (smallest, largest) =
        (chosen.iter().min_by_key(|link| link.mtu), chosen.iter().max_by_key(|link| link.mtu));
    if let (Some(smallest), Some(largest)) = (smallest, largest)
        && smallest.mtu != largest.mtu
    {
        report.add(
            Finding::warn(
                "mtu",
                format!("{} has MTU {}, {} has {}", smallest.name, smallest.mtu, largest.name, largest.mtu),
            )
            .because("a packet that is too large for the interface it leaves by is lost, and nobody is told")
            .fix(format!("ip link set dev {} mtu {}", largest.name, smallest.mtu)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn link(mtu: u32) -> Link {
        Link { name: "lan0".to_owned(), mtu, ..Link::default() }
    }

    #[test]
    fn a_program_that_cannot_be_seen_is_nobodys_to_take_off() {
        let (interface, name) = ("lan0".to_owned(), "unknown".to_owned());
        let occupied = Error::Occupied { interface, id: 7, name, kind: "xdpdrv" };
        let seen = occupier(&link(1500), &occupied, true);
        assert!(seen.level == Level::Fail && seen.what.contains("detach it first"), "{seen:?}");
        let unseen = occupier(&link(1500), &occupied, false);
        assert_eq!((unseen.level, unseen.fix.as_deref()), (Level::Warn, Some("run it as root")));
        assert!(!unseen.what.contains("somebody else"), "{unseen:?}");
    }

    #[test]
    fn merged_packets_are_lost_in_generic_mode_only() {
        let on = Features { gro: Some(true), ..Features::default() };
        let finding = merging(&link(1500), &on, true).unwrap();
        assert_eq!(finding.fix.as_deref(), Some("ethtool -K lan0 gro off"));
        assert_eq!(merging(&link(1500), &on, false), None);
        assert_eq!(merging(&link(1500), &Features::default(), true), None, "the driver does not tell");
    }

    #[test]
    fn jumbo_frames_are_told_with_what_follows() {
        let finding = jumbo(AttachMode::Auto, &link(9000)).unwrap();
        assert_eq!(finding.fix.as_deref(), Some("ip link set dev lan0 mtu 3498"));
        assert!(finding.why.contains("generic mode is used"), "{}", finding.why);
        assert!(jumbo(AttachMode::Native, &link(9000)).unwrap().why.contains("does not start"));
        assert_eq!(jumbo(AttachMode::Generic, &link(9000)), None);
        assert_eq!(jumbo(AttachMode::Auto, &link(LARGEST_MTU)), None);
    }

    #[test]
    fn the_mode_is_foreseen() {
        let generic = |configured, unable: Option<&str>| {
            Mode { configured, unable: unable.map(str::to_owned) }.is_generic()
        };
        assert!(generic(AttachMode::Generic, None));
        assert!(!generic(AttachMode::Auto, None));
        assert!(generic(AttachMode::Auto, Some("br0")), "of all interfaces");
        assert!(!generic(AttachMode::Native, Some("br0")), "the agent refuses");
        assert!(!is_unable(&Ok(None)));
        // The loopback device has no native mode.
        let loopback = XdpFeatures::of(1);
        assert_eq!(is_unable(&loopback), matches!(loopback, Ok(Some(_))));
    }
}
