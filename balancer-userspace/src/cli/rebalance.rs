//! `balancer rebalance`

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use comfy_table::Table;

use super::output::{self, ago, json, percent, print};
use super::{Context, Exit, Failure};
use crate::api::wire::{Most, RebalanceRequest, Run, RunState, Runs, per_second};

/// Time between two looks at a run that is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `rebalance`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The service. Without it all services.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// How far above its share of the load a backend may stay, 1% to 100% of that share.
    #[arg(long, value_name = "PERCENT", value_parser = share, required_unless_present = "stop")]
    to: Option<f64>,
    /// Flows closed per second, as 10/s or 600/m.
    #[arg(long, value_name = "RATE", default_value = "10/s", value_parser = rate)]
    rate: f64,
    /// Most flows closed of a service in all: a number, or a part of its live flows.
    #[arg(long, value_name = "FLOWS|PERCENT", default_value = "10%", value_parser = most)]
    max: Most,
    /// Says how many flows of each backend would be closed, and closes none.
    #[arg(long)]
    dry_run: bool,
    /// Allows --max to be more than half of a service's live flows.
    #[arg(long)]
    force: bool,
    /// Waits for the end and shows how far it has come. Fails when it ends for another reason than that it is done.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Ends what is going on. Flows that are not closed by then go on.
    #[arg(long, conflicts_with_all = ["to", "rate", "max", "dry_run", "wait", "force"])]
    stop: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Shows rebalancings and paced drains that go on, and the last that ended.
    Status,
}

pub(super) async fn run(args: Args, context: &mut Context<'_>) -> Result<(), Failure> {
    if args.verb.is_some() {
        let runs = context.client.runs().await?;
        return Ok(show(
            context,
            &runs,
            "nothing has been rebalanced or drained at a pace since the agent started",
        )?);
    }
    if args.stop {
        let runs = context.client.stop_runs(args.service).await?;
        return Ok(show(context, &runs, "nothing was going on")?);
    }
    let request = RebalanceRequest {
        service: args.service,
        to: args.to.expect("clap asks for it"),
        rate: Some(args.rate),
        max: Some(args.max),
        dry_run: args.dry_run,
        force: args.force,
    };
    let runs = context.client.rebalance(&request).await?;
    if args.wait {
        return wait(context, runs).await;
    }
    show(context, &runs, "there is no service")?;
    if !context.json && runs.runs.iter().any(is_on) {
        let stop = "follow it with: balancer rebalance status; end it with: balancer rebalance --stop";
        writeln!(context.out, "\n{stop}")?;
    }
    Ok(())
}

/// Waits for the end of runs, and shows on standard error how far they have come.
pub(super) async fn wait(context: &mut Context<'_>, mut runs: Runs) -> Result<(), Failure> {
    let ids: Vec<u64> = runs.runs.iter().map(|run| run.id).collect();
    let mut said = String::new();
    while runs.runs.iter().any(is_on) {
        progress(&runs, &mut said)?;
        tokio::time::sleep(LOOK).await;
        runs = context.client.runs().await?;
        runs.runs.retain(|run| ids.contains(&run.id));
    }
    if !said.is_empty() && io::stderr().is_terminal() {
        writeln!(io::stderr())?;
    }
    show(context, &runs, "the agent was started again meanwhile")?;
    // Where the one that was begun is not known any more, nobody knows what became of it.
    let all_known = !ids.is_empty() && runs.runs.len() == ids.len();
    if all_known && runs.runs.iter().all(|run| run.done) { Ok(()) } else { Err(Failure::Told(Exit::Failed)) }
}

/// One line, written over on a terminal; elsewhere a line whenever it differs.
fn progress(runs: &Runs, said: &mut String) -> io::Result<()> {
    let lines: Vec<String> = runs.runs.iter().filter(|run| is_on(run)).map(line).collect();
    let line = lines.join("; ");
    if *said == line {
        return Ok(());
    }
    if io::stderr().is_terminal() {
        write!(io::stderr(), "\r\x1b[K{line}")?;
    } else {
        writeln!(io::stderr(), "{line}")?;
    }
    *said = line;
    Ok(())
}

const fn is_on(run: &Run) -> bool {
    matches!(run.state, RunState::Running | RunState::Waiting)
}

/// What a run is, and how far it has come.
pub(super) fn line(run: &Run) -> String {
    let planned = run.backends.iter().fold(0_u64, |sum, backend| sum.saturating_add(backend.planned));
    let mut line = format!("{}: {} of {planned} flows closed, {} listed", title(run), run.closed, run.listed);
    if !run.reason.is_empty() {
        line += &format!(" ({})", run.reason);
    }
    line
}

fn title(run: &Run) -> String {
    match (&run.backend, run.to) {
        (Some(backend), _) => format!("drain of {}/{backend} at {}", run.service, per_second(run.rate)),
        (None, to) => {
            let to = percent(to.unwrap_or(0.0));
            format!("rebalancing of {} to {to} at {}", run.service, per_second(run.rate))
        }
    }
}

fn show(context: &mut Context<'_>, runs: &Runs, none: &str) -> io::Result<()> {
    if context.json {
        return json(context.out, runs);
    }
    if runs.runs.is_empty() {
        return writeln!(context.out, "{none}");
    }
    for (index, run) in runs.runs.iter().enumerate() {
        if index > 0 {
            writeln!(context.out)?;
        }
        let age = age(run.state, run.age_seconds);
        writeln!(context.out, "{}: {}{age}", title(run), run.state.word())?;
        if !run.reason.is_empty() {
            writeln!(context.out, "{}", run.reason)?;
        }
        print(context.out, &table(run))?;
    }
    Ok(())
}

/// How long it has gone on, or went on until it ended.
fn age(state: RunState, seconds: f64) -> String {
    match state {
        RunState::Planned => String::new(),
        RunState::Running | RunState::Waiting => format!(" for {}", ago(seconds)),
        RunState::Ended => format!(" after {}", ago(seconds)),
    }
}

fn table(run: &Run) -> Table {
    let planned = if run.state == RunState::Planned { "WOULD CLOSE" } else { "TOO MANY" };
    let mut table = output::table(
        &["BACKEND", "LIVE", "SHARE", "LOAD", planned, "LISTED", "CLOSED"],
        &[1, 2, 3, 4, 5, 6],
    );
    for backend in &run.backends {
        table.add_row([
            format!("{}/{}", run.service, backend.name),
            backend.live.to_string(),
            percent(backend.share),
            format!("{:.3}", backend.load),
            backend.planned.to_string(),
            backend.listed.to_string(),
            backend.closed.to_string(),
        ]);
    }
    table
}

/// Reads `10%`.
fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match number {
        Some(percent) if (1.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        Some(_) | None => Err("write a percentage from 1% to 100%, as 10%".to_owned()),
    }
}

/// Reads `50/s`, `50` or `600/m` as flows per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let (number, seconds) = match text.split_once('/') {
        None | Some((_, "s")) => (text.strip_suffix("/s").unwrap_or(text), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some(_) => ("", 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number / seconds <= crate::api::wire::MAX_RATE => Ok(number / seconds),
        Ok(_) | Err(_) => Err("write flows per second or minute, as 50/s or 600/m".to_owned()),
    }
}

/// Reads `500` or `10%`.
fn most(text: &str) -> Result<Most, String> {
    let wrong = || "write a number of flows, as 500, or a percentage of the live ones, as 10%".to_owned();
    match text.strip_suffix('%') {
        None => text.trim().parse().map(Most::Flows).map_err(|_number| wrong()),
        Some(number) => match number.trim().parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Most::Share(percent / 100.0)),
            Ok(_) | Err(_) => Err(wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_tells_how_long_it_took_and_not_how_long_ago() {
        let text = |state| format!("{}{}", RunState::word(state), age(state, 3.0));
        assert_eq!(
            (text(RunState::Running), text(RunState::Planned)),
            ("running for 3.0s".into(), "planned".into())
        );
        assert_eq!(text(RunState::Ended), "ended after 3.0s");
    }

    #[test]
    fn numbers_are_read_with_their_units() {
        assert_eq!((share("10%"), share("1%"), share("100 %")), (Ok(0.1), Ok(0.01), Ok(1.0)));
        assert_eq!(
            (rate("50/s"), rate("50"), rate("90/m"), rate("0.5/s")),
            (Ok(50.0), Ok(50.0), Ok(1.5), Ok(0.5))
        );
        assert_eq!((most("500"), most("25%")), (Ok(Most::Flows(500)), Ok(Most::Share(0.25))));
        for text in ["10", "0%", "0.5%", "101%", "ten%", "", "%", "-5%"] {
            assert!(share(text).is_err(), "{text}");
        }
        for text in ["0/s", "-1/s", "50/h", "/s", "", "NaN", "inf", "1e9/s", "5/s/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["-1", "0%", "101%", "many", "", "1.5"] {
            assert!(most(text).is_err(), "{text}");
        }
    }
}
