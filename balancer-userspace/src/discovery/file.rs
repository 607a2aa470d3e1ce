//! Files on this machine.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

use super::{Said, document};

/// Most bytes of a file: some ten thousand targets.
const MAX_BYTES: u64 = 4 << 20;

/// What all files together say.
pub(super) async fn ask(paths: &[PathBuf]) -> Result<Said, String> {
    let mut entries = Vec::new();
    for path in paths {
        let at = path.display().to_string();
        let text = read(path).await.map_err(|error| format!("{at}: {error}"))?;
        entries.extend(document::parse(&text, &at)?);
    }
    Ok(Said { entries, holds: None })
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_BYTES + 1).read_to_end(&mut text).await?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes; reading was stopped")));
    }
    Ok(text)
}
