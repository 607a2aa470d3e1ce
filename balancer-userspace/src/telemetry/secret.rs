//! Passwords and tokens, kept in files and read whenever they are used.

use std::path::Path;

use super::SourceError;
use crate::files;

/// Most bytes of such a file: the longest tokens have a tenth of it.
const MAX_BYTES: u64 = 64 << 10;

/// The first line of the file, without its end.
///
/// # Errors
/// [`SourceError::File`] when it is no file, is too long, or cannot be read.
pub(crate) async fn read(path: &Path) -> Result<String, SourceError> {
    let text = files::read_text_aside(path, MAX_BYTES)
        .await
        .map_err(|source| SourceError::File { path: path.to_owned(), source })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
