//! Which CPU works on which packet: receive queues, their interrupts, and memory nodes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Finding;
use super::host::read;
use crate::kernel::net::Link;

/// Commands that a fix spells out; whoever has more interrupts than that writes a loop.
const SPELT_OUT: usize = 8;

/// What of an interrupt's name tells that it is for received packets.
const RECEIVE: [&str; 5] = ["rx", "input", "comp", "queue", "channel"];

/// An interrupt of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interrupt {
    number: u32,
    /// CPUs that may serve it; the kernel picks one of them.
    cpus: Vec<u32>,
}

/// What was found of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Interrupts for received packets.
    interrupts: Vec<Interrupt>,
    /// CPUs that are switched on.
    cpus: Vec<u32>,
    /// Receive queues of the network stack.
    queues: usize,
    /// Whether the stack spreads received packets over CPUs.
    steered: bool,
    /// The memory node that the card is at, where there is more than one, and its CPUs.
    node: Option<(u32, Vec<u32>)>,
}

/// Examines one interface. `generic` says that the program runs in the network stack.
pub(super) fn examine(link: &Link, generic: bool) -> Vec<Finding> {
    // Virtual devices get their parallelism from whoever sends.
    if link.kind.is_some() || link.name == "lo" {
        return Vec::new();
    }
    let seen = Seen::of(Path::new("/"), &link.name);
    [interrupts(&link.name, &seen), steering(&link.name, &seen, generic), node(&link.name, &seen)]
        .into_iter()
        .flatten()
        .collect()
}

/// Interrupts that share a CPU while others have none.
fn interrupts(name: &str, seen: &Seen) -> Option<Finding> {
    let number = seen.interrupts.len();
    let first = |interrupt: &Interrupt| interrupt.cpus.first().copied();
    let served: BTreeSet<u32> = seen.interrupts.iter().filter_map(first).collect();
    if number < 2 || seen.cpus.len() < 2 {
        return None;
    }
    let check = format!("interrupts {name}");
    if served.len() >= number.min(seen.cpus.len()) {
        let what = format!("{number} receive interrupts go to {} CPUs", served.len());
        return Some(Finding::ok(check, what));
    }
    let cpus = seen.node.as_ref().map_or(&seen.cpus, |(_, cpus)| cpus);
    let mut commands: Vec<String> = (seen.interrupts.iter().zip(cpus.iter().cycle()))
        .map(|(interrupt, cpu)| format!("echo {cpu} > /proc/irq/{}/smp_affinity_list", interrupt.number))
        .take(SPELT_OUT)
        .collect();
    if number > SPELT_OUT {
        commands.push("and so on".to_owned());
    }
    let what = format!("{number} receive interrupts go to {} of {} CPUs", served.len(), seen.cpus.len());
    Some(
        Finding::warn(check, what)
            .because("the program runs where the interrupt is served; irqbalance, where it runs, may move them again")
            .fix(commands.join("; ")),
    )
}

/// Receive packet steering: in generic mode it spreads the program's work, in native mode it comes behind it.
fn steering(name: &str, seen: &Seen, generic: bool) -> Option<Finding> {
    let check = format!("rps {name}");
    if generic && !seen.steered && seen.queues == 1 && seen.cpus.len() > 1 {
        return Some(
            Finding::warn(check, "one receive queue, and the network stack does not spread its packets")
                .because("one CPU runs the program for all packets; in generic mode the stack can give them to others first")
                .fix(format!("echo {} > /sys/class/net/{name}/queues/rx-0/rps_cpus", mask(&seen.cpus))),
        );
    }
    (!generic && seen.steered).then(|| {
        Finding::ok(check, "the network stack spreads received packets over CPUs").because(
            "in native mode it does so behind the program, with what is passed to the host; more receive queues \
             (ethtool -L) spread the program's work",
        )
    })
}

/// Cards and CPUs at different memory nodes.
fn node(name: &str, seen: &Seen) -> Option<Finding> {
    let (node, cpus) = seen.node.as_ref()?;
    let check = format!("numa {name}");
    let elsewhere: Vec<&Interrupt> = (seen.interrupts.iter())
        .filter(|interrupt| !interrupt.cpus.iter().any(|cpu| cpus.contains(cpu)))
        .collect();
    let why = "each access to memory of another node takes half as long again or more, and the flow tables are made \
               at the node that the agent starts on";
    if elsewhere.is_empty() {
        return Some(
            Finding::ok(check, format!("the card is at memory node {node}"))
                .because(why)
                .fix(format!("NUMAPolicy=bind and NUMAMask={node} in the service's unit")),
        );
    }
    let commands: Vec<String> = (elsewhere.iter().zip(cpus.iter().cycle()))
        .map(|(interrupt, cpu)| format!("echo {cpu} > /proc/irq/{}/smp_affinity_list", interrupt.number))
        .take(SPELT_OUT)
        .collect();
    let what =
        format!("the card is at memory node {node}, {} of its interrupts go to other nodes", elsewhere.len());
    Some(
        Finding::warn(check, what).because(why).fix(format!(
            "{}; and NUMAPolicy=bind, NUMAMask={node} in the service's unit",
            commands.join("; ")
        )),
    )
}

impl Seen {
    /// Reads what `/sys` and `/proc` below `root` say.
    fn of(root: &Path, name: &str) -> Self {
        let device = root.join("sys/class/net").join(name);
        let queues = numbered(&device.join("queues"), "rx-");
        let cpus = list(&read(root.join("sys/devices/system/cpu/online")).unwrap_or_default());
        Self {
            interrupts: interrupts_of(root, &device),
            cpus,
            queues: queues.len(),
            steered: queues.iter().any(|queue| {
                let mask = read(device.join(format!("queues/rx-{queue}/rps_cpus"))).unwrap_or_default();
                mask.chars().any(|digit| !matches!(digit, '0' | ','))
            }),
            node: node_of(root, &device),
        }
    }
}

/// Those for received packets, or all where names do not tell.
fn interrupts_of(root: &Path, device: &Path) -> Vec<Interrupt> {
    // A virtio device is one below the PCI device that has the interrupts.
    let places = [device.join("device/msi_irqs"), device.join("device/../msi_irqs")];
    let numbers = places.iter().map(|place| numbered(place, "")).find(|found| !found.is_empty());
    let mut all: Vec<(Interrupt, bool)> = Vec::new();
    for number in numbers.unwrap_or_default() {
        let place = root.join(format!("proc/irq/{number}"));
        let affinity = read(place.join("effective_affinity_list"))
            .filter(|text| !text.is_empty())
            .or_else(|| read(place.join("smp_affinity_list")));
        let Some(affinity) = affinity else { continue };
        let name = directories(&place).join(" ").to_lowercase();
        let receives = RECEIVE.iter().any(|part| name.contains(part));
        all.push((Interrupt { number, cpus: list(&affinity) }, receives));
    }
    let named = all.iter().any(|(_, receives)| *receives);
    all.into_iter().filter(|(_, receives)| *receives || !named).map(|(interrupt, _)| interrupt).collect()
}

/// `None` on a machine with one node, or for a device that is at none.
fn node_of(root: &Path, device: &Path) -> Option<(u32, Vec<u32>)> {
    let nodes = root.join("sys/devices/system/node");
    if numbered(&nodes, "node").len() < 2 {
        return None;
    }
    // -1 where the firmware does not say.
    let node: u32 = read(device.join("device/numa_node"))?.parse().ok()?;
    let cpus = list(&read(nodes.join(format!("node{node}/cpulist")))?);
    (!cpus.is_empty()).then_some((node, cpus))
}

/// Numbers of the entries called `prefix` and a number, in order.
fn numbered(directory: &Path, prefix: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = entries(directory)
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Names of the directories in one: an interrupt has one for each handler.
fn directories(directory: &Path) -> Vec<String> {
    let directories = entries(directory).into_iter().filter(|path| path.is_dir());
    directories.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Numbers of a list as the kernel writes it: `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

/// CPUs as the kernel reads masks: groups of 32 bits in hexadecimal, the highest first.
fn mask(cpus: &[u32]) -> String {
    let groups = cpus.iter().max().map_or(1, |last| last / 32 + 1);
    let group = |number: u32| {
        let own = cpus.iter().filter(|cpu| *cpu / 32 == number);
        own.fold(0_u32, |mask, cpu| mask | 1 << (cpu % 32))
    };
    let words: Vec<String> = (0..groups)
        .rev()
        .map(|number| {
            if number + 1 == groups {
                format!("{:x}", group(number))
            } else {
                format!("{:08x}", group(number))
            }
        })
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn interrupt(number: u32, cpu: u32) -> Interrupt {
        Interrupt { number, cpus: vec![cpu] }
    }

    #[test]
    fn lists_and_masks_are_the_kernels() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert!(list("").is_empty());
        assert_eq!(mask(&[0, 1, 2, 3]), "f");
        assert_eq!(mask(&[0, 33]), "2,00000001");
    }

    #[test]
    fn interrupts_that_share_a_cpu_are_spread() {
        let mut seen = Seen {
            interrupts: vec![interrupt(41, 0), interrupt(42, 0)],
            cpus: vec![0, 1],
            ..Seen::default()
        };
        let finding = interrupts("eth0", &seen).unwrap();
        assert_eq!(
            (finding.level, finding.what.as_str()),
            (Level::Warn, "2 receive interrupts go to 1 of 2 CPUs")
        );
        let fix = "echo 0 > /proc/irq/41/smp_affinity_list; echo 1 > /proc/irq/42/smp_affinity_list";
        assert_eq!(finding.fix.as_deref(), Some(fix));
        seen.interrupts[1].cpus = vec![1];
        assert_eq!(interrupts("eth0", &seen).unwrap().level, Level::Ok);
        seen.interrupts.truncate(1);
        assert_eq!(interrupts("eth0", &seen), None, "there is nothing to spread");
    }

    #[test]
    fn packet_steering_helps_in_generic_mode_only() {
        let mut seen = Seen { cpus: vec![0, 1, 2], queues: 1, ..Seen::default() };
        let finding = steering("eth0", &seen, true).unwrap();
        let fix = "echo 7 > /sys/class/net/eth0/queues/rx-0/rps_cpus";
        assert_eq!((finding.level, finding.fix.as_deref()), (Level::Warn, Some(fix)));
        assert_eq!(steering("eth0", &seen, false), None);
        seen.steered = true;
        assert_eq!(steering("eth0", &seen, true), None);
        assert_eq!(steering("eth0", &seen, false).unwrap().level, Level::Ok);
    }

    #[test]
    fn interrupts_at_another_node_are_brought_home() {
        let mut seen = Seen {
            interrupts: vec![interrupt(41, 0), interrupt(42, 9)],
            cpus: (0..16).collect(),
            node: Some((1, (8..16).collect())),
            ..Seen::default()
        };
        let finding = node("eth0", &seen).unwrap();
        assert_eq!(finding.level, Level::Warn);
        let fix =
            "echo 8 > /proc/irq/41/smp_affinity_list; and NUMAPolicy=bind, NUMAMask=1 in the service's unit";
        assert_eq!(finding.fix.as_deref(), Some(fix));
        seen.interrupts[0].cpus = vec![8];
        assert_eq!(node("eth0", &seen).unwrap().level, Level::Ok);
        seen.node = None;
        assert_eq!(node("eth0", &seen), None);
    }

    #[test]
    fn a_machine_is_read() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("sys/devices/system/cpu/online", "0-3\n");
        put("sys/devices/system/node/node0/cpulist", "0-1\n");
        put("sys/devices/system/node/node1/cpulist", "2-3\n");
        put("sys/class/net/eth0/device/numa_node", "1\n");
        for (number, name, cpu) in [(40, "eth0", "0"), (41, "eth0-TxRx-0", "2"), (42, "eth0-TxRx-1", "3")] {
            put(&format!("sys/class/net/eth0/device/msi_irqs/{number}"), "msix\n");
            put(&format!("proc/irq/{number}/effective_affinity_list"), cpu);
            put(&format!("proc/irq/{number}/{name}/spurious"), "");
        }
        put("sys/class/net/eth0/queues/rx-0/rps_cpus", "00,00000003\n");
        put("sys/class/net/eth0/queues/rx-1/rps_cpus", "00,00000000\n");
        let seen = Seen::of(root.path(), "eth0");
        let expected = Seen {
            interrupts: vec![interrupt(41, 2), interrupt(42, 3)],
            cpus: vec![0, 1, 2, 3],
            queues: 2,
            steered: true,
            node: Some((1, vec![2, 3])),
        };
        assert_eq!(seen, expected);
        assert!(Seen::of(root.path(), "eth1").interrupts.is_empty());
    }
}
