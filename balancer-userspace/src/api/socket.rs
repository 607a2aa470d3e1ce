//! The unix socket that the API is served on.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tracing::warn;

/// Mode of the socket: its owner and its group may use the API.
const MODE: u32 = 0o660;

/// Time between two looks whether the file is still there.
const LOOK: Duration = Duration::from_secs(5);

/// Why the socket cannot be listened on. Every variant names `agent.socket` and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent answers on it.
    #[error("agent.socket: another agent answers on {}; stop it, or give this one another agent.socket and agent.pins", .0.display())]
    InUse(PathBuf),
    /// There is a file of another kind.
    #[error("agent.socket: {} is there and is not a socket; remove it, or write another path", .0.display())]
    NotASocket(PathBuf),
    /// Whatever the system says.
    #[error("agent.socket: failed to listen on {}: {source}; write a path in a directory that the agent may write to", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The socket, listening. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens on `path`. A socket that nobody answers on is replaced. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let system = |source| SocketError::System { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(system)?;
        }
        refuse_others(path)?;
        // Nobody can connect before the mode is set, and nobody finds the path without a listener.
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(draft);
        let _ = fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).map_err(system)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(MODE)).map_err(system)?;
        let inode = fs::symlink_metadata(&draft).map_err(system)?.ino();
        fs::rename(&draft, path).map_err(system)?;
        Ok(Self { listener: Some(listener), path: path.to_owned(), inode })
    }

    /// The socket anew, once somebody has removed its file: nobody would find the agent any more, and whoever asks whether
    /// one runs would be told that none does. What is being answered meanwhile is broken off.
    pub(super) async fn made_again(&self) -> Self {
        let mut said = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let found = fs::symlink_metadata(&self.path);
            if !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                continue;
            }
            match Self::bind(&self.path) {
                Ok(next) => {
                    warn!("{} was removed by somebody, and is there again", self.path.display());
                    return next;
                }
                Err(error) if !said => {
                    said = true;
                    warn!(
                        "the socket was removed by somebody; it is tried again every {} s: {error}",
                        LOOK.as_secs()
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// The listener, once.
    pub(super) const fn take(&mut self) -> UnixListener {
        self.listener.take().expect("a socket is served once")
    }
}

fn refuse_others(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::System { path: path.to_owned(), source }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(())
        }
        // Also when it may not be connected to: it is somebody's.
        Err(source) => Err(SocketError::System { path: path.to_owned(), source }),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A later agent may have put its own in place.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
