//! `cargo xtask fuzz`: what is read from outside, under libFuzzer. Targets are in `tests/fuzz`; so are the inputs that
//! are kept, which the tests run as well.

mod corpus;
mod page;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::{process, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs this target alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// How long each target runs, in minutes, up to a week; libFuzzer takes none for no end.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Lists the targets and what they read.
    #[arg(long)]
    list: bool,
    /// Answers in JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Replaces the inputs that are kept in tests/fuzz/corpus by a small set that reaches as far.
    #[arg(long)]
    keep: bool,
    /// Writes what came of it into the table of docs/reliability.md.
    #[arg(long)]
    write: bool,
}

/// One target.
struct Target {
    name: &'static str,
    reads: &'static str,
    /// Longest input that is tried, in bytes.
    longest: u32,
}

const fn target(name: &'static str, longest: u32, reads: &'static str) -> Target {
    Target { name, reads, longest }
}

const TARGETS: [Target; 16] = [
    target("agent-check", 512, "lines of HAProxy's agent-check"),
    target("amqp", 32, "answers to the AMQP header, 0-9-1 and 1.0"),
    target("api", 4096, "HTTP requests on the agent's socket"),
    target("config", 4096, "configuration files, and the controller on those that are good"),
    target("discovery", 4096, "answers of file_sd and http_sd, and the configuration with them"),
    target("drain", 1024, "JSON documents about drains"),
    target("frame", 512, "one frame, beside a live flow"),
    target("history", 4096, "files of the decision log"),
    target("json", 4096, "JSON telemetry, as the presets read it"),
    target("mqtt", 1024, "MQTT streams, 3.1.1 and 5"),
    target("packets", 1024, "sequences of packets and of changes of the configuration"),
    target("preset", 4096, "preset files, and a page read by them"),
    target("prometheus", 4096, "Prometheus text, as the presets read it"),
    target("selector", 256, "selectors of metrics"),
    target("stomp", 1024, "answers to a STOMP CONNECT"),
    target("sys", 4096, "$SYS topics, as the presets read them"),
];

/// An input that takes longer than this hangs, in seconds; the longest is a few kilobytes.
const TIMEOUT: u32 = 20;

/// Memory that a target may take, in MiB.
const MEMORY: u32 = 2048;

/// What the compiler must add: counters of the edges that are taken, and what comparisons compared. All of it works with
/// a stable compiler.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
    "-Ccodegen-units=4",
];

/// What came of one target.
#[derive(Serialize)]
struct Outcome {
    target: &'static str,
    /// Inputs that were tried.
    inputs: u64,
    /// Edges of the control flow that were reached.
    edges: u64,
    /// Seconds that it ran.
    seconds: u64,
    /// The input that broke a promise, kept as a regression.
    crash: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.list {
        return list(args.json);
    }
    let chosen = choose(&args.target)?;
    build(workspace, &chosen)?;
    let mut outcomes = Vec::new();
    for target in &chosen {
        let outcome = fuzz(workspace, target, Duration::from_secs(60 * args.minutes))?;
        if args.keep && outcome.crash.is_none() {
            corpus::keep(workspace, target.name, &program(workspace, target.name)?)?;
        }
        outcomes.push(outcome);
    }
    tell(&outcomes, args.json)?;
    if args.write {
        page::write(workspace, &outcomes)?;
    }
    match outcomes.iter().filter(|outcome| outcome.crash.is_some()).count() {
        0 => Ok(()),
        crashes => bail!("{crashes} targets broke a promise; mend it and commit the input with the change"),
    }
}

fn list(json: bool) -> Result<()> {
    if json {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        println!("{}", serde_json::to_string(&names)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["target", "reads"]);
    for target in &TARGETS {
        table.add_row([target.name, target.reads]);
    }
    println!("{table}");
    Ok(())
}

fn choose(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        let found = TARGETS.iter().find(|target| target.name == *name);
        found.with_context(|| format!("there is no target {name:?}; `cargo xtask fuzz --list` shows them"))
    };
    names.iter().map(find).collect()
}

/// Compiled for a target that is named, so that the flags do not concern what runs while compiling.
fn build(workspace: &Workspace, targets: &[&Target]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--locked", "--package", "balancer-fuzz", "--features", "libfuzzer"])
        .args(["--profile", "fuzz", "--target", &host()?, "--target-dir"])
        .arg(folder(workspace))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env_remove("BALANCER_BPF_OBJECT");
    for target in targets {
        cargo.arg("--bin").arg(format!("fuzz-{}", target.name));
    }
    process::run(&mut cargo)
        .context("failed to build the fuzz targets; libFuzzer needs a C++ compiler (`apt-get install g++`)")
}

fn host() -> Result<String> {
    let version = process::output(Command::new("rustc").arg("-vV")).context("rustc is not there")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it compiles for")?.to_owned())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("fuzz")
}

fn program(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    Ok(folder(workspace).join(host()?).join("fuzz").join(format!("fuzz-{name}")))
}

/// Runs one target until its time is over, or until an input breaks it.
fn fuzz(workspace: &Workspace, target: &Target, time: Duration) -> Result<Outcome> {
    let kept = workspace.root().join("tests/fuzz/corpus").join(target.name);
    let found = folder(workspace).join("corpus").join(target.name);
    let broken = folder(workspace).join("crashes").join(target.name);
    for folder in [&found, &broken] {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let words = corpus::dictionary(&kept, &folder(workspace).join(format!("{}.dict", target.name)))?;
    let log = folder(workspace).join(format!("{}.log", target.name));
    // Each run has a log of its own, which is read at its end.
    let _ = fs::remove_file(&log);
    let mut command = Command::new(program(workspace, target.name)?);
    command
        .args([&found, &kept])
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-max_len={}", target.longest))
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .args(words.map(|words| format!("-dict={}", words.display())))
        // Progress and results are on standard error; what a target prints is of no interest.
        .args(["-print_final_stats=1", "-close_fd_mask=1"])
        .arg(format!("-report_slow_units={TIMEOUT}"));
    let begun = Instant::now();
    let ended = process::logged(target.name, &mut command, time * 2 + Duration::from_secs(300), &log);
    let text = fs::read_to_string(&log).with_context(|| format!("failed to read {}", log.display()))?;
    let crash = match ended {
        Ok(()) => None,
        Err(error) => match corpus::take(&broken, &kept)? {
            Some(input) => {
                eprintln!("{error:#}\n{} is kept as {}", target.name, input.display());
                Some(input)
            }
            None => return Err(error),
        },
    };
    let said = |name: &str| text.lines().rev().find_map(|line| number_after(line, name));
    Ok(Outcome {
        target: target.name,
        inputs: said("stat::number_of_executed_units:").unwrap_or(0),
        edges: said(" cov: ").unwrap_or(0),
        seconds: begun.elapsed().as_secs(),
        crash,
    })
}

/// The number that follows a word.
fn number_after(line: &str, word: &str) -> Option<u64> {
    let (_, rest) = line.split_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

fn tell(outcomes: &[Outcome], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcomes)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header([
        "target",
        "inputs",
        "edges",
        "seconds",
        "broken by",
    ]);
    for outcome in outcomes {
        let crash = outcome.crash.as_ref().map_or("nothing".to_owned(), |input| input.display().to_string());
        table.add_row([
            outcome.target.to_owned(),
            outcome.inputs.to_string(),
            outcome.edges.to_string(),
            outcome.seconds.to_string(),
            crash,
        ]);
    }
    println!("{table}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn reads_what_libfuzzer_says() {
        let line = "#4096\tpulse  cov: 812 ft: 1994 corp: 92/3kb lim: 33 exec/s: 2048 rss: 61Mb";
        assert_eq!(number_after(line, " cov: "), Some(812));
        assert_eq!(number_after("stat::number_of_executed_units: 12345", "units:"), Some(12_345));
        assert_eq!(number_after("INFO: seed corpus", " cov: "), None);
    }

    /// Every target has a program and inputs, and nothing else does.
    #[test]
    fn targets_programs_and_inputs_go_together() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz");
        let names = |folder: &str| {
            let entries = fs::read_dir(fuzz.join(folder)).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names("targets"), targets);
        assert_eq!(names("corpus"), targets);
    }
}
