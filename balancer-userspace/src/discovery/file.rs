//! Files on this machine.

use std::path::PathBuf;

use super::{Said, document};
use crate::files;

/// Most bytes of a file: some ten thousand targets.
const MAX_BYTES: u64 = 4 << 20;

/// What all files together say.
pub(super) async fn ask(paths: &[PathBuf]) -> Result<Said, String> {
    let mut entries = Vec::new();
    for path in paths {
        let at = path.display().to_string();
        let text = files::read_aside(path, MAX_BYTES).await.map_err(|error| format!("{at}: {error}"))?;
        entries.extend(document::parse(&text, &at)?);
    }
    Ok(Said { entries, holds: None })
}
