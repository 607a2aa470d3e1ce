//! `balancer flow`

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::api::FlowFilter;
use crate::api::wire::{Explanation, Flows, MAX_FLOWS};

use super::output::{self, ago, json, or_dash, percent, print};
use super::{Context, Failure};

/// Verbs of `flow`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Lists flows.
    List {
        /// Of this service only.
        #[arg(long)]
        service: Option<String>,
        /// Of backends of this name only.
        #[arg(long)]
        backend: Option<String>,
        /// Of this client address only.
        #[arg(long, value_name = "ADDRESS")]
        client: Option<IpAddr>,
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = limit)]
        limit: usize,
    },
    /// Says where a connection goes or would go, and why.
    Explain {
        /// Name of the service.
        service: String,
        /// Address and port of the client.
        #[arg(value_name = "ADDRESS:PORT")]
        client: SocketAddr,
    },
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=MAX_FLOWS).contains(&limit) => Ok(limit),
        _ => Err(format!("write 1 to {MAX_FLOWS}")),
    }
}

pub(super) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List { service, backend, client, limit } => {
            let flows = context.client.flows(&FlowFilter { service, backend, client, limit }).await?;
            if context.json {
                json(context.out, &flows)?;
            } else {
                list(context.out, &flows)?;
            }
            if flows.truncated {
                let _ = writeln!(
                    io::stderr(),
                    "balancer: there are more than {limit}; raise --limit or name a --service, --backend or --client"
                );
            }
        }
        Verb::Explain { service, client } => {
            let explanation = context.client.explain(&service, client).await?;
            if context.json { json(context.out, &explanation)? } else { explain(context.out, &explanation)? }
        }
    }
    Ok(())
}

fn list(out: &mut dyn Write, flows: &Flows) -> io::Result<()> {
    let mut table = output::table(&["SERVICE", "CLIENT", "BACKEND", "STATE", "AGE", "IDLE"], &[4, 5]);
    for flow in &flows.flows {
        table.add_row([
            flow.service.clone(),
            flow.client.to_string(),
            flow.backend.clone(),
            flow.state.word().to_owned(),
            ago(flow.age_seconds),
            ago(flow.idle_seconds),
        ]);
    }
    print(out, &table)
}

fn explain(out: &mut dyn Write, explanation: &Explanation) -> io::Result<()> {
    for reason in &explanation.reasons {
        writeln!(out, "{reason}")?;
    }
    if explanation.candidates.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = output::table(&["CANDIDATE", "SLOT", "SCORE", "LIVE", "NOTE"], &[1, 2, 3]);
    for candidate in &explanation.candidates {
        let chosen = if candidate.chosen { "chosen" } else { "" };
        table.add_row([
            candidate.backend.clone(),
            or_dash(candidate.slot),
            percent(candidate.score),
            candidate.live.to_string(),
            candidate.closed.clone().unwrap_or_else(|| chosen.to_owned()),
        ]);
    }
    print(out, &table)
}
