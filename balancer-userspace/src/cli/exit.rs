//! How a command ends.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::api::client::ClientError;
use crate::api::socket::SocketError;
use crate::api::wire::ErrorCode;
use crate::config::LoadError;
use crate::kernel;
use crate::preset::PresetError;
use crate::report::ListenError;

/// Exit codes, as in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration has problems.
    Configuration = 64,
    /// No agent answers on the socket.
    Unreachable = 69,
    /// The user lacks a privilege.
    Privilege = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The answer could not be written.
    #[error("failed to write the answer: {0}")]
    Output(#[from] io::Error),
    /// There is no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The answer on standard output says why.
    #[error("the answer says why")]
    Told(Exit),
    /// Files of presets cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Presets(Vec<PresetError>),
    /// Addresses cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Other(String),
    /// The agent cannot run.
    #[error("{0:#}")]
    Agent(anyhow::Error),
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// The code that the process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // Whoever read the answer has had enough of it.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) => Exit::Failed,
            Self::Load(LoadError::Read { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::Privilege
            }
            Self::Load(_) | Self::Presets(_) => Exit::Configuration,
            Self::Listen(error) if error.is_permission() => Exit::Privilege,
            Self::Listen(_) | Self::Other(_) => Exit::Failed,
            Self::Told(exit) => *exit,
            Self::Client(error) => client(error),
            Self::Agent(error) if lacks_privilege(error) => Exit::Privilege,
            Self::Agent(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
        }
    }

    /// Says why on standard error.
    pub(super) fn report(&self, err: &mut dyn Write) {
        let problems = match self {
            Self::Client(ClientError::Refused(error)) => error.problems.as_slice(),
            Self::Output(_)
            | Self::Client(_)
            | Self::Load(_)
            | Self::Presets(_)
            | Self::Listen(_)
            | Self::Other(_)
            | Self::Agent(_)
            | Self::Usage(_)
            | Self::Told(_) => &[],
        };
        let silent = self.exit() == Exit::Ok || matches!(self, Self::Told(_));
        if !silent {
            // There is nowhere else to say that this could not be written.
            let _ = writeln!(err, "balancer: {self}");
            for problem in problems {
                let _ = writeln!(err, "  {problem}");
            }
        }
    }
}

/// Whether the kernel refused something for want of a privilege. EACCES alone does not say so: it is also what the verifier
/// answers to a program that it does not like.
fn lacks_privilege(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        if let Some(error) = cause.downcast_ref::<SocketError>() {
            return matches!(error, SocketError::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
        }
        if let Some(error) = cause.downcast_ref::<kernel::Error>() {
            return error.is_permission();
        }
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(libc::EPERM))
    })
}

const fn client(error: &ClientError) -> Exit {
    match error {
        ClientError::Unreachable { .. } => Exit::Unreachable,
        ClientError::Denied(_) => Exit::Privilege,
        ClientError::Refused(error) => match error.code {
            ErrorCode::BadConfiguration => Exit::Configuration,
            ErrorCode::Invalid
            | ErrorCode::NotFound
            | ErrorCode::Conflict
            | ErrorCode::Busy
            | ErrorCode::Failed
            | ErrorCode::Unknown => Exit::Failed,
        },
        ClientError::Version { .. }
        | ClientError::TimedOut
        | ClientError::Http(_)
        | ClientError::Body(_)
        | ClientError::Answer(_) => Exit::Failed,
    }
}
