//! What held on which kernel, as a table and as JSON.

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::{
    script::{Answer, Transcript},
    suite::Case,
};
use crate::test::Counts;

/// The exit status of a process that was killed, as the shell tells it.
const KILLED: i32 = 128 + 9;

/// What a test prints, followed by the reason, when the kernel has not what it needs.
const SKIPPED: &str = "skipped: ";

/// What follows the verifier's count in the output of its test.
const VERIFIED: &str = " instructions verified";

/// One kernel.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// As asked for.
    pub(super) kernel: String,
    /// As `uname -r` says it; absent when it did not start.
    release: Option<String>,
    /// The package's file; absent for the running kernel.
    package: Option<String>,
    /// Whether everything held.
    pub(super) held: bool,
    /// Instructions that the verifier looked at before it accepted the program.
    verified_instructions: Option<u64>,
    cases: Vec<Finding>,
}

/// What a kernel answered to one case.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    result: Verdict,
    /// Why it did not hold or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Time the tests took, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Held,
    Failed,
    /// The kernel has not what the test needs.
    Skipped,
}

impl Row {
    /// Judges a kernel. One that came as a `package` has all modules with it, so nothing may be skipped there.
    pub(super) fn new(
        (kernel, package): (&str, Option<&str>),
        cases: &[&'static Case],
        transcript: &Transcript,
    ) -> Self {
        let cases: Vec<_> = cases
            .iter()
            .map(|case| Finding::new(case, transcript.answers.get(case.name), package.is_none()))
            .collect();
        Self {
            kernel: kernel.to_owned(),
            release: transcript.release.clone(),
            package: package.map(str::to_owned),
            held: cases.iter().all(|finding| finding.result != Verdict::Failed),
            verified_instructions: transcript.answers.values().find_map(|answer| verified(&answer.output)),
            cases,
        }
    }

    /// A kernel that could not be tried at all.
    pub(super) fn untried(kernel: &str, cases: &[&'static Case], reason: &str) -> Self {
        let mut row = Self::new((kernel, None), cases, &Transcript::default());
        for finding in &mut row.cases {
            finding.reason = Some(reason.to_owned());
        }
        row
    }
}

impl Finding {
    fn new(case: &'static Case, answer: Option<&Answer>, may_skip: bool) -> Self {
        let name = case.name;
        let Some(answer) = answer else {
            return Self {
                name,
                result: Verdict::Failed,
                reason: Some("did not begin".to_owned()),
                seconds: None,
            };
        };
        let seconds = answer.end.map(|(_, seconds)| seconds);
        let skipped = answer.output.lines().find_map(|line| Some(line.split_once(SKIPPED)?.1.to_owned()));
        let (result, reason) = match (failure(case, answer), skipped) {
            (Some(reason), _) => (Verdict::Failed, Some(reason)),
            (None, Some(reason)) if may_skip => (Verdict::Skipped, Some(reason)),
            (None, Some(reason)) => (Verdict::Failed, Some(format!("skipped: {reason}"))),
            (None, None) => (Verdict::Held, None),
        };
        Self { name, result, reason, seconds }
    }
}

/// Why the tests of a case did not pass, if so.
fn failure(case: &Case, answer: &Answer) -> Option<String> {
    let mut counts = Counts::default();
    answer.output.lines().for_each(|line| counts.add(line));
    let wanted = case.tests.len() as u64;
    match answer.end {
        None => Some("did not end".to_owned()),
        Some((KILLED, _)) => Some(format!("took more than {} s", case.limit)),
        Some((0, _)) if counts.passed == wanted => None,
        // Tests that were renamed are not found, and libtest is content with none.
        Some((0, _)) => Some(format!("{} of {wanted} tests ran", counts.passed)),
        Some((status, _)) if counts.failed == 0 => Some(format!("ended with status {status}")),
        Some(_) => Some(format!("{} of {wanted} tests failed", counts.failed)),
    }
}

/// The verifier's count in what its test printed.
fn verified(output: &str) -> Option<u64> {
    let (before, _) = output.split_once(VERIFIED)?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Prints the answer of the task.
pub(super) fn print(rows: &[Row], json: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string_pretty(rows).context("failed to write JSON")?;
        println!("{text}");
    } else {
        println!("{}", table(rows));
    }
    for row in rows {
        for finding in &row.cases {
            if let Some(reason) = &finding.reason {
                eprintln!("{}: {}: {reason}", row.kernel, finding.name);
            }
        }
    }
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let cases = rows.first().map(|row| row.cases.as_slice()).unwrap_or_default();
    let names = cases.iter().map(|finding| finding.name);
    table.set_header(["kernel", "release", "verified"].into_iter().chain(names));
    for row in rows {
        let verified = row.verified_instructions.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let cells = row.cases.iter().map(|finding| {
            let word = match finding.result {
                Verdict::Held => "yes",
                Verdict::Failed => "NO",
                Verdict::Skipped => "skipped",
            };
            word.to_owned()
        });
        let release = row.release.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([row.kernel.clone(), release, verified].into_iter().chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    static CASE: Case = Case { name: "accepted", file: "file", tests: &["a", "b"], limit: 5 };

    fn judge(output: &str, end: Option<(i32, u64)>) -> (Verdict, Option<String>) {
        let answer = Answer { output: output.to_owned(), end };
        let finding = Finding::new(&CASE, Some(&answer), true);
        (finding.result, finding.reason)
    }

    #[test]
    fn only_all_tests_together_hold() {
        let result =
            |passed, failed| format!("test result: ok. {passed} passed; {failed} failed; 0 ignored\n");
        assert_eq!(judge(&result(2, 0), Some((0, 1))), (Verdict::Held, None));
        let failed = |reason: &str| (Verdict::Failed, Some(reason.to_owned()));
        assert_eq!(judge(&result(1, 0), Some((0, 1))), failed("1 of 2 tests ran"));
        assert_eq!(judge(&result(1, 1), Some((101, 1))), failed("1 of 2 tests failed"));
        assert_eq!(judge(&result(2, 0), None), failed("did not end"));
        assert_eq!(judge("", Some((137, 5))), failed("took more than 5 s"));
        assert_eq!(judge("", Some((127, 0))), failed("ended with status 127"));
        let skipped = format!("test a ... skipped: no VLANs\nok\n{}", result(2, 0));
        assert_eq!(judge(&skipped, Some((0, 1))), (Verdict::Skipped, Some("no VLANs".to_owned())));
    }

    #[test]
    fn a_kernel_of_the_matrix_skips_nothing() {
        let answer = Answer {
            output: "skipped: no VLANs\ntest result: ok. 2 passed; 0 failed; 0 ignored\n".to_owned(),
            end: Some((0, 1)),
        };
        assert_eq!(Finding::new(&CASE, Some(&answer), false).result, Verdict::Failed);
        assert_eq!(Finding::new(&CASE, None, false).result, Verdict::Failed);
    }

    #[test]
    fn finds_the_verifiers_count() {
        assert_eq!(
            verified("test a ... 154012 instructions verified, 9 bytes translated\nok"),
            Some(154_012)
        );
        assert_eq!(verified("test a ... FAILED"), None);
    }
}
