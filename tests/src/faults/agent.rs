//! What happens to the agent.

mod memory;

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    catalogue::Fault,
    stage::{MQTT, Setting, Stage},
};
use crate::{
    agent::{Refusal, Start},
    interrupt,
    lab::Lab,
    netns, wait,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault::live(
        "agent-killed",
        "kill -9 of the agent; another one after five seconds",
        "new flows are opened while there is no agent; the next agent adopts the maps",
        killed,
    )
    .in_tests()
    .in_soak()
    .ends_agent(),
    Fault::live(
        "agent-restarted",
        "the agent is stopped and started, five times in a row",
        "each agent adopts the maps",
        restarted,
    )
    .in_soak()
    .ends_agent(),
    Fault::live(
        "agent-upgraded",
        "an agent whose maps have another layout takes the place of the one that runs, then the first one again, then \
         one with larger tables",
        "`balancer upgrade` says what will be carried over, and it is: to the other layout and back",
        upgraded,
    ),
    Fault::live(
        "agent-second",
        "a second agent is started on the same pins, five times",
        "each is refused and names the first, which goes on",
        second,
    )
    .in_soak(),
    Fault::live(
        "agent-reloads",
        "ten reloads a second for 20 s: weights, policies, a backend that leaves and comes back, and files with mistakes",
        "every good file is applied, every bad one refused",
        reloads,
    )
    .in_soak(),
    Fault::live(
        "agent-stopped",
        "SIGSTOP of the agent for 60 s",
        "new flows are opened meanwhile; it goes on as if nothing had been",
        stopped,
    )
    .in_soak(),
    Fault::live(
        "agent-pins-removed",
        "everything that is pinned is unlinked under the running agent",
        "the program stays attached; the agent says so and pins everything again, so that the next agent adopts it",
        pins_removed,
    )
    .in_tests(),
    Fault::live(
        "agent-bpffs-unmounted",
        "the BPF file system is unmounted under the running agent",
        "the program stays attached; the agent says so, and pins everything again once there is a BPF file system",
        bpffs_unmounted,
    )
    .prepared(own_bpffs),
    Fault::live(
        "agent-disk-full",
        "the file system of the agent's state, history, socket and log is full for 10 s",
        "drains are refused or told, not forgotten; the agent goes on and does not need the log",
        disk_full,
    )
    .prepared(small_disk),
    Fault::live(
        "agent-memory",
        "the agent may use 16 MiB more than at its start; then not a page more than the kernel can press it into",
        "it answers a thousand requests, and goes on in what is left; were it killed, the next adopts the maps",
        memory::pressed,
    )
    .prepared(memory::cell),
    Fault::live(
        "agent-oom",
        "the agent may not use a page more than it has, and is told to read a configuration of 7 MiB; another one after \
         five seconds",
        "the kernel kills the agent, and nobody else; new flows are opened meanwhile; the next agent adopts the maps",
        memory::out_of_memory,
    )
    .prepared(memory::cell),
    Fault::live(
        "agent-clock",
        "the agent's wall clock jumps by 10 years, back by 20, and to where it was",
        "states of backends and flows do not change; times in its log do",
        clock,
    )
    .prepared(fake_clock),
];

fn killed(stage: &mut Stage<'_>) -> Result<()> {
    stage.agent.kill()?;
    stage.go_on(5.0)?;
    let new = stage.open(10)?;
    stage.agent.start_again()?;
    stage.over();
    ensure_adopted(stage)?;
    for connection in &new {
        connection.echo(1_000)?;
    }
    Ok(())
}

fn ensure_adopted(stage: &Stage<'_>) -> Result<()> {
    ensure!(stage.status()?.agent.adopted, "the agent made maps of its own");
    Ok(())
}

fn restarted(stage: &mut Stage<'_>) -> Result<()> {
    for _ in 0..if stage.short { 2 } else { 5 } {
        stage.agent.stop()?;
        stage.agent.start_again()?;
        ensure_adopted(stage)?;
        stage.go_on(2.0)?;
    }
    Ok(())
}

/// Names the binary that has the layout to try upgrades with.
const TRIAL: &str = "BALANCER_TRIAL_BIN";

fn upgraded(stage: &mut Stage<'_>) -> Result<()> {
    let trial =
        env::var_os(TRIAL).with_context(|| format!("{TRIAL} names no binary: run this by cargo xtask"))?;
    let ours = stage.agent.control.program().to_owned();
    for program in [PathBuf::from(trial), ours] {
        stage.agent.stop()?;
        stage.agent.use_program(program);
        carried_over(stage)?;
    }
    stage.agent.stop()?;
    stage.plan.datapath.flows_v4 *= 2;
    stage.agent.write(&stage.plan)?;
    carried_over(stage)
}

/// Asks what a start would do, and starts the agent.
fn carried_over(stage: &mut Stage<'_>) -> Result<()> {
    let config = stage.agent.config();
    let config = config.to_str().context("the path of the configuration is text")?;
    let plan: serde_json::Value = stage.agent.control.json(&["upgrade", "--config", config])?;
    let flows = plan["plan"]["flows4"].as_u64().unwrap_or(0);
    ensure!(plan["ok"] == true && flows > 0, "balancer upgrade says: {plan}");
    stage.go_on(1.0)?;
    stage.agent.start_again()?;
    ensure_adopted(stage)?;
    let log = stage.agent.log();
    ensure!(log.contains("are carried over to maps of this version"), "the agent says:\n{log}");
    let again: serde_json::Value = stage.agent.control.json(&["upgrade", "--config", config])?;
    ensure!(again["plan"].is_null(), "it is not done: {again}");
    stage.go_on(2.0)
}

fn second(stage: &mut Stage<'_>) -> Result<()> {
    let pid = stage.agent.pid().context("the agent runs")?;
    for _ in 0..if stage.short { 1 } else { 5 } {
        let refusal = Refusal::of(stage.lab, &stage.plan, &stage.agent.pins(), &[])?;
        let holder = format!("another balancer agent (pid {pid}) holds");
        ensure!(refusal.said.contains(&holder), "the second agent says: {}", refusal.said);
    }
    ensure!(stage.status()?.agent.pid == pid, "another agent answers");
    Ok(())
}

fn reloads(stage: &mut Stage<'_>) -> Result<()> {
    let (every, n) = (Duration::from_millis(100), if stage.short { 20 } else { 200 });
    let before = stage.status()?.agent;
    let mut plan = stage.plan.clone();
    let (mut good, mut late) = (0_u32, 0_u32);
    let begun = Instant::now();
    for round in 0..n {
        let due = every * round;
        interrupt::pass(due.saturating_sub(begun.elapsed()))?;
        late += u32::from(begun.elapsed() > due + every);
        plan.service.clone_from(&stage.plan.service);
        let service = &mut plan.service[0];
        service.policy = ["adaptive", "least-conn", "round-robin"][stage.random.usize(..3)];
        service.backend[1].weight = Some(stage.random.u32(1..=1000));
        match round % 10 {
            3 => drop(service.backend.pop()),
            // A weight of 0 is a mistake.
            7 => service.backend[0].weight = Some(0),
            _ => {}
        }
        match (stage.agent.reload(&plan), round % 10 == 7) {
            (Ok(()), false) => good += 1,
            (Err(_), true) => {}
            (Ok(()), true) => anyhow::bail!("a weight of 0 was accepted"),
            (Err(error), false) => return Err(error),
        }
    }
    stage.agent.reload(&stage.plan)?;
    let took = begun.elapsed().as_secs_f64();
    stage.note(format!("{:.1} reloads/s", f64::from(n) / took));
    if late > 0 {
        stage.note(format!("{late} of {n} late"));
    }
    stage.over();
    let after = stage.status()?.agent;
    let applied = after.reloads_applied - before.reloads_applied;
    ensure!(applied >= u64::from(good), "{good} good files, {applied} applied");
    ensure!(
        after.reloads_refused - before.reloads_refused >= u64::from(n / 10),
        "bad files were not refused"
    );
    Ok(())
}

fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    stage.agent.signal(Signal::SIGSTOP)?;
    stage.go_on(60.0)?;
    let new = stage.open(10)?;
    stage.agent.signal(Signal::SIGCONT)?;
    stage.over();
    for connection in &new {
        connection.echo(1_000)?;
    }
    stage.recover()?;
    ensure!(stage.load.records().broken.is_empty() || !stage.excuses.is_empty(), "flows broke");
    Ok(())
}

fn pins_removed(stage: &mut Stage<'_>) -> Result<()> {
    fs::remove_dir_all(stage.agent.pins()).context("failed to remove the pins")?;
    // Traffic goes on at once, whatever the agent has noticed.
    stage.can_connect()?;
    stage.over();
    wait_pinned_again(stage)?;
    stage.agent.kill()?;
    stage.agent.start_again()?;
    ensure_adopted(stage)
}

fn wait_pinned_again(stage: &Stage<'_>) -> Result<()> {
    wait::until_ok("the agent to say so", wait::PATIENCE, || {
        ensure!(stage.agent.log().contains("they are pinned again"), "it says:\n{}", stage.agent.log());
        Ok(())
    })
}

/// A mount namespace whose BPF file system can go without harm to anybody else.
fn own_bpffs(_: &Lab, setting: &mut Setting) -> Result<()> {
    let script = "mount -t bpf bpf /sys/fs/bpf && exec \"$@\"";
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    setting.start.prefix = words.map(str::to_owned).to_vec();
    Ok(())
}

fn bpffs_unmounted(stage: &mut Stage<'_>) -> Result<()> {
    let pid = stage.agent.pid().context("the agent runs")?;
    let namespace = format!("--mount=/proc/{pid}/ns/mnt");
    let inside =
        |words: &[&str]| netns::run(std::process::Command::new("nsenter").arg(&namespace).args(words));
    inside(&["umount", "--lazy", "/sys/fs/bpf"])?;
    stage.can_connect()?;
    stage.over();
    wait_pinned_again(stage)?;
    let pins = stage.agent.pins().display().to_string();
    let pinned = inside(&["ls", &pins])?;
    ensure!(pinned.contains("FLOWS4") && pinned.contains("link_"), "pinned is only {pinned}");
    Ok(())
}

const DISK_KIB: u32 = 12 * 1024;

fn small_disk(_: &Lab, setting: &mut Setting) -> Result<()> {
    setting.start = Start { disk_kib: Some(DISK_KIB), ..Start::default() };
    Ok(())
}

fn disk_full(stage: &mut Stage<'_>) -> Result<()> {
    let junk = stage.agent.directory().join("junk");
    // Halves of what did not fit, until nothing does.
    let mut written = Vec::new();
    let mut size = DISK_KIB as usize * 1024;
    while size > 0 {
        let part = junk.with_extension(size.to_string());
        if fs::write(&part, vec![0xa5; size]).is_err() {
            size /= 2;
        } else if written.contains(&part) {
            break;
        }
        written.push(part);
    }
    let log = stage.agent.log().len();
    let drained = stage.agent.control.run(&["backend", "drain", "mqtt/broker1"]);
    stage.go_on(10.0)?;
    stage.can_connect()?;
    ensure!(stage.agent.log().len() < log + 8192, "the disk was not full");
    // A drain that could not be kept is refused, or the agent says that it will be forgotten.
    let state = stage.agent.control.backend(MQTT, "broker1")?;
    match &drained {
        Ok(_) => stage.note(format!("a drain was accepted: {}", state.reason)),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(
                text.contains("space") || text.contains("No space"),
                "the refusal does not say why: {text}"
            );
            stage.note("a drain was refused");
        }
    }
    for part in written {
        // Several names stand for parts that were never written.
        let _ = fs::remove_file(part);
    }
    stage.over();
    stage.agent.control.run(&["backend", "undrain", "mqtt/broker1"])?;
    stage.recover()?;
    stage.agent.kill()?;
    stage.agent.start_again()?;
    ensure_adopted(stage)
}

fn fake_clock(_: &Lab, setting: &mut Setting) -> Result<()> {
    let library = fake_library()?;
    let directory = tempfile::tempdir().context("failed to make a directory")?;
    let file = directory.path().join("clock");
    fs::write(&file, "+0").context("failed to write the clock")?;
    setting.start.prefix = vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        // Only the wall clock jumps, as by NTP or a battery that is empty.
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    setting.directory = Some(directory);
    Ok(())
}

fn fake_library() -> Result<PathBuf> {
    let roots = ["/usr/lib", "/usr/local/lib", "/usr/lib64"].map(PathBuf::from);
    let inside = |root: &PathBuf| {
        let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        below.chain([root.clone()]).collect::<Vec<_>>()
    };
    let mut places = roots.iter().flat_map(inside).map(|path| path.join("faketime/libfaketime.so.1"));
    places.find(|path| path.exists()).context("libfaketime is missing: install Debian's package faketime")
}

fn clock(stage: &mut Stage<'_>) -> Result<()> {
    let file = stage.directory.as_ref().context("the clock has a directory")?.path().join("clock");
    let before = stage.status()?;
    for jump in ["+3650d", "-3650d", "+0"] {
        fs::write(&file, jump).context("failed to write the clock")?;
        stage.go_on(5.0)?;
        stage.can_connect()?;
        let states = |status: &balancer_userspace::api::wire::Status| -> Vec<_> {
            status.backends.iter().map(|backend| (backend.name.clone(), backend.state)).collect()
        };
        let now = stage.status()?;
        ensure!(states(&now) == states(&before), "states changed after {jump}: {:?}", states(&now));
        let age = now.agent.uptime_seconds;
        ensure!(age < 3600.0, "it says that it has been running for {age} s");
    }
    let log = stage.agent.log();
    let years = |n: u32| log.lines().any(|line| line.starts_with(&n.to_string()));
    let year = |offset: i32| years(u32::try_from(this_year() + offset).unwrap_or_default());
    ensure!(year(10) || year(9), "the clock did not jump");
    ensure!(!log.contains("panicked"), "it panicked:\n{log}");
    Ok(())
}

/// By the average length of a year: one less or more does not matter here.
fn this_year() -> i32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    1970 + (now.as_secs() / 31_556_952) as i32
}
