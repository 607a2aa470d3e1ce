//! `balancer doctor`

use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use crate::config::{Config, LoadError, load};
use crate::doctor::{self, Level};

use super::output::json;
use super::{CONFIG, Context, Exit, Failure};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file. Without one, at the usual place either, only the host is examined.
    #[arg(long, env = "BALANCER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let report = doctor::run(configuration(args)?.as_ref());
    if context.json {
        json(context.out, &report)?;
    } else {
        write!(context.out, "{report}")?;
    }
    if report.worst() == Level::Fail { Err(Failure::Told(Exit::Failed)) } else { Ok(()) }
}

/// The configuration named, or the one at the usual place if there is one.
fn configuration(args: &Args) -> Result<Option<Config>, Failure> {
    let usual = PathBuf::from(CONFIG);
    let path = args.config.as_ref().unwrap_or(&usual);
    let checked = match load(path) {
        Err(LoadError::Read { source, .. })
            if args.config.is_none() && source.kind() == ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        checked => checked?,
    };
    for warning in &checked.warnings {
        let _ = writeln!(io::stderr(), "{}: warning: {warning}", path.display());
    }
    Ok(Some(checked.config))
}
