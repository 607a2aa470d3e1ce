//! The three scenarios of a thesis on balancing MQTT, on real Mosquitto: which policy spreads the brokers' CPU best.
//!
//! Felix Breuer, *Smart Load Balancing MQTT Traffic an HiveMQ Cluster mit Envoy*, TH Köln, 2021,
//! <https://github.com/breuerfelix/bachelor-thesis>.

mod case;
mod page;
mod result;
mod stage;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use self::{
    case::{CASES, Case},
    result::{OURS, POLICIES, Results},
    stage::Played,
};
use crate::{
    cgroup::Preferred,
    chart::{Axes, draw},
    interrupt,
    lab::{Lab, LabOptions},
    scene::{screen::Screen, watch::by_broker},
};

/// Repeats of every policy in every scenario, unless told otherwise.
const REPEATS: u32 = 3;

/// Everything that was measured, in the directory `--out`.
const RUNS: &str = "scenarios.json";

/// What `--quick` plays: the product's policy and the three of the thesis.
const QUICK: [&str; 4] = [OURS, "least-conn", "weighted-cpu", "round-robin"];

/// Plays three scenarios on three Mosquitto brokers under every policy, and compares how evenly they load the brokers'
/// CPU.
///
/// The order of the runs is shuffled; each starts with fresh brokers, a fresh agent and fresh clients.
#[derive(Clone, Debug, Parser)]
#[command(name = "balancer-scenarios")]
pub struct Options {
    /// Plays each scenario once, under four policies: ten minutes.
    #[arg(long)]
    pub quick: bool,
    /// Prints the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Scenarios, separated by commas: S1, S2, S3, S3-rebalance; all unless given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Policies, separated by commas; all unless given.
    #[arg(long, value_name = "POLICIES", value_delimiter = ',')]
    pub policies: Vec<String>,
    /// How often each is played.
    #[arg(long, value_name = "N")]
    pub repeats: Option<u32>,
    /// Chooses the order of the runs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Plays only what is missing in the result in the directory `--out`, and adds to it.
    #[arg(long)]
    pub resume: bool,
    /// Directory for the charts and the result.
    #[arg(long, value_name = "DIR", default_value = "balancer-scenarios")]
    pub out: PathBuf,
    /// The folder `docs`, in which scenarios.md is written when everything was played.
    #[arg(long, value_name = "DIR")]
    pub docs: Option<PathBuf>,
}

/// One run to come.
#[derive(Clone, Copy, Debug)]
struct Turn {
    case: &'static Case,
    policy: &'static str,
    /// From 1.
    repeat: u32,
}

/// Plays everything that is asked for.
///
/// # Errors
/// A name is wrong, the lab could not be set up, a run failed twice, or it was interrupted.
pub fn run(options: &Options) -> Result<()> {
    interrupt::catch()?;
    let mut turns = turns(options)?;
    fs::create_dir_all(&options.out).with_context(|| format!("failed to make {}", options.out.display()))?;
    let mut results = if options.resume { read_runs(&options.out)? } else { Results::default() };
    turns.retain(|turn| results.of(turn.case.name, turn.policy).len() < turn.repeat as usize);
    let lab = Lab::new(LabOptions::default()).context("failed to set the lab up")?;
    // Whatever else the machine does, the brokers and their clients go first.
    let _preferred = Preferred::enter(lab.serial, "scenarios")?;
    play_all(options, &lab, &turns, &mut results)?;
    if let Some(docs) = options.docs.as_ref().filter(|_| results.is_whole()) {
        page::write(&results, options.seed, docs)?;
    }
    let mut out = std::io::stdout();
    if options.json {
        let text = serde_json::to_string_pretty(&results.json()).context("failed to write the result")?;
        writeln!(out, "{text}").context("failed to print the result")
    } else {
        write!(out, "{}", page::summary(&results)).context("failed to print the result")
    }
}

/// Plays one scenario once, and returns how unevenly it loaded the brokers: the standard deviation of the CPU that each
/// used of its own quota, percentage points.
///
/// # Errors
/// There is no such scenario or policy, the lab could not be set up, or the run failed.
pub fn play_once(scenario: &str, policy: &str) -> Result<f64> {
    let (case, policy) = (find_case(scenario)?, find_policy(policy)?);
    let lab = Lab::new(LabOptions::default()).context("failed to set the lab up")?;
    Ok(stage::play(&lab, case, policy, None, "")?.run.stddev_cpu)
}

/// Every run, in the order of play: repeat by repeat, each in an order of its own.
fn turns(options: &Options) -> Result<Vec<Turn>> {
    let cases: Vec<&'static Case> = if options.only.is_empty() {
        CASES.iter().collect()
    } else {
        options.only.iter().map(|name| find_case(name)).collect::<Result<_>>()?
    };
    let policies: Vec<&'static str> = match (options.policies.as_slice(), options.quick) {
        ([], false) => POLICIES.to_vec(),
        ([], true) => QUICK.to_vec(),
        (names, _) => names.iter().map(|name| find_policy(name)).collect::<Result<_>>()?,
    };
    let repeats = options.repeats.unwrap_or(if options.quick { 1 } else { REPEATS });
    ensure!(repeats > 0, "--repeats 0 plays nothing; give at least 1");
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut turns = Vec::new();
    for repeat in 1..=repeats {
        let of_case = |case: &&'static Case| {
            let (case, rivals) = (*case, case.rivals);
            let played = policies.iter().copied().filter(move |policy| rivals || *policy == OURS);
            played.map(move |policy| Turn { case, policy, repeat }).collect::<Vec<_>>()
        };
        let mut block: Vec<Turn> = cases.iter().flat_map(of_case).collect();
        random.shuffle(&mut block);
        turns.append(&mut block);
    }
    ensure!(!turns.is_empty(), "S3-rebalance is played under the policy {OURS} only; add it to --policies");
    Ok(turns)
}

fn find_case(name: &str) -> Result<&'static Case> {
    let found = CASES.iter().find(|case| case.name.eq_ignore_ascii_case(name));
    let known = || CASES.map(|case| case.name).join(", ");
    found.with_context(|| format!("--only: there is no scenario {name:?}; give some of {}", known()))
}

fn find_policy(name: &str) -> Result<&'static str> {
    let found = POLICIES.into_iter().find(|policy| *policy == name);
    found.with_context(|| {
        format!("--policies: there is no policy {name:?}; give some of {}", POLICIES.join(", "))
    })
}

/// Plays all turns, telling how far it is.
fn play_all(options: &Options, lab: &Lab, turns: &[Turn], results: &mut Results) -> Result<()> {
    let started = Instant::now();
    let all: f64 = turns.iter().map(|turn| turn.case.seconds()).sum();
    eprintln!("{} runs, about {:.0} minutes", turns.len(), all / 60.0);
    let mut done = 0.0;
    for (index, turn) in turns.iter().enumerate() {
        let Turn { case, policy, repeat } = *turn;
        let title = format!("run {} of {}: {} {policy}, repeat {repeat}", index + 1, turns.len(), case.name);
        let played = play_one(lab, turn, &title)?;
        write_chart(options, turn, &played)?;
        results.add(case, policy, played.run.clone());
        write_runs(&options.out, results)?;
        done += case.seconds();
        let left = started.elapsed().mul_f64((all - done) / done);
        eprintln!("{title}: {}; {}", page::line(&played.run), time_left(left));
    }
    eprintln!("charts of the runs are in {}", options.out.display());
    Ok(())
}

/// A run that fails for a reason of the machine's is played again, once.
fn play_one(lab: &Lab, turn: &Turn, title: &str) -> Result<Played> {
    let screen = || Some(Screen::new()).filter(Screen::can_redraw);
    let first = stage::play(lab, turn.case, turn.policy, screen(), title);
    let Err(error) = first else { return first };
    interrupt::check()?;
    eprintln!("{title} failed, and is played again: {error:#}");
    stage::play(lab, turn.case, turn.policy, screen(), title).with_context(|| format!("{title} failed twice"))
}

fn write_chart(options: &Options, turn: &Turn, played: &Played) -> Result<()> {
    let Turn { case, policy, repeat } = turn;
    let cpu = by_broker(&played.history, |moment, broker| Some(moment.brokers[broker].cpu * 100.0));
    let title = format!("{} under {policy}: CPU of each broker, of its quota", case.name);
    let svg = draw(&Axes::over_time(&title, "%"), &played.run.marks, &cpu)?;
    let path = options.out.join(format!("{}-{policy}-{repeat}.svg", case.name.to_lowercase()));
    fs::write(&path, svg).with_context(|| format!("failed to write {}", path.display()))
}

/// Written after every run: an interrupted series is resumed.
fn write_runs(out: &Path, results: &Results) -> Result<()> {
    let path = out.join(RUNS);
    let text = serde_json::to_string_pretty(results).context("failed to write the runs")?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn read_runs(out: &Path) -> Result<Results> {
    let path = out.join(RUNS);
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("--resume: failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("--resume: {} is not a result", path.display()))
}

fn time_left(left: Duration) -> String {
    let minutes = left.as_secs().div_ceil(60);
    if left.is_zero() { "done".to_owned() } else { format!("about {minutes} min left") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::try_parse_from([&["balancer-scenarios"], words].concat()).unwrap()
    }

    fn names(turns: &[Turn]) -> Vec<(&'static str, &'static str, u32)> {
        turns.iter().map(|turn| (turn.case.name, turn.policy, turn.repeat)).collect()
    }

    #[test]
    fn everything_is_played_three_times_in_an_order_that_the_seed_decides() {
        let once = names(&turns(&options(&[])).unwrap());
        assert_eq!(once.len(), 3 * (3 * POLICIES.len() + 1));
        assert_eq!(once, names(&turns(&options(&["--seed", "1"])).unwrap()));
        let other = names(&turns(&options(&["--seed", "2"])).unwrap());
        assert_ne!(once, other);
        let sorted = |mut turns: Vec<(&'static str, &'static str, u32)>| {
            turns.sort_unstable();
            turns
        };
        assert_eq!(sorted(once), sorted(other));
    }

    #[test]
    fn what_is_asked_for_is_played_and_no_more() {
        let some =
            turns(&options(&["--only", "s2", "--policies", "random,maglev", "--repeats", "2"])).unwrap();
        assert_eq!(some.len(), 4);
        assert!(some.iter().all(|turn| turn.case.name == "S2"));
        assert_eq!(turns(&options(&["--quick"])).unwrap().len(), 3 * QUICK.len() + 1);
    }

    #[test]
    fn wrong_names_are_named_with_what_to_write_instead() {
        let refusal = |words: &[&str]| turns(&options(words)).unwrap_err().to_string();
        assert!(refusal(&["--only", "S4"]).contains("\"S4\"; give some of S1, S2"));
        assert!(refusal(&["--policies", "best"]).contains("\"best\"; give some of adaptive"));
        assert!(refusal(&["--only", "S3-rebalance", "--policies", "random"]).contains("adaptive"));
        assert!(refusal(&["--repeats", "0"]).contains("at least 1"));
    }
}
