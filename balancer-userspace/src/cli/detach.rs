//! `balancer detach`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::agent::lock_path;
use crate::config::load;
use crate::kernel::{Detached, detach};

use super::output::json;
use super::{CONFIG, Context, Failure};

/// Arguments of `detach`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file, which names the pin directory.
    #[arg(long, env = "BALANCER_CONFIG", value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The pin directory, when there is no configuration file.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pins: Option<PathBuf>,
}

pub(super) fn run(args: Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let pins = match args.pins {
        Some(pins) => pins,
        None => load(&args.config)?.config.agent.pins,
    };
    let detached = detach(&pins, &lock_path(&pins)).map_err(|error| Failure::Agent(error.into()))?;
    for foreign in &detached.foreign {
        let _ = writeln!(io::stderr(), "balancer: {} is not ours and was left alone", foreign.display());
    }
    if context.json {
        #[derive(serde::Serialize)]
        struct Answer<'a> {
            interfaces: &'a [u32],
            maps: usize,
            foreign: &'a [PathBuf],
        }
        let Detached { interfaces, maps, foreign } = &detached;
        json(context.out, &Answer { interfaces, maps: *maps, foreign })?;
    } else {
        say(context.out, &pins, &detached)?;
    }
    Ok(())
}

fn say(out: &mut dyn Write, pins: &Path, detached: &Detached) -> io::Result<()> {
    if detached.interfaces.is_empty() && detached.maps == 0 {
        return writeln!(out, "nothing of ours is pinned under {}", pins.display());
    }
    let (n_interfaces, n_maps) = (detached.interfaces.len(), detached.maps);
    writeln!(
        out,
        "taken off {n_interfaces} interfaces; {n_maps} maps, their flows and counters are given back"
    )
}
