//! What the agent keeps beside its socket.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::blocking;

/// Writes `value` as JSON to `path`: as a whole, or the file stays as it was.
pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value)?;
    let unfinished = path.with_extension("json.new");
    blocking(|| {
        std::fs::write(&unfinished, text)?;
        std::fs::rename(&unfinished, path)
    })
}
