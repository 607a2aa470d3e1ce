//! `balancer service`

use comfy_table::Table;

use crate::api::wire::Service;

use super::output::{self, json, print};
use super::{Context, Failure};

/// Verbs of `service`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Lists the services.
    List,
}

pub(super) async fn run(verb: &Verb, context: &mut Context<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List => {
            let services = context.client.services().await?;
            if context.json { json(context.out, &services)? } else { print(context.out, &table(&services))? }
        }
    }
    Ok(())
}

pub(super) fn table(services: &[Service]) -> Table {
    let mut table =
        output::table(&["SERVICE", "VIP", "POLICY", "DRAWS", "UP", "LIVE", "OPENED"], &[3, 4, 5, 6]);
    for service in services {
        table.add_row([
            service.name.clone(),
            service.vip.to_string(),
            service.policy.word().to_owned(),
            service.draws.to_string(),
            format!("{}/{}", service.backends_up, service.backends),
            service.live.to_string(),
            service.opened.to_string(),
        ]);
    }
    table
}
