//! `balancer log`

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::api::wire::{Log, LogEntry, MAX_ENTRIES};
use crate::api::{BackendName, LogFilter};

use super::output::json;
use super::{Context, Failure, time};

/// Time between two looks of `--follow`.
const PERIOD: Duration = Duration::from_secs(1);

/// Arguments of `log`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Not older than this: 10m, 2h, 3days.
    #[arg(long, value_name = "DURATION", value_parser = time::span)]
    since: Option<Duration>,
    /// About this service only.
    #[arg(long, conflicts_with = "backend")]
    service: Option<String>,
    /// About this backend and its whole service only.
    #[arg(long, value_name = "SERVICE/BACKEND")]
    backend: Option<BackendName>,
    /// The summaries as well, which come every 10 s and are thinned out as they age.
    #[arg(long)]
    summaries: bool,
    /// At most so many, the newest.
    #[arg(long, default_value_t = 1000, value_parser = limit)]
    limit: usize,
    /// Goes on with what is added, until it is interrupted; goes on while the agent is away. With --json one entry a line.
    #[arg(long, short)]
    follow: bool,
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=MAX_ENTRIES).contains(&limit) => Ok(limit),
        _ => Err(format!("write 1 to {MAX_ENTRIES}")),
    }
}

impl Args {
    fn filter(&self) -> LogFilter {
        let (service, backend) = match &self.backend {
            Some(BackendName { service, backend }) => (Some(service.clone()), Some(backend.clone())),
            None => (self.service.clone(), None),
        };
        let (since, summaries, limit) = (self.since, self.summaries, self.limit);
        LogFilter { since, service, backend, after: None, summaries, limit }
    }
}

pub(super) async fn run(args: &Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut filter = args.filter();
    let log = context.client.log(&filter).await?;
    let zone = TimeZone::system();
    if !args.follow {
        if context.json {
            json(context.out, &log)?
        } else {
            show(context.out, &log.entries, &zone)?
        }
        remarks(&log, args);
        return Ok(());
    }
    print(context, &log.entries, &zone)?;
    let mut last = log.newest;
    filter.since = None;
    filter.limit = MAX_ENTRIES;
    let mut away = false;
    loop {
        tokio::time::sleep(PERIOD).await;
        filter.after = Some(last);
        match context.client.log(&filter).await {
            Ok(log) => {
                away = false;
                print(context, &log.entries, &zone)?;
                // A log that begins anew counts from the wall clock, which may have been set back.
                last = if log.newest < last { 0 } else { log.newest };
            }
            Err(error) if error.may_pass() => {
                if !away {
                    let _ = writeln!(io::stderr(), "balancer: {error}; waiting for the agent");
                }
                away = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes entries as they come.
fn print(context: &mut Context<'_>, entries: &[LogEntry], zone: &TimeZone) -> io::Result<()> {
    if context.json {
        entries.iter().try_for_each(|entry| json(context.out, entry))?;
    } else {
        show(context.out, entries, zone)?;
    }
    context.out.flush()
}

/// Writes one line per entry.
pub(super) fn show(out: &mut dyn Write, entries: &[LogEntry], zone: &TimeZone) -> io::Result<()> {
    for entry in entries {
        writeln!(out, "{}  {}", time::local(&entry.time, zone), entry.text)?;
    }
    Ok(())
}

/// What the entries alone do not say.
fn remarks(log: &Log, args: &Args) {
    if log.truncated {
        let _ = writeln!(
            io::stderr(),
            "balancer: there are more than {}; raise --limit, or name --since, --service or --backend",
            args.limit
        );
    } else if let Some(begins) = &log.begins {
        let begins = time::local(begins, &TimeZone::system());
        let _ = writeln!(io::stderr(), "balancer: the decision log begins at {begins}");
    }
}
