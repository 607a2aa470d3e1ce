//! Files that are read whole: only what is a file, and no more of it than there is room for.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Opens a file to be read.
///
/// # Errors
///
/// What the system says; or that it is no file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path)
}

/// The bytes of a file that has at most `most`.
///
/// # Errors
///
/// What the system says; or that it is longer, or no file.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes; reading was stopped")));
    }
    Ok(bytes)
}

/// The text of a file that has at most `most` bytes.
///
/// # Errors
///
/// As [`read`]; or that it is no UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| {
        let from = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 from byte {from} on"))
    })
}

/// As [`read`], without keeping others from running.
///
/// # Errors
///
/// As there.
pub(crate) async fn read_aside(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read(&path, most)).await.map_err(io::Error::other)?
}

/// As [`read_text`], without keeping others from running.
///
/// # Errors
///
/// As there.
pub(crate) async fn read_text_aside(path: &Path, most: u64) -> io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_text(&path, most)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_files_of_some_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        let error = read(&file, 4).unwrap_err().to_string();
        assert_eq!(error, "it has more than 4 bytes; reading was stopped");
        // One that has no length of its own.
        assert!(
            read(Path::new("/proc/kallsyms"), 100).unwrap_err().to_string().contains("more than 100 bytes")
        );

        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [&pipe, Path::new("/dev/zero"), directory.path()] {
            assert_eq!(read(other, 4).unwrap_err().to_string(), "it is not a file", "{}", other.display());
        }
        fs::write(&file, b"ab\xff").unwrap();
        assert_eq!(read_text(&file, 5).unwrap_err().to_string(), "it is not UTF-8 from byte 2 on");
    }
}
