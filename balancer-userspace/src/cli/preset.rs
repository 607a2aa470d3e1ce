//! `balancer preset`

mod answer;
mod place;
mod show;
mod test;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::output::{json, or_dash, print, table};
use super::{Context, Failure};
use crate::preset::{Auth, Health, Preset, Presets, SourceKind, Verified};

/// Verbs of `preset`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Lists what is known of brokers and exporters.
    List {
        #[command(flatten)]
        from: From,
    },
    /// Shows one: where it reads, what it takes for what, what to switch on in the broker.
    Show {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        /// Prints its file, to be changed and put into the directory of presets.
        #[arg(long)]
        toml: bool,
        #[command(flatten)]
        from: From,
    },
    /// Reads a live broker by a preset, and says what was understood and what is missing.
    Test(Box<test::Args>),
}

/// Where presets come from.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct From {
    /// Directory of presets that add to those compiled in or replace them, as agent.presets.
    #[arg(long, env = "BALANCER_PRESETS", value_name = "DIRECTORY")]
    presets: Option<PathBuf>,
}

impl From {
    /// All presets.
    fn read(&self) -> Result<Presets, Failure> {
        match &self.presets {
            None => Ok(Presets::embedded().clone()),
            Some(directory) => Presets::with_directory(directory).map_err(Failure::Presets),
        }
    }
}

pub(super) async fn run(verb: Verb, context: &mut Context<'_>) -> Result<(), Failure> {
    match verb {
        Verb::List { from } => Ok(list(&from.read()?, context)?),
        Verb::Show { name, toml, from } => {
            let presets = from.read()?;
            show::run(&presets, find(&presets, &name)?, toml, context)
        }
        Verb::Test(args) => test::run(*args, context).await,
    }
}

/// The preset of that name, or those there are.
fn find<'a>(presets: &'a Presets, name: &str) -> Result<&'a Preset, Failure> {
    presets.find(name).map(AsRef::as_ref).ok_or_else(|| Failure::Other(presets.unknown(name)))
}

/// One row of the list.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    title: &'a str,
    telemetry: String,
    health: Option<String>,
    verified: &'static str,
    bootstrap_only: bool,
    /// The file it is from; none when it is compiled in.
    file: Option<String>,
}

impl<'a> Row<'a> {
    fn new((preset, file): (&'a Preset, Option<String>)) -> Self {
        Self {
            name: &preset.name,
            title: &preset.title,
            telemetry: telemetry(preset),
            health: preset.health.as_ref().map(health),
            verified: verified(preset.verified),
            bootstrap_only: preset.bootstrap_only,
            file,
        }
    }
}

fn list(presets: &Presets, context: &mut Context<'_>) -> io::Result<()> {
    let file = |file: Option<&std::path::Path>| file.map(|file| file.display().to_string());
    let rows: Vec<_> = presets.iter().map(|(preset, from)| Row::new((preset.as_ref(), file(from)))).collect();
    if context.json {
        return json(context.out, &rows);
    }
    let mut all = table(&["NAME", "TELEMETRY", "PROBE", "VERIFIED", "FILE", "WHAT IT IS"], &[]);
    for row in rows {
        let (name, title) = (row.name.to_owned(), row.title.to_owned());
        all.add_row([
            name,
            row.telemetry,
            or_dash(row.health),
            row.verified.to_owned(),
            or_dash(row.file),
            title,
        ]);
    }
    print(context.out, &all)
}

/// Where telemetry is found, in a few words.
fn telemetry(preset: &Preset) -> String {
    match &preset.source {
        SourceKind::Prometheus { port, path, .. } => format!("Prometheus :{port}{path}"),
        SourceKind::Json { port, pages, .. } => {
            let more = if pages.len() > 1 { ", …" } else { "" };
            format!("JSON :{port}{}{more}", pages.first().map_or("", |page| page.path.as_str()))
        }
        SourceKind::MqttSys { .. } => "$SYS topics".to_owned(),
        SourceKind::None => "none".to_owned(),
    }
}

fn health(health: &Health) -> String {
    if let Health::Http { port, path } = health {
        return format!("http :{}{path}", or_dash(*port));
    }
    format!("{health:?}").to_lowercase()
}

const fn verified(verified: Verified) -> &'static str {
    match verified {
        Verified::Live => "live",
        Verified::Capture => "capture",
        Verified::Documentation => "documentation",
    }
}

const fn credentials(auth: Auth) -> &'static str {
    match auth {
        Auth::None => "none",
        Auth::Basic => "username and password_file",
        Auth::Bearer => "token_file",
    }
}
