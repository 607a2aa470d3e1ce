//! `balancer backend`

use std::io::{self, Write};

use comfy_table::Table;

use crate::api::BackendName;
use crate::api::wire::{Backend, BackendState, Budget, DrainRequest, per_second};

use super::output::{self, ago, json, or_dash, percent, print};
use super::{Context, Failure, rebalance, service};

/// Verbs of `backend`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Lists the backends.
    List {
        /// Of this service only.
        #[arg(value_name = "SERVICE")]
        service: Option<String>,
    },
    /// Steers no new flows to a backend; those it has continue, or are closed at a pace.
    Drain {
        /// The backend.
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendName,
        /// Closes its flows, so many per second, most idle first: 50/s or 600/m.
        #[arg(long, value_name = "RATE", value_parser = rebalance::rate)]
        rate: Option<f64>,
        /// Also when no other backend takes new flows.
        #[arg(long, requires = "rate")]
        force: bool,
        /// Waits until the last flow is closed and shows how far it has come.
        #[arg(long, requires = "rate")]
        wait: bool,
    },
    /// Ends the drain of a backend.
    Undrain {
        /// The backend.
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendName,
    },
    /// Overrides the weight of a backend until it is reset.
    Weight {
        /// The backend.
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendName,
        /// The weight, 1 to 1000.
        #[arg(required_unless_present = "reset", conflicts_with = "reset", value_parser = clap::value_parser!(u32).range(1..=1000))]
        weight: Option<u32>,
        /// Takes the weight of the configuration again.
        #[arg(long)]
        reset: bool,
    },
}

pub(super) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List { service } => {
            let backends = match service {
                None => context.client.backends().await?,
                Some(name) => service::backends_of(&context.client.status().await?, &name)?.1,
            };
            if context.json { json(context.out, &backends)? } else { print(context.out, &table(&backends))? }
        }
        Verb::Drain { backend, rate: None, .. } => {
            let after = context.client.drain(&backend, true).await?;
            changed(context, &after, |out| {
                writeln!(out, "{backend} takes no new flows; it has {} live", after.live)
            })?;
        }
        Verb::Drain { backend, rate: Some(rate), force, wait } => {
            let after = context.client.drain_at(&backend, &DrainRequest { rate, force }).await?;
            if wait {
                let mut runs = context.client.runs().await?;
                runs.runs.retain(|run| {
                    run.service == backend.service && run.backend.as_ref() == Some(&backend.backend)
                });
                // The last of them is the one that was just begun.
                runs.runs.drain(..runs.runs.len().saturating_sub(1));
                return rebalance::wait(context, runs).await;
            }
            changed(context, &after, |out| {
                writeln!(
                    out,
                    "{backend} takes no new flows; the {} it has are closed at {}; follow it with: \
                     balancer rebalance status; end it with: balancer rebalance {} --stop",
                    after.live,
                    per_second(rate),
                    backend.service
                )
            })?;
        }
        Verb::Undrain { backend } => {
            let after = context.client.drain(&backend, false).await?;
            changed(context, &after, |out| match after.state {
                BackendState::Up => writeln!(out, "{backend} takes new flows"),
                BackendState::Starting
                | BackendState::Down
                | BackendState::Draining
                | BackendState::Drained
                | BackendState::Exhausted
                | BackendState::Ejected => {
                    writeln!(
                        out,
                        "{backend} is no longer drained by hand, and is {}: {}",
                        after.state.word(),
                        after.reason
                    )
                }
            })?;
        }
        Verb::Weight { backend, weight, .. } => {
            let after = context.client.weight(&backend, weight).await?;
            changed(context, &after, |out| {
                writeln!(
                    out,
                    "{backend} has weight {}; the configuration says {}",
                    after.weight, after.configured_weight
                )
            })?;
        }
    }
    Ok(())
}

/// Says what changed: in words, or the backend afterwards in JSON.
fn changed(
    context: &mut Context<'_>,
    after: &Backend,
    say: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if context.json { json(context.out, after) } else { say(context.out) }
}

const HEADER: [&str; 13] = [
    "BACKEND", "ADDRESS", "STATE", "FOR", "LIVE", "CAP", "OPENED", "WEIGHT", "RING", "SCORE", "CPU",
    "SAMPLE", "NOTE",
];

pub(super) fn table(backends: &[Backend]) -> Table {
    let mut table = output::table(&HEADER, &[3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for backend in backends {
        table.add_row([
            format!("{}/{}", backend.service, backend.name),
            backend.address.to_string(),
            backend.state.word().to_owned(),
            ago(backend.state_seconds),
            backend.live.to_string(),
            or_dash(backend.max_connections),
            backend.opened.to_string(),
            weight(backend),
            percent(backend.ring_share),
            percent(backend.score),
            or_dash(backend.utilisation.map(percent)),
            or_dash(backend.sample_age_seconds.map(ago)),
            note(backend),
        ]);
    }
    table
}

/// The weight in force. That of a backend that was removed is nobody's choice.
fn weight(backend: &Backend) -> String {
    if backend.leaving { "-".to_owned() } else { backend.weight.to_string() }
}

/// A budget in words: `20/s of 200/s` while it rises.
pub(super) fn rate(budget: Budget) -> String {
    if budget.per_second < budget.full {
        return format!("{} of {}", per_second(budget.per_second), per_second(budget.full));
    }
    per_second(budget.full)
}

/// What the other columns do not say.
fn note(backend: &Backend) -> String {
    let mut notes = Vec::new();
    if backend.standby {
        notes.push("standby".to_owned());
    }
    if backend.priority > 0 {
        let waits = if backend.waiting { ", waiting" } else { "" };
        notes.push(format!("priority {}{waits}", backend.priority));
    }
    if backend.state != BackendState::Up || backend.trial {
        notes.push(backend.reason.clone());
    }
    if let Some(budget) = backend.budget {
        notes.push(format!("budget {}", rate(budget)));
    }
    if let Some(zone) = &backend.zone {
        notes.push(format!("zone {zone}"));
    }
    if backend.leaving {
        notes.push("not probed any more".to_owned());
    }
    // The reasons are told by "balancer explain"; the table has room for the words.
    let told = ["standby", "leaving", "telemetry-fails", "reading-refused", "next-hop", "no-telemetry"];
    let words = backend.conditions.iter().map(|condition| condition.condition.as_str());
    notes.extend(words.filter(|word| !told.contains(word)).map(str::to_owned));
    notes.extend(backend.telemetry_problem.clone());
    if backend.next_hop.is_none() {
        notes.push("no neighbour known".to_owned());
    }
    notes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_removed_shows_nobodys_weight_and_that_it_is_not_probed() {
        let told = |leaving: bool| {
            let backend: Backend = serde_json::from_value(serde_json::json!({
                "service": "mqtt", "name": "b1", "address": "10.0.0.1:1883", "state": "draining",
                "reason": "removed from the configuration", "state_seconds": 1.0, "standby": false, "weight": 1,
                "configured_weight": 1, "live": 3, "opened": 3, "syns": 3, "refused": 0, "ring_share": 0.0,
                "traffic": {"packets_in": 0, "bytes_in": 0, "packets_out": 0, "bytes_out": 0},
                "score": 0.0, "cost": 0.0, "basis": "count", "next_hop": "x", "leaving": leaving, "zone": "hall 3",
            }))
            .unwrap();
            (weight(&backend), note(&backend))
        };
        let (shown, note) = told(true);
        assert_eq!(
            (shown.as_str(), note.as_str()),
            ("-", "removed from the configuration; zone hall 3; not probed any more")
        );
        assert_eq!(told(false).0, "1");
    }
}
