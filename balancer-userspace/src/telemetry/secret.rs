//! Passwords and tokens, kept in files and read whenever they are used.

use std::path::Path;

use super::SourceError;

/// The first line of the file, without its end.
///
/// # Errors
/// [`SourceError::File`] when the file cannot be read.
pub(crate) async fn read(path: &Path) -> Result<String, SourceError> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| SourceError::File { path: path.to_owned(), source })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
