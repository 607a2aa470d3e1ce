//! `balancer run`

use std::path::PathBuf;

use tracing::warn;

use super::{CONFIG, Failure};
use crate::agent::{self, Options};
use crate::config::load;
use crate::{kernel, logging};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file. Read again at SIGHUP and by `balancer reload`.
    #[arg(long, env = "BALANCER_CONFIG", value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// An object file with the program, in place of the one inside this binary.
    #[arg(long, env = "BALANCER_BPF_OBJECT", value_name = "FILE")]
    object: Option<PathBuf>,
    /// Refuses maps of another layout or size, whose flows are carried over otherwise; `balancer upgrade` says how.
    #[arg(long)]
    no_upgrade: bool,
}

/// Runs the agent until it is told to stop.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let checked = load(&args.config)?;
    logging::start(checked.config.agent.log);
    for warning in &checked.warnings {
        warn!("{warning}");
    }
    allow_descriptors();
    let options = Options { config: args.config, object: args.object, upgrade: !args.no_upgrade };
    // The event loop has this thread. One other is enough for all that waits for brokers and callers, and two would
    // wake each other up.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(agent::run(options, checked)).map_err(Failure::Agent)
}

/// Each backend may have a session that is held and a connection that its pages are read on, and what programs are
/// started with is often 1,024 descriptors.
fn allow_descriptors() {
    if let Err(error) = kernel::allow_descriptors() {
        warn!("the limit of descriptors could not be raised: {error}");
    }
}
