//! What happens to the gateway's interfaces.

use anyhow::{Context, Result, ensure};
use balancer_userspace::api::wire::XdpMode;

use super::{
    catalogue::Fault,
    stage::{Setting, Stage},
};
use crate::{
    lab::{GATEWAY4, Lab, VIP4},
    peer::{self, Pass},
    wait::{PATIENCE, until_ok},
};

pub(super) const FAULTS: &[Fault] = &[
    Fault::live(
        "lan-down-up",
        "the brokers' interface of the gateway goes down for two seconds, three times; there is a default route by the clients'",
        "the program stays attached",
        lan_down_up,
    )
    .in_soak(),
    Fault::live(
        "wan-down-up",
        "the clients' interface of the gateway goes down for two seconds, three times",
        "the program stays attached",
        wan_down_up,
    )
    .in_soak(),
    Fault::live(
        "mtu-changed",
        "the MTU of both interfaces changes from 1500 to 1280, 2000 and back",
        "the program stays attached",
        mtu_changed,
    )
    .in_soak(),
    Fault::live(
        "neighbours-gone",
        "the gateway's kernel forgets all its neighbours, ten times",
        "packets go on to where they went until the kernel knows better",
        neighbours_gone,
    )
    .in_tests()
    .in_soak(),
    Fault::live(
        "lan-recreated",
        "the brokers' interface is deleted and made again under its name; there is a default route by the clients'",
        "the agent says that it is gone, and attaches the program as soon as it is back",
        lan_recreated,
    )
    .in_tests(),
    Fault::live(
        "wan-recreated",
        "the clients' interface is deleted and made again under its name, with another MAC address",
        "the same; flows learn where their clients are",
        wan_recreated,
    )
    .in_tests(),
    Fault::live(
        "native-refused",
        "the driver of the brokers' interface refuses the program (the MTU of its peer is too large); then the agent is killed and started",
        "the agent says so and has the network stack run it on all interfaces (`mode = \"auto\"`)",
        native_refused,
    )
    .prepared(too_large_for_native),
    Fault::live(
        "foreign-program",
        "the configuration asks for an interface that runs somebody else's XDP program",
        "the reload is refused and names that program, which stays; everything else stays as it was",
        foreign_program,
    )
    .in_soak(),
];

fn down_up(stage: &mut Stage<'_>, interface: &str) -> Result<()> {
    for _ in 0..if stage.short { 1 } else { 3 } {
        stage.lab.gateway.ip(&[format!("link set {interface} down")])?;
        let went_on = stage.go_on(2.0);
        stage.lab.gateway.ip(&[format!("link set {interface} up")])?;
        stage.over();
        went_on?;
        stage.recover()?;
    }
    runs_on(stage, interface)
}

fn runs_on(stage: &Stage<'_>, interface: &str) -> Result<()> {
    let interfaces = stage.status()?.interfaces;
    ensure!(interfaces.iter().any(|one| one.name == interface), "the program is not there: {interfaces:?}");
    Ok(())
}

fn lan_down_up(stage: &mut Stage<'_>) -> Result<()> {
    with_default_route(stage, |stage| down_up(stage, "lan0"))
}

/// As on most gateways: while the brokers' interface is away, the route to them is the default one.
fn with_default_route(stage: &mut Stage<'_>, act: impl FnOnce(&mut Stage<'_>) -> Result<()>) -> Result<()> {
    let router = stage.lab.clients[0].v4;
    stage.lab.gateway.ip(&[format!("route add default via {router} dev wan0")])?;
    let result = act(stage);
    stage.lab.gateway.ip(&[format!("route del default via {router} dev wan0")])?;
    result
}

fn wan_down_up(stage: &mut Stage<'_>) -> Result<()> {
    down_up(stage, "wan0")
}

fn mtu_changed(stage: &mut Stage<'_>) -> Result<()> {
    for mtu in [1280, 2000, 1500] {
        stage.lab.gateway.ip(&[format!("link set lan0 mtu {mtu}"), format!("link set wan0 mtu {mtu}")])?;
        stage.go_on(3.0)?;
    }
    stage.over();
    runs_on(stage, "wan0")?;
    runs_on(stage, "lan0")
}

fn neighbours_gone(stage: &mut Stage<'_>) -> Result<()> {
    for _ in 0..if stage.short { 3 } else { 10 } {
        // There may be none to forget.
        let _ = stage.lab.gateway.ip(&["neigh flush dev lan0".to_owned(), "neigh flush dev wan0".to_owned()]);
        stage.go_on(0.5)?;
    }
    stage.over();
    Ok(())
}

fn lan_recreated(stage: &mut Stage<'_>) -> Result<()> {
    with_default_route(stage, recreate_lan)
}

fn recreate_lan(stage: &mut Stage<'_>) -> Result<()> {
    let before = index(stage, "lan0").context("the program runs on lan0")?;
    stage.lab.gateway.ip(&["link del lan0".to_owned()])?;
    let said = stage.wait_said("interface lan0 is gone");
    let switch = stage.lab.switch.name();
    stage.lab.gateway.ip(&[format!("link add lan0 type veth peer name gw0 netns {switch}")])?;
    stage.lab.switch.ip(&["link set gw0 master lan up".to_owned()])?;
    stage.passes.push(Pass::attach(&stage.lab.switch, "gw0")?);
    stage.lab.gateway.ip(&["addr add 10.71.0.1/24 dev lan0".to_owned(), "link set lan0 up".to_owned()])?;
    stage.over();
    said?;
    wait_anew(stage, "lan0", before)
}

fn wan_recreated(stage: &mut Stage<'_>) -> Result<()> {
    let before = index(stage, "wan0").context("the program runs on wan0")?;
    stage.lab.gateway.ip(&["link del wan0".to_owned()])?;
    let said = stage.wait_said("interface wan0 is gone");
    let client = &stage.lab.clients[0];
    let peer = client.netns.name();
    stage.lab.gateway.ip(&[format!("link add wan0 type veth peer name eth0 netns {peer}")])?;
    client.netns.run("ethtool", &["-K", "eth0", "tx", "off"])?;
    stage.passes.push(Pass::attach(&client.netns, "eth0")?);
    stage.lab.gateway.ip(&[
        format!("addr add {GATEWAY4}/24 dev wan0"),
        format!("addr add {VIP4}/32 dev wan0"),
        "link set wan0 up".to_owned(),
    ])?;
    client.netns.ip(&[
        format!("addr add {}/24 dev eth0", client.v4),
        "link set eth0 up".to_owned(),
        format!("route add default via {GATEWAY4} dev eth0"),
    ])?;
    stage.over();
    said?;
    wait_anew(stage, "wan0", before)
}

fn index(stage: &Stage<'_>, name: &str) -> Option<u32> {
    let interfaces = stage.status().ok()?.interfaces;
    interfaces.iter().find(|interface| interface.name == name).map(|interface| interface.index)
}

fn wait_anew(stage: &Stage<'_>, name: &str, before: u32) -> Result<()> {
    until_ok("the program to run there again", PATIENCE, || {
        let now = index(stage, name).context("it does not")?;
        ensure!(now != before, "the interface was not made anew");
        Ok(())
    })
}

/// `veth_xdp_set` of the kernel's `drivers/net/veth.c` refuses a program when the peer sends more than fits a page.
fn too_large_for_native(lab: &Lab, setting: &mut Setting) -> Result<()> {
    setting.plan.datapath.mode = "auto";
    lab.switch.ip(&["link set gw0 mtu 9000".to_owned()])
}

fn native_refused(stage: &mut Stage<'_>) -> Result<()> {
    let all_generic = |stage: &Stage<'_>| -> Result<()> {
        let interfaces = stage.status()?.interfaces;
        let all = interfaces.len() == 2 && interfaces.iter().all(|one| one.mode == XdpMode::Generic);
        ensure!(all, "not all are generic: {interfaces:?}");
        Ok(())
    };
    all_generic(stage)?;
    let log = stage.agent.log();
    ensure!(log.contains("interface lan0 cannot run the program in its driver"), "it says:\n{log}");
    stage.agent.kill()?;
    stage.go_on(2.0)?;
    stage.agent.start_again()?;
    stage.over();
    ensure!(stage.status()?.agent.adopted, "the agent made maps of its own");
    all_generic(stage)
}

fn foreign_program(stage: &mut Stage<'_>) -> Result<()> {
    stage.lab.gateway.ip(&[
        "link add spare0 type veth peer name spare1".to_owned(),
        "link set spare0 up".to_owned(),
        "link set spare1 up".to_owned(),
    ])?;
    let pass = Pass::attach(&stage.lab.gateway, "spare0")?;
    let mut plan = stage.plan.clone();
    plan.datapath.interfaces = Some(vec!["wan0", "lan0", "spare0"]);
    let refusal = stage.agent.reload(&plan);
    let links = stage.lab.gateway.run("ip", &["-d", "link", "show", "spare0"]);
    stage.agent.reload(&stage.plan)?;
    drop(pass);
    stage.lab.gateway.ip(&["link del spare0".to_owned()])?;
    stage.over();
    let Err(refusal) = refusal else { anyhow::bail!("the agent took spare0 from somebody else") };
    let refusal = format!("{refusal:#}");
    let named = refusal.contains("spare0") && refusal.contains(&format!("name {}", peer::NAME));
    ensure!(named, "the refusal says only: {refusal}");
    ensure!(links?.contains("xdp"), "the other program was evicted");
    Ok(())
}
