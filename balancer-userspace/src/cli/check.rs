//! `balancer check`

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Checked, LoadError, Problem, load};

use super::output::json;
use super::{CONFIG, Context, Exit, Failure};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    #[arg(long, env = "BALANCER_CONFIG", value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    problems: Vec<Found<'a>>,
    warnings: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    line: Option<usize>,
    path: &'a str,
    message: &'a str,
}

impl<'a> From<&'a Problem> for Found<'a> {
    fn from(problem: &'a Problem) -> Self {
        Self { line: problem.line, path: &problem.path, message: &problem.message }
    }
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), Failure> {
    match load(&args.config) {
        Ok(checked) => good(args, &checked, context),
        Err(LoadError::Bad { problems, .. }) if context.json => {
            let problems = problems.iter().map(Found::from).collect();
            json(context.out, &Answer { ok: false, problems, warnings: Vec::new() })?;
            Err(Failure::Told(Exit::Configuration))
        }
        Err(error) => Err(error.into()),
    }
}

fn good(args: &Args, checked: &Checked, context: &mut Context<'_>) -> Result<(), Failure> {
    if context.json {
        let warnings = checked.warnings.iter().map(Found::from).collect();
        return Ok(json(context.out, &Answer { ok: true, problems: Vec::new(), warnings })?);
    }
    let file = args.config.display();
    for warning in &checked.warnings {
        let _ = writeln!(io::stderr(), "{file}: warning: {warning}");
    }
    let services = &checked.config.services;
    let n_backends: usize = services.iter().map(|service| service.backends.len()).sum();
    writeln!(
        context.out,
        "{file}: {}, {}",
        counted(services.len(), "service"),
        counted(n_backends, "backend")
    )?;
    Ok(())
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
