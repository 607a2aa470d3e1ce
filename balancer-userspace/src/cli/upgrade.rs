//! `balancer upgrade`

use std::path::PathBuf;

use crate::agent::datapath_options;
use crate::config::load;
use crate::kernel::{Plan, plan};

use super::output::json;
use super::{CONFIG, Context, Exit, Failure};

/// Arguments of `upgrade`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file, which names the pin directory and the sizes of the tables.
    #[arg(long, env = "BALANCER_CONFIG", value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// An object file with the program, in place of the one inside this binary.
    #[arg(long, env = "BALANCER_BPF_OBJECT", value_name = "FILE")]
    object: Option<PathBuf>,
}

/// The answer in JSON.
#[derive(serde::Serialize)]
struct Answer<'a> {
    /// Whether a start would succeed.
    ok: bool,
    /// What it would do; `null` when everything is as it wants it.
    plan: Option<&'a Plan>,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let config = load(&args.config)?.config;
    let options = datapath_options(args.object.as_deref(), &config, true)
        .map_err(|error| Failure::Agent(error.into()))?;
    let plan = plan(&options).map_err(|error| Failure::Agent(error.into()))?;
    let ok = plan.as_ref().is_none_or(|plan| plan.obstacles.is_empty());
    if context.json {
        json(context.out, &Answer { ok, plan: plan.as_ref() })?;
    } else {
        match &plan {
            Some(plan) => writeln!(context.out, "{plan}")?,
            None => {
                writeln!(context.out, "nothing has to be carried over: what is pinned is adopted as it is")?
            }
        }
    }
    if ok { Ok(()) } else { Err(Failure::Told(Exit::Failed)) }
}
