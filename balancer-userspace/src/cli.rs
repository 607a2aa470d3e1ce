//! The command line: nouns and verbs, one file each.
//!
//! Standard output has the answer and nothing else; everything else is on standard error. Client verbs use the API's
//! socket only.

mod backend;
mod check;
mod completions;
mod detach;
mod doctor;
mod exit;
mod explain;
mod flow;
mod log;
mod man;
mod output;
mod preset;
mod rebalance;
mod reload;
mod report;
mod run;
mod service;
mod status;
mod time;
mod upgrade;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};

use crate::api::client::Client;

/// Where the configuration is, unless `--config` says otherwise.
pub const CONFIG: &str = "/etc/balancer/balancer.toml";

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed; standard error says why
   2  the command line makes no sense
  64  the configuration has problems
  69  no agent answers on the socket
  77  the user lacks a privilege";

/// Steers client connections to message brokers by their load.
#[derive(Debug, Parser)]
#[command(name = "balancer", version, after_help = EXIT_CODES, propagate_version = true, subcommand_required = true)]
pub struct Cli {
    /// The agent's socket.
    #[arg(
        long,
        global = true,
        env = "BALANCER_SOCKET",
        value_name = "PATH",
        default_value = "/run/balancer/api.sock"
    )]
    socket: PathBuf,
    /// Answers in JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the agent in the foreground. SIGHUP reloads, SIGTERM stops it; the kernel goes on steering without it.
    Run(run::Args),
    /// Checks a configuration and lists all its problems.
    Check(check::Args),
    /// Looks for what would keep the balancer from working, and says what to do.
    Doctor(doctor::Args),
    /// Shows the agent, its services and their backends.
    Status(status::Args),
    /// Services.
    #[command(subcommand)]
    Service(service::Verb),
    /// Backends: list, drain, weigh.
    #[command(subcommand)]
    Backend(backend::Verb),
    /// Closes surplus flows at a pace, most idle first, so that their clients connect again where there is room.
    Rebalance(rebalance::Args),
    /// Flows.
    #[command(subcommand)]
    Flow(flow::Verb),
    /// Presets: list, show, test against a live broker.
    #[command(subcommand)]
    Preset(preset::Verb),
    /// Reports the load of this host, or of one broker on it, to balancers elsewhere.
    Report(report::Args),
    /// Says why new flows go where they go: of a service, a backend or one connection, now or at an earlier time.
    Explain(explain::Args),
    /// Lists the decision log: what changed, when and why.
    Log(log::Args),
    /// Has the agent read its configuration again and apply it, or refuse it as a whole.
    Reload,
    /// Says what a start of this version does with maps of another layout or size, and does nothing.
    Upgrade(upgrade::Args),
    /// Takes the program off all interfaces and forgets all flows, which breaks them. The agent must not be running.
    Detach(detach::Args),
    /// Prints a completion script.
    Completions(completions::Args),
    /// Prints the manual page, or writes one per command.
    Man(man::Args),
}

/// What verbs need besides their own arguments.
struct Context<'a> {
    client: Client,
    json: bool,
    out: &'a mut dyn Write,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and versions are answers; whether they could be written decides nothing.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    match dispatch(cli, &mut io::stdout().lock()) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            failure.report(&mut io::stderr().lock());
            failure.exit().into()
        }
    }
}

fn dispatch(cli: Cli, out: &mut dyn Write) -> Result<(), Failure> {
    let mut context = Context { client: Client::new(&cli.socket), json: cli.json, out };
    match cli.verb {
        Verb::Run(args) => run::run(args)?,
        Verb::Check(args) => check::run(&args, &mut context)?,
        Verb::Doctor(args) => doctor::run(&args, &mut context)?,
        Verb::Upgrade(args) => upgrade::run(&args, &mut context)?,
        Verb::Detach(args) => detach::run(args, &mut context)?,
        Verb::Completions(args) => completions::run(&args, context.out)?,
        Verb::Man(args) => man::run(&args, context.out)?,
        Verb::Status(args) => client(status::run(&args, &mut context))?,
        Verb::Service(verb) => client(service::run(&verb, &mut context))?,
        Verb::Backend(verb) => client(backend::run(verb, &mut context))?,
        Verb::Rebalance(args) => client(rebalance::run(args, &mut context))?,
        Verb::Flow(verb) => client(flow::run(verb, &mut context))?,
        Verb::Preset(verb) => client(preset::run(verb, &mut context))?,
        Verb::Report(args) => client(report::run(args))?,
        Verb::Explain(args) => client(explain::run(args, &mut context))?,
        Verb::Log(args) => client(log::run(&args, &mut context))?,
        Verb::Reload => client(reload::run(&mut context))?,
    }
    context.out.flush()?;
    Ok(())
}

/// Waits for a client verb.
fn client(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(verb)
}
