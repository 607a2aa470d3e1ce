//! Fuzz targets: whatever is read from outside, as functions of bytes.
//!
//! `cargo xtask fuzz` runs them under libFuzzer, and the tests run them on the inputs that are kept in
//! `tests/fuzz/corpus`. A target panics when a promise is broken; an input that is merely bad is none.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, ReadBuf};

/// One function of bytes.
pub struct Target {
    /// Its name, which its corpus has too.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
}

/// All targets of this crate.
pub const TARGETS: [Target; 14] = [
    Target { name: "agent-check", run: crate::telemetry::fuzz::agent_check },
    Target { name: "amqp", run: crate::probe::fuzz::amqp },
    Target { name: "api", run: crate::api::fuzz::requests },
    Target { name: "config", run: crate::config::fuzz::text },
    Target { name: "discovery", run: crate::discovery::fuzz::answer },
    Target { name: "drain", run: crate::probe::fuzz::drain },
    Target { name: "history", run: crate::history::fuzz::file },
    Target { name: "json", run: crate::telemetry::fuzz::json },
    Target { name: "mqtt", run: crate::telemetry::mqtt::fuzz::stream },
    Target { name: "preset", run: crate::preset::fuzz::text },
    Target { name: "prometheus", run: crate::telemetry::fuzz::prometheus },
    Target { name: "selector", run: crate::preset::fuzz::selector },
    Target { name: "stomp", run: crate::probe::fuzz::stomp },
    Target { name: "sys", run: crate::telemetry::sys_fuzz::topics },
];

/// Runs the target of that name.
///
/// # Panics
///
/// When there is none, or when it breaks a promise.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the name of a target");
    (target.run)(data);
}

/// Longest message about an input: what is quoted of it is cut.
const MESSAGE: usize = 2000;

/// Checks a message for people that was made of an input.
pub(crate) fn check_message(message: &str) {
    assert!(!message.is_empty(), "a message that says nothing");
    assert!(message.len() <= MESSAGE, "a message of {} bytes: {message:.200}", message.len());
}

/// A stream that arrives in pieces.
pub(crate) struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl<'a> Pieces<'a> {
    /// A stream whose first byte says how long the pieces are.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        let (first, rest) = data.split_first().unwrap_or((&0, &[]));
        Self { rest, piece: 1 + usize::from(*first) }
    }

    /// A stream in one piece.
    pub(crate) const fn whole(rest: &'a [u8]) -> Self {
        Self { rest, piece: usize::MAX }
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (piece, rest) = self.rest.split_at(self.rest.len().min(self.piece).min(into.remaining()));
        into.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

/// The result of a future that waits for nothing.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("whatever it reads is there")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What once broke a target, and what reaches far into it.
    #[test]
    fn what_is_kept_breaks_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        for target in &TARGETS {
            let folder = corpus.join(target.name);
            let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let mut inputs = 0;
            for file in files {
                let path = file.unwrap().path();
                let input = std::fs::read(&path).unwrap();
                let run = std::panic::catch_unwind(|| (target.run)(&input));
                assert!(run.is_ok(), "{} breaks a promise", path.display());
                inputs += 1;
            }
            assert!(inputs > 3, "{} has {inputs} inputs", folder.display());
        }
    }
}
