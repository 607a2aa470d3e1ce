//! The configuration as a file on disk, with the files that it names.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::discovery::{DiscoveryConfig, DiscoverySource};
use super::{
    Checked, Config, Discovered, DrainQuestion, HealthCheck, HealthConfig, HttpAuth, Problem, SourceConfig,
    check_with,
};
use crate::files;
use crate::tls::TlsConfig;

/// Most bytes of a configuration file: 4096 backends take less than a tenth of it.
const MAX_BYTES: u64 = 8 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("failed to read {}: {source}; {}", path.display(), remedy(source.kind()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It can, but says what cannot be done.
    #[error("{}", listed(path, problems))]
    Bad {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
}

/// What to do about a file that cannot be read, by a command or, at a reload, by the agent.
fn remedy(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::PermissionDenied {
        "make it readable for the user who reads it, which for a reload is the agent's"
    } else {
        "put a configuration file there, or start with another one by --config"
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
///
/// [`LoadError::Bad`] with every problem, or [`LoadError::Read`].
pub fn load(path: &Path) -> Result<Checked, LoadError> {
    load_with(path, &Discovered::new())
}

/// Reads a configuration file and checks it together with what was discovered for its services.
///
/// # Errors
///
/// [`LoadError::Bad`] with every problem, or [`LoadError::Read`].
pub fn load_with(path: &Path, discovered: &Discovered) -> Result<Checked, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let text = files::read_text(path, MAX_BYTES).map_err(read)?;
    let bad = |problems| LoadError::Bad { path: path.to_owned(), problems };
    let mut checked = check_with(&text, discovered).map_err(bad)?;
    let problems = secrets(&checked.config, &mut checked.warnings);
    if problems.is_empty() { Ok(checked) } else { Err(bad(problems)) }
}

/// Checks a text that is in force together with what was discovered for its services. Secrets that are not there are
/// warnings: they keep no backend from being found.
///
/// # Errors
///
/// Every problem, as of [`check_with`].
pub fn check_found(text: &str, discovered: &Discovered) -> Result<Checked, Vec<Problem>> {
    let mut checked = check_with(text, discovered)?;
    let problems = secrets(&checked.config, &mut checked.warnings);
    checked.warnings.extend(problems);
    Ok(checked)
}

/// Password and token files must be there. Whether they can be read is for the agent to find out: the check may be run by
/// somebody with fewer rights.
fn secrets(config: &Config, warnings: &mut Vec<Problem>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for service in &config.services {
        let of_backends = service.backends.iter().flat_map(|backend| {
            backend.telemetry.sources.iter().flat_map(source_files).chain(health_files(&backend.health))
        });
        for file in of_backends.chain(service.discovery.iter().flat_map(discovery_files)) {
            let Err(error) = files::open(file) else { continue };
            let path = format!("service[{}]", service.name);
            let message = format!(
                "{}: {error}; put the password, token or certificate there, or correct its path",
                file.display()
            );
            let problem = Problem { line: None, path, message };
            let list =
                if error.kind() == io::ErrorKind::PermissionDenied { &mut *warnings } else { &mut problems };
            if !list.contains(&problem) {
                list.push(problem);
            }
        }
    }
    problems
}

fn source_files(source: &SourceConfig) -> Vec<&PathBuf> {
    match source {
        SourceConfig::Prometheus { auth, .. } | SourceConfig::Json { auth, .. } => auth_files(auth).collect(),
        SourceConfig::MqttSys { login, via, .. } => {
            login.password_file.iter().chain(via.tls.iter().flat_map(TlsConfig::files)).collect()
        }
        SourceConfig::Local { .. } | SourceConfig::AgentCheck { .. } => Vec::new(),
    }
}

/// What is asked with. The documents themselves may come later.
fn discovery_files(discovery: &DiscoveryConfig) -> Vec<&PathBuf> {
    match &discovery.source {
        DiscoverySource::Http { auth, .. } => auth_files(auth).collect(),
        DiscoverySource::Dns(_) | DiscoverySource::Files(_) => Vec::new(),
    }
}

fn health_files(health: &HealthConfig) -> Vec<&PathBuf> {
    let mut files = Vec::new();
    match &health.check {
        HealthCheck::Mqtt { login, via, .. } => {
            files.extend(&login.password_file);
            files.extend(via.tls.iter().flat_map(TlsConfig::files));
        }
        HealthCheck::Stomp { login, via, .. } => {
            files.extend(login.iter().filter_map(|(_, password)| password.as_ref()));
            files.extend(via.tls.iter().flat_map(TlsConfig::files));
        }
        HealthCheck::Amqp { via, .. } => files.extend(via.tls.iter().flat_map(TlsConfig::files)),
        HealthCheck::Http { auth, .. } => files.extend(auth_files(auth)),
        HealthCheck::None | HealthCheck::Tcp { .. } | HealthCheck::AgentCheck { .. } => {}
    }
    for check in &health.drain {
        if let DrainQuestion::Http { auth, .. } = &check.question {
            files.extend(auth_files(auth));
        }
    }
    files
}

fn auth_files(auth: &HttpAuth) -> impl Iterator<Item = &PathBuf> {
    auth.password_file.iter().chain(&auth.token_file).chain(auth.tls.files())
}

/// One line per problem, each starting with the file, as compilers do.
fn listed(path: &Path, problems: &[Problem]) -> String {
    struct Line<'a>(&'a Path, &'a Problem);
    impl fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: {}", self.0.display(), self.1)
        }
    }
    let lines: Vec<_> = problems.iter().map(|problem| Line(path, problem).to_string()).collect();
    lines.join("\n")
}
