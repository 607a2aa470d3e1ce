//! Running other programs: with their output shown, kept for the caller, or logged behind one line of
//! progress.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How many of its last lines a failed program's log is quoted with.
const QUOTED_LINES: usize = 25;

/// How many bytes from the end of a log are looked at for its last line.
const LAST_BYTES: u64 = 400;

/// Before the command itself in a log.
const PROMPT: &str = "$ ";

/// A line of progress is cut here, as a line that wraps cannot be redrawn.
const TERMINAL_COLUMNS: usize = 79;

/// Runs `command` with its output on our standard error: standard output belongs to the answer of a task.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs `command` with its standard output on ours: the answer of the task is the program's.
pub(crate) fn run_with_answer(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("failed to start {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs `command` as [`run`] does and leaves the judgement to the caller.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("failed to start {}", describe(command)))
}

/// Runs `command` and returns its standard output; `None` when it is not there or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command`, which may take minutes, with its output in `log` and one line of progress on standard
/// error. Ends it after `limit`. The error of a failure quotes the end of the log.
pub(crate) fn logged(what: &str, command: &mut Command, limit: Duration, log: &Path) -> Result<()> {
    let started = Instant::now();
    let file = open_log(log, command)?;
    let mut progress = Progress::new(what);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("failed to share the log between two streams")?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("failed to start {}", describe(command)))?;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("failed to wait for {what}"))? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill().with_context(|| format!("failed to end {what}"))?;
            child.wait().with_context(|| format!("failed to wait for {what}"))?;
            progress.finish("timed out");
            bail!(
                "{} took more than {} s; its output is in {}",
                describe(command),
                limit.as_secs(),
                log.display()
            );
        }
        progress.show(log);
        thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        progress.finish("failed");
        bail!("{} failed: {status}\n{}\n(whole output: {})", describe(command), tail(log), log.display());
    }
    progress.finish("done");
    Ok(())
}

/// The program `name` in `PATH` or in the folders of system programs, which a user's `PATH` often lacks.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether this process is root's.
pub(crate) fn is_root() -> Result<bool> {
    let owner = fs::metadata("/proc/self").context("failed to look at /proc/self: is /proc mounted?")?.uid();
    Ok(owner == 0)
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    format!("`{}`", words.join(" "))
}

fn open_log(log: &Path, command: &Command) -> Result<File> {
    let folder = log.parent().context("the log has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("failed to open {}", log.display()))?;
    writeln!(file, "\n{PROMPT}{}", describe(command))
        .with_context(|| format!("failed to write {}", log.display()))?;
    Ok(file)
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

/// What the program says at the moment, if that is text.
fn last_line(log: &Path) -> String {
    let mut end = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        file.take(LAST_BYTES).read_to_end(&mut end)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&end);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.starts_with(PROMPT) {
        return String::new();
    }
    line.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// One line that tells a person that something is happening: redrawn on a terminal, repeated every fifteen
/// seconds anywhere else.
struct Progress {
    what: String,
    started: Instant,
    terminal: bool,
    next: Duration,
}

impl Progress {
    fn new(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            started: Instant::now(),
            terminal: io::stderr().is_terminal(),
            next: Duration::ZERO,
        }
    }

    fn show(&mut self, log: &Path) {
        let elapsed = self.started.elapsed();
        if elapsed < self.next {
            return;
        }
        let line = format!("  {} … {} s  {}", self.what, elapsed.as_secs(), last_line(log));
        if self.terminal {
            let line: String = line.chars().take(TERMINAL_COLUMNS).collect();
            eprint!("\r\x1b[K{line}");
            self.next = elapsed + Duration::from_secs(1);
        } else {
            eprintln!("{}", line.trim_end());
            self.next = elapsed + Duration::from_secs(15);
        }
    }

    fn finish(&self, end: &str) {
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{start}  {} … {end} after {} s", self.what, self.started.elapsed().as_secs());
    }
}
