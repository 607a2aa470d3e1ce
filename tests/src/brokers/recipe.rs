//! What is known of one broker before it is tried.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, Result};
use balancer_userspace::preset::{self, Preset};

use super::{drain::Drain, link::Link, running::Running};
use crate::lab::Host;

/// How to start one broker, and what its preset claims.
pub trait Recipe: Sync {
    /// Its row in the result.
    fn name(&self) -> &'static str {
        self.broker()
    }

    /// The name it is chosen by, which several rows may share.
    fn broker(&self) -> &'static str;

    /// Its preset.
    fn preset(&self) -> &'static str {
        self.broker()
    }

    /// What its clients speak.
    fn protocol(&self) -> Protocol {
        Protocol::Mqtt
    }

    /// Its version, as it says itself.
    ///
    /// # Errors
    /// It is not there.
    fn version(&self, programs: &Programs) -> Result<String>;

    /// Writes its files into the place's directory and says how it is started. The last command is the broker, those
    /// before it are what it needs.
    ///
    /// # Errors
    /// A file cannot be written.
    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>>;

    /// How long it may take to start.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Cores that are 100 %: as many as there are CPUs, for brokers with as many threads.
    fn cores(&self) -> f64 {
        available_parallelism().map_or(1.0, |n| n.get() as f64)
    }

    /// What its clients do.
    fn load(&self) -> Load {
        Load { clients: 20, interval_ms: 20 }
    }

    /// As whom its telemetry is read, and the file that has the password.
    ///
    /// # Errors
    /// The file cannot be written.
    fn login(&self, _place: &Place<'_>) -> Result<Option<(&'static str, PathBuf)>> {
        Ok(None)
    }

    /// How it is told to take no new clients, and what follows.
    fn drain(&self) -> Option<Drain> {
        None
    }

    /// What else it is asked by, in a trial of [`Trial::Links`].
    fn links(&self) -> &'static [Link] {
        &[]
    }

    /// What is expected of it.
    fn trial(&self) -> Trial {
        Trial::Whole
    }

    /// What the broker's own tools say while `clients` are connected.
    ///
    /// # Errors
    /// They do not agree.
    fn cross_check(&self, _running: &Running<'_>, _clients: u64) -> Result<Option<String>> {
        Ok(None)
    }
}

/// What is known of a broker by its preset.
///
/// # Errors
/// There is no such preset.
pub(super) fn preset(recipe: &dyn Recipe) -> Result<Arc<Preset>> {
    preset::find(recipe.preset()).with_context(|| format!("there is no preset {}", recipe.preset()))
}

/// What is expected of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// That it works.
    Whole,
    /// That it accepts connections and serves none of them.
    Deaf,
    /// That the probe of each of its links follows it.
    Links,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1 on port 1883.
    Mqtt,
    /// AMQP 0-9-1 on port 5672.
    Amqp091,
}

impl Protocol {
    /// Its TCP port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Amqp091 => 5672,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "MQTT 3.1.1",
            Self::Amqp091 => "AMQP 0-9-1",
        }
    }
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many there are.
    pub clients: u32,
    /// Milliseconds between the messages of one of them.
    pub interval_ms: u64,
}

/// Programs that are not in `PATH`.
#[derive(Clone, Debug, Default)]
pub struct Programs(pub(super) Vec<(String, String)>);

impl Programs {
    /// Where a program is: its name alone when it is in `PATH`.
    #[must_use]
    pub fn find(&self, name: &str) -> PathBuf {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or_else(|| PathBuf::from(name), |(_, path)| PathBuf::from(path))
    }
}

/// Where a broker is started.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The host that is its own.
    pub host: &'a Host,
    /// Its files and logs.
    pub directory: PathBuf,
    /// Where its program is.
    pub programs: &'a Programs,
}

impl Place<'_> {
    /// A program that will run on the host, in the directory, with no home but that.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let path = match program.components().count() {
            1 => self.programs.find(&program.to_string_lossy()),
            _ => program.to_owned(),
        };
        let mut command = self.host.netns.command(path);
        command.current_dir(&self.directory).env("HOME", &self.directory);
        command
    }

    /// Writes a file into the directory and returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        std::fs::write(&path, text)
            .map_err(|error| anyhow::anyhow!("failed to write {}: {error}", path.display()))?;
        Ok(path)
    }
}

/// The first word of what a program prints that starts with a digit.
///
/// # Errors
/// The program cannot be started, or says no such word.
pub(super) fn version_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let word = said
        .split_whitespace()
        .map(|word| word.trim_start_matches(['v', '(']).trim_end_matches([',', ')']))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    word.map(str::to_owned).with_context(|| format!("{command:?} tells no version: {said}"))
}
