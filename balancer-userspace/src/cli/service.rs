//! `balancer service`

use comfy_table::Table;

use crate::api::client::ClientError;
use crate::api::wire::{ApiError, Backend, Discovery, Service, Status};

use super::output::{self, ago, json, print};
use super::{Context, Failure, backend};

/// Verbs of `service`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Lists the services.
    List,
    /// Shows one service: where its backends come from, and each of them.
    Show {
        /// The service.
        #[arg(value_name = "SERVICE")]
        service: String,
    },
}

pub(super) async fn run(verb: &Verb, context: &mut Context<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List => {
            let services = context.client.services().await?;
            if context.json { json(context.out, &services)? } else { print(context.out, &table(&services))? }
        }
        Verb::Show { service } => show(service, context).await?,
    }
    Ok(())
}

async fn show(name: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let status = context.client.status().await?;
    let (service, backends) = backends_of(&status, name)?;
    if context.json {
        return Ok(json(context.out, &serde_json::json!({ "service": service, "backends": backends }))?);
    }
    print(context.out, &table(std::slice::from_ref(service)))?;
    writeln!(context.out)?;
    writeln!(context.out, "{}", origin(service, &backends))?;
    for refused in service.discovery.iter().flat_map(|discovery| &discovery.refused) {
        writeln!(context.out, "not taken: {refused}")?;
    }
    writeln!(context.out)?;
    print(context.out, &backend::table(&backends))?;
    Ok(())
}

/// The service of that name and its backends; an error that names those there are, where there is none.
pub(super) fn backends_of<'a>(
    status: &'a Status,
    name: &str,
) -> Result<(&'a Service, Vec<Backend>), ClientError> {
    let service = status.services.iter().find(|service| service.name == name).ok_or_else(|| {
        let known = status.services.iter().map(|service| service.name.as_str());
        ApiError::missing(format_args!("service {name}"), known)
    })?;
    let own = status.backends.iter().filter(|backend| backend.service == name);
    Ok((service, own.cloned().collect()))
}

/// Where the backends come from, in one line.
fn origin(service: &Service, backends: &[Backend]) -> String {
    let own = backends.iter().filter(|backend| !backend.discovered && !backend.leaving).count();
    let Some(discovery) = &service.discovery else {
        return format!("backends: {own} from the configuration");
    };
    format!("backends: {own} from the configuration; {}", found(discovery))
}

/// What a discovery has found, in one line.
pub(super) fn found(discovery: &Discovery) -> String {
    let age = discovery.answer_age_seconds;
    let age = age
        .map_or_else(|| "no good answer yet".to_owned(), |age| format!("last good answer {} ago", ago(age)));
    let missing = match discovery.missing {
        0 => String::new(),
        n => format!(" and {n} draining that it lacks"),
    };
    let problem = discovery.problem.as_ref().map_or_else(String::new, |problem| format!("; {problem}"));
    format!("{} from {}{missing}, {age}{problem}", discovery.backends, discovery.source)
}

pub(super) fn table(services: &[Service]) -> Table {
    let mut table = output::table(
        &["SERVICE", "VIP", "POLICY", "DRAWS", "UP", "LIVE", "CAP", "OPENED", "BUDGET"],
        &[3, 4, 5, 6, 7, 8],
    );
    for service in services {
        table.add_row([
            service.name.clone(),
            service.vip.to_string(),
            service.policy.word().to_owned(),
            service.draws.to_string(),
            format!("{}/{}", service.backends_up, service.backends),
            service.live.to_string(),
            output::or_dash(service.max_connections),
            service.opened.to_string(),
            output::or_dash(service.budget.map(backend::rate)),
        ]);
    }
    table
}
