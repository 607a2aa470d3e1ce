//! The log: one line per event on standard error, which systemd's journal keeps.
//!
//! - `error`: the agent cannot do something it is there for. Somebody should get up.
//! - `warn`: it does it in a worse way, or an outside thing is wrong. Somebody should look in the morning.
//! - `info`: what changed: states of backends, commands of people, reloads.
//! - `debug`: every probe, reading and command. `trace`: libraries too.
//!
//! Never logged: passwords, tokens, the hash key.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;

/// Changes the level of the log that is running.
static FILTER: OnceLock<reload::Handle<Targets, tracing_subscriber::Registry>> = OnceLock::new();

/// Starts the log of this process. A second call in one process changes nothing.
pub fn start(level: LogLevel) {
    let (filter, handle) = reload::Layer::new(targets(level));
    let journal = std::env::var("JOURNAL_STREAM").ok();
    let in_journal = journal.is_some_and(|stream| is_stream(&stream, &io::stderr()).unwrap_or(false));
    let coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(coloured).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // The journal has times of its own.
    let started = if in_journal {
        registry.with(lines.without_time().map_event_format(ForJournal)).try_init()
    } else {
        registry.with(lines).try_init()
    };
    if started.is_ok() {
        // A log is started once, so there is no other handle.
        let _ = FILTER.set(handle);
    }
}

/// Whether `output` is what `stream` names, as `DEVICE:INODE`. The variable that names the journal's is inherited by programs
/// whose output goes to a terminal or a file (systemd.exec(5)).
fn is_stream(stream: &str, output: &impl AsFd) -> io::Result<bool> {
    let found = File::from(output.as_fd().try_clone_to_owned()?).metadata()?;
    Ok(stream == format!("{}:{}", found.dev(), found.ino()))
}

/// Lines that begin with their priority, by which the journal selects (sd-daemon(3)).
struct ForJournal<F>(F);

impl<S, N, F> FormatEvent<S, N> for ForJournal<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Takes another level, as after a reload.
pub fn set(level: LogLevel) {
    if let Some(Err(error)) = FILTER.get().map(|filter| filter.reload(targets(level))) {
        tracing::warn!(%error, "failed to change the level of the log");
    }
}

/// The agent's own events from `level` on; libraries' from `warn` on, or all at `trace`.
fn targets(level: LogLevel) -> Targets {
    let filter = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = if level == LogLevel::Trace { LevelFilter::TRACE } else { filter.min(LevelFilter::WARN) };
    Targets::new().with_default(libraries).with_target("balancer", filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journals() {
        let output = tempfile::tempfile().unwrap();
        let found = output.metadata().unwrap();
        assert!(is_stream(&format!("{}:{}", found.dev(), found.ino()), &output).unwrap());
        for other in ["", "1:1", ":", &format!("{}:{}", found.ino(), found.dev())] {
            assert!(!is_stream(other, &output).unwrap(), "{other}");
        }
    }
}
