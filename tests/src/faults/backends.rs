//! What happens to brokers, and on the way to them.

use anyhow::{Context, Result, ensure};
use balancer_userspace::api::wire::BackendState;
use nix::sys::signal::Signal;

use super::{
    catalogue::Fault,
    stage::{MQTT, Setting, Stage, TCP},
};
use crate::{lab::Lab, wait::until_ok};

pub(super) const FAULTS: &[Fault] = &[
    Fault::live(
        "broker-killed",
        "kill -9 of one broker of three; it is started again after its clients have found others",
        "its clients are back by themselves; new flows go elsewhere until it answers",
        killed,
    )
    .in_tests(),
    Fault::live(
        "broker-hung",
        "SIGSTOP of one broker for 8 s: its kernel accepts connections, and nobody answers MQTT",
        "it is called down; its flows wait and go on",
        hung,
    )
    .in_soak(),
    Fault::live(
        "broker-slow",
        "one broker may use a hundredth of a core for 10 s",
        "whatever is thought of it meanwhile, its flows go on",
        slow,
    )
    .in_soak(),
    Fault::live(
        "broker-flapping",
        "probes of one broker fail and succeed, every second, for 20 s",
        "it goes down and comes up; `when_down = \"keep\"`",
        flapping,
    )
    .in_tests()
    .in_soak(),
    Fault::live(
        "broker-down-keep",
        "probes of one broker fail for 10 s",
        "`when_down = \"keep\"`: its flows go on all the time, new ones go elsewhere",
        down_keep,
    )
    .in_soak(),
    Fault::live(
        "broker-down-close",
        "`when_down = \"close\"`, `down_grace = \"4s\"`: probes of one broker fail for 2 s, and later for good",
        "within the grace nothing is closed; beyond it the flows of that broker, and of no other",
        down_close,
    )
    .prepared(close_after_grace),
    Fault::live(
        "machine-away",
        "the machine of one broker is off the network for 5 s: no RST, no ARP",
        "it is called down; its flows go on when it is back",
        machine_away,
    )
    .in_soak(),
    Fault::live(
        "machine-gone",
        "the same until its clients have given up",
        "its clients find others; it is called up again when it is back",
        machine_gone,
    ),
    Fault::live(
        "mac-moved",
        "the address of a broker moves to another MAC address, and that is announced (gratuitous ARP)",
        "packets go to the new MAC address",
        mac_moved,
    )
    .in_soak(),
    Fault::live(
        "mac-moved-silently",
        "the same, and nobody is told",
        "the kernel finds out, by what the broker asks itself or because probes go unanswered, and packets follow",
        mac_moved_silently,
    ),
    Fault::live(
        "route-changed",
        "a broker is reached by way of another for 5 s",
        "packets follow the route, there and back",
        route_changed,
    )
    .in_soak(),
    Fault::live(
        "all-hung",
        "SIGSTOP of all brokers for 8 s",
        "all go on; the service panics instead of refusing who comes",
        all_hung,
    ),
    Fault::live(
        "all-killed",
        "kill -9 of all brokers; all are started at once",
        "all clients are back by themselves",
        all_killed,
    ),
];

fn killed(stage: &mut Stage<'_>) -> Result<()> {
    stage.excuse(0, true, false, "was killed");
    stage.brokers[0].kill()?;
    stage.over();
    wait_state(stage, 0, BackendState::Down)?;
    stage.recover()?;
    let live = stage.load.records().live;
    ensure!(live.get("broker0").is_none_or(|live| *live == 0), "a flow goes to the dead");
    stage.brokers[0].start_again()?;
    wait_state(stage, 0, BackendState::Up)
}

fn wait_state(stage: &Stage<'_>, broker: usize, state: BackendState) -> Result<()> {
    wait_state_in(stage, MQTT, broker, state)
}

fn wait_state_in(stage: &Stage<'_>, service: &str, broker: usize, state: BackendState) -> Result<()> {
    stage.agent.control.wait_state(service, &stage.lab.brokers[broker].name, state)
}

fn signal(stage: &Stage<'_>, broker: usize, signal: Signal) -> Result<()> {
    stage.brokers[broker].process().context("the broker runs")?.signal(signal)
}

fn any(stage: &mut Stage<'_>) -> usize {
    stage.random.usize(..stage.brokers.len())
}

fn hung(stage: &mut Stage<'_>) -> Result<()> {
    let broker = any(stage);
    signal(stage, broker, Signal::SIGSTOP)?;
    let down = wait_state(stage, broker, BackendState::Down);
    stage.go_on(8.0)?;
    signal(stage, broker, Signal::SIGCONT)?;
    stage.over();
    down
}

fn slow(stage: &mut Stage<'_>) -> Result<()> {
    let broker = any(stage);
    stage.brokers[broker].limit(Some(0.01))?;
    let slow = stage.go_on(10.0);
    stage.brokers[broker].limit(None)?;
    stage.over();
    slow
}

/// Drops what the broker's machine says to the gateway itself, which is what probes hear; clients' packets are only
/// routed by it.
fn deafen(stage: &Stage<'_>, broker: usize, on: bool) -> Result<()> {
    let verb = if on { "add" } else { "del" };
    stage.lab.brokers[broker].netns.ip(&[format!("route {verb} blackhole 10.71.0.1/32")])
}

fn flapping(stage: &mut Stage<'_>) -> Result<()> {
    let broker = any(stage);
    let flaps = if stage.short { 2 } else { 10 };
    let mut went_down = 0;
    for _ in 0..flaps {
        deafen(stage, broker, true)?;
        crate::interrupt::pass(std::time::Duration::from_secs(1))?;
        let name = &stage.lab.brokers[broker].name;
        went_down += u32::from(stage.agent.control.backend(TCP, name)?.state == BackendState::Down);
        deafen(stage, broker, false)?;
        crate::interrupt::pass(std::time::Duration::from_secs(1))?;
    }
    stage.over();
    stage.note(format!("down {went_down} of {flaps} times"));
    ensure!(went_down > 0, "it never went down");
    Ok(())
}

fn down_keep(stage: &mut Stage<'_>) -> Result<()> {
    let broker = any(stage);
    deafen(stage, broker, true)?;
    let down = wait_state(stage, broker, BackendState::Down);
    // New flows are the other service's, which has probes of its own.
    let down = down.and_then(|()| wait_state_in(stage, TCP, broker, BackendState::Down));
    let new = stage.open(10);
    let went_on = stage.go_on(10.0);
    deafen(stage, broker, false)?;
    stage.over();
    down?;
    went_on?;
    let name = &stage.lab.brokers[broker].name;
    ensure!(new?.iter().all(|one| one.server != *name), "a new flow went to {name}");
    wait_state(stage, broker, BackendState::Up)
}

fn close_after_grace(_: &Lab, setting: &mut Setting) -> Result<()> {
    for service in &mut setting.plan.service {
        (service.when_down, service.down_grace) = (Some("close"), Some("4s"));
    }
    Ok(())
}

fn down_close(stage: &mut Stage<'_>) -> Result<()> {
    // A flap that is shorter than the grace.
    deafen(stage, 0, true)?;
    wait_state(stage, 0, BackendState::Down)?;
    crate::interrupt::pass(std::time::Duration::from_secs(2))?;
    deafen(stage, 0, false)?;
    wait_state(stage, 0, BackendState::Up)?;
    stage.recover()?;
    let broken = stage.load.records().broken.len() + stage.streams.broken().len();
    ensure!(broken == 0, "a flap broke {broken} flows");

    stage.excuse(0, true, true, "was down for longer than its grace, and `when_down` is \"close\"");
    let doomed = stage.streams.open_on("broker0");
    deafen(stage, 0, true)?;
    until_ok("its flows to be closed", crate::wait::PATIENCE, || {
        let left = stage.streams.open_on("broker0");
        ensure!(left == 0, "{left} of {doomed} are open");
        Ok(())
    })?;
    deafen(stage, 0, false)?;
    stage.over();
    wait_state(stage, 0, BackendState::Up)
}

fn plug(stage: &Stage<'_>, broker: usize, on: bool) -> Result<()> {
    let state = if on { "up" } else { "down" };
    stage.lab.switch.ip(&[format!("link set p{broker} {state}")])
}

fn machine_away(stage: &mut Stage<'_>) -> Result<()> {
    let broker = any(stage);
    plug(stage, broker, false)?;
    let down = wait_state(stage, broker, BackendState::Down);
    stage.go_on(5.0)?;
    plug(stage, broker, true)?;
    stage.over();
    down
}

fn machine_gone(stage: &mut Stage<'_>) -> Result<()> {
    stage.excuse(0, true, true, "was off the network for longer than its clients wait");
    plug(stage, 0, false)?;
    wait_state(stage, 0, BackendState::Down)?;
    let recovered = until_ok("its clients to find others", super::stage::PATIENCE, || {
        let live = stage.load.records().live;
        let left = live.get("broker0").copied().unwrap_or_default() + stage.streams.open_on("broker0");
        ensure!(left == 0, "{left} still wait");
        ensure!(stage.load.totals().connected == stage.load.totals().clients, "some are not connected");
        Ok(())
    });
    plug(stage, 0, true)?;
    stage.over();
    stage.do_not_count("clients that gave up could not tell its machine");
    recovered?;
    stage.recover()?;
    wait_state(stage, 0, BackendState::Up)
}

/// Gives a broker another MAC address, made of a random number.
fn move_mac(stage: &mut Stage<'_>, announced: bool) -> Result<()> {
    let broker = any(stage);
    let [a, b] = stage.random.u16(..).to_be_bytes();
    let mac = format!("02:00:00:00:{a:02x}:{b:02x}");
    let host = &stage.lab.brokers[broker];
    host.netns.enter(|| {
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/arp_notify", if announced { "1" } else { "0" })
    })??;
    host.netns.ip(&[format!("link set eth0 address {mac}")])?;
    stage.over();
    let name = &host.name;
    until_ok("packets to follow", super::stage::PATIENCE, || {
        let hop = stage.agent.control.backend(TCP, name)?.next_hop.unwrap_or_default();
        ensure!(hop.contains(&mac), "they go to {hop:?}, not to {mac}");
        Ok(())
    })
}

fn mac_moved(stage: &mut Stage<'_>) -> Result<()> {
    move_mac(stage, true)
}

fn mac_moved_silently(stage: &mut Stage<'_>) -> Result<()> {
    move_mac(stage, false)
}

fn route_changed(stage: &mut Stage<'_>) -> Result<()> {
    let [first, second] = [&stage.lab.brokers[0], &stage.lab.brokers[1]];
    second.netns.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    let by_way = format!("{} via {} dev lan0", first.v4, second.v4);
    let received = |stage: &Stage<'_>| -> Result<u64> {
        let text = stage.lab.brokers[1].netns.run("cat", &["/proc/net/snmp"])?;
        let line = text.lines().filter(|line| line.starts_with("Ip:")).nth(1).context("no counters")?;
        // ForwDatagrams is the sixth.
        line.split(' ').nth(6).context("no counter")?.parse().context("not a number")
    };
    let before = received(stage)?;
    stage.lab.gateway.ip(&[format!("route add {by_way}")])?;
    let went_on = stage.go_on(5.0);
    let forwarded = received(stage)? - before;
    stage.lab.gateway.ip(&[format!("route del {by_way}")])?;
    stage.over();
    went_on?;
    stage.note(format!("{forwarded} packets by the detour"));
    ensure!(forwarded > 20, "only {forwarded} packets took the route");
    Ok(())
}

fn all_hung(stage: &mut Stage<'_>) -> Result<()> {
    let all = 0..stage.brokers.len();
    for broker in all.clone() {
        signal(stage, broker, Signal::SIGSTOP)?;
    }
    let went_on = stage.go_on(8.0);
    let panics = stage.status()?.services.iter().any(|service| service.name == MQTT && service.panic);
    for broker in all {
        signal(stage, broker, Signal::SIGCONT)?;
    }
    stage.over();
    went_on?;
    ensure!(panics || stage.short, "the service did not panic");
    Ok(())
}

fn all_killed(stage: &mut Stage<'_>) -> Result<()> {
    for broker in 0..stage.brokers.len() {
        stage.excuse(broker, true, false, "was killed");
        stage.brokers[broker].kill()?;
    }
    stage.go_on(5.0)?;
    for broker in 0..stage.brokers.len() {
        stage.brokers[broker].start_again()?;
    }
    stage.over();
    Ok(())
}
