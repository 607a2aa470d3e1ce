//! `balancer flow`

use std::io::{self, Write};
use std::net::IpAddr;

use crate::api::FlowFilter;
use crate::api::wire::{Flows, MAX_FLOWS};

use super::output::{self, ago, json, print};
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
            if flows.truncated && flows.flows.len() == limit {
                let _ = writeln!(
                    io::stderr(),
                    "balancer: there are more than {limit}; raise --limit or name a --service, --backend or --client"
                );
            } else if flows.truncated {
                let _ = writeln!(
                    io::stderr(),
                    "balancer: there may be more: time was up after {} flows; try again when the gateway has less to do",
                    flows.looked_at
                );
            }
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
