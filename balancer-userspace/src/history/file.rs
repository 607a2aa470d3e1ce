//! The file: one entry per line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::wire::LogEntry;

/// Mode of the file: of the agent's user, readable by its group.
const MODE: u32 = 0o640;

/// What a file held.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) entries: Vec<LogEntry>,
    /// Lines that are no entries, or are out of order. Of a last line that was cut short nothing is said: a crash or a
    /// full disk leaves one.
    pub(super) skipped: usize,
}

/// Reads the last `most` bytes of a file; nothing when there is none. A file that holds something else is refused, and is
/// not touched.
pub(super) fn load(path: &Path, most: u64) -> Result<Loaded, String> {
    let failed = |error: io::Error| {
        format!(
            "the decision log {} cannot be read: {error}; it begins anew, in memory alone",
            path.display()
        )
    };
    // Opening a pipe would wait for somebody to write.
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
        Err(error) => return Err(failed(error)),
    };
    let foreign = || {
        format!(
            "{} is not a decision log and was left alone: nothing is written down; correct agent.history",
            path.display()
        )
    };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(foreign());
    }
    let (mut loaded, mut lines) = (Loaded::default(), 0);
    let mut line = Vec::new();
    let start = found.len().saturating_sub(most);
    // The byte before tells whether a line begins there.
    file.seek(SeekFrom::Start(start.saturating_sub(1))).map_err(failed)?;
    let mut reader = BufReader::new(file.take(most + 1));
    if start > 0 {
        lines += usize::from(reader.read_until(b'\n', &mut line).map_err(failed)? > 0);
        line.clear();
    }
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        let whole = line.ends_with(b"\n");
        let entry = serde_json::from_slice::<LogEntry>(&line).ok().filter(|_| whole);
        let last = loaded.entries.last().map_or(0, |entry| entry.number);
        match entry.filter(|entry| entry.number > last) {
            Some(entry) => loaded.entries.push(entry),
            None if whole => loaded.skipped += 1,
            None => {}
        }
        lines += 1;
        line.clear();
    }
    let nothing = loaded.entries.is_empty() && (loaded.skipped > 0 || start > 0);
    if lines > 0 && nothing { Err(foreign()) } else { Ok(loaded) }
}

/// A file that entries are appended to.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl Writer {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// Appends an entry. What fails half-way is taken back. Returns the length of the file.
    pub(super) fn append(&mut self, entry: &LogEntry) -> io::Result<u64> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let (file, length) = self.file()?;
        match file.write_all(&line) {
            Ok(()) => {
                *length += line.len() as u64;
                Ok(*length)
            }
            Err(error) => {
                // A line that is cut short is left out by whoever reads it, if this fails as well.
                let _ = file.set_len(*length);
                self.open = None;
                Err(error)
            }
        }
    }

    /// Replaces the file by one with just these entries. The old one stays when that fails. Returns its length.
    pub(super) fn rewrite(&mut self, entries: &[Arc<LogEntry>]) -> io::Result<u64> {
        self.open = None;
        self.make_directory()?;
        let unfinished = self.path.with_extension("new");
        let written = write_all(&unfinished, entries).and_then(|()| fs::rename(&unfinished, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        self.file().map(|(_, length)| *length)
    }

    /// The open file and its length. A file that somebody has moved or removed is opened anew, with an error first: what
    /// it held has to be written again.
    fn file(&mut self) -> io::Result<&mut (File, u64)> {
        if let Some((file, _)) = &self.open {
            let ours = file.metadata()?.ino();
            if fs::metadata(&self.path).map(|found| found.ino()).ok() != Some(ours) {
                self.open = None;
                return Err(io::Error::new(io::ErrorKind::NotFound, "somebody has moved or removed it"));
            }
        }
        if self.open.is_none() {
            self.make_directory()?;
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(MODE)
                .open(&self.path)?;
            let length = whole_lines(&mut file)?;
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
            self.open = Some((file, length));
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    fn make_directory(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), fs::create_dir_all)
    }
}

fn write_all(path: &Path, entries: &[Arc<LogEntry>]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    let mut out = BufWriter::new(file);
    for entry in entries {
        serde_json::to_writer(&mut out, &**entry)?;
        out.write_all(b"\n")?;
    }
    out.into_inner()?.sync_data()
}

/// Length of a file without a last line that was cut short.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut length = file.seek(SeekFrom::End(0))?;
    let mut block = [0; 4096];
    while length > 0 {
        let start = length.saturating_sub(block.len() as u64);
        let part = &mut block[..(length - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        io::Read::read_exact(file, part)?;
        if let Some(end) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + end as u64 + 1);
        }
        length = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
