//! The shell script that asks a kernel every question, and reading what it said. The same script runs in the
//! emulated machine and on this one.

use std::{collections::BTreeMap, path::Path};

use super::suite::Case;
use crate::build::OBJECT_VARIABLE;

/// What a line of the script's own starts with.
const MARK: &str = "@@";

/// Where things are for the script.
pub(super) struct Places<'a> {
    pub(super) object: &'a Path,
    pub(super) binary: &'a Path,
    /// How many times longer than on a real processor the tests wait.
    pub(super) patience: u32,
}

/// The script. `program` says where the program of a test file is.
pub(super) fn write(places: &Places<'_>, cases: &[&Case], program: impl Fn(&Case) -> String) -> String {
    let object = quote(&places.object.display().to_string());
    let binary = quote(&places.binary.display().to_string());
    let mut script = format!(
        "export {OBJECT_VARIABLE}={object} BALANCER_BIN={binary} BALANCER_TEST_PATIENCE={}\n\
         ask() {{\n\
         \tname=$1 limit=$2\n\
         \tshift 2\n\
         \tprintf '\\n{MARK} begin %s\\n' \"$name\"\n\
         \tbegin=$(date +%s)\n\
         \ttimeout -s KILL \"$limit\" \"$@\" --ignored --exact --nocapture --test-threads=1 2>&1\n\
         \tstatus=$?\n\
         \tend=$(date +%s)\n\
         \tprintf '\\n{MARK} end %s\\n' \"$status $((end - begin))\"\n\
         }}\n\
         printf '\\n{MARK} kernel %s\\n' \"$(uname -r)\"\n",
        places.patience
    );
    for case in cases {
        let words = [case.name.to_owned(), case.limit.to_string(), program(case)];
        let words = words.iter().map(String::as_str).chain(case.tests.iter().copied());
        let words: Vec<_> = words.map(quote).collect();
        script.push_str(&format!("ask {}\n", words.join(" ")));
    }
    script
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What the script said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Transcript {
    /// The kernel's release; `None` when the script did not start.
    pub(super) release: Option<String>,
    /// Cases by name.
    pub(super) answers: BTreeMap<String, Answer>,
}

/// What the tests of one case said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) output: String,
    /// Exit status and seconds; `None` when the tests did not end.
    pub(super) end: Option<(i32, u64)>,
}

impl Transcript {
    pub(super) fn read(text: &str) -> Self {
        let mut transcript = Self::default();
        let mut open: Option<String> = None;
        for line in text.lines().map(str::trim_end) {
            let words = line.strip_prefix(MARK).and_then(|rest| rest.trim_start().split_once(' '));
            match words {
                Some(("kernel", release)) => transcript.release = Some(release.to_owned()),
                Some(("begin", name)) => {
                    transcript.answers.insert(name.to_owned(), Answer::default());
                    open = Some(name.to_owned());
                }
                Some(("end", rest)) => {
                    let answer = open.take().and_then(|name| transcript.answers.get_mut(&name));
                    if let Some(answer) = answer {
                        answer.end = rest.split_once(' ').and_then(|(status, seconds)| {
                            Some((status.parse().ok()?, seconds.parse().ok()?))
                        });
                    }
                }
                _ => {
                    if let Some(answer) = open.as_ref().and_then(|name| transcript.answers.get_mut(name)) {
                        answer.output.push_str(line);
                        answer.output.push('\n');
                    }
                }
            }
        }
        transcript
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_that_breaks_off_has_an_answer_without_an_end() {
        let text = "[ 1.0] booting\r\n\r\n@@ kernel 6.1.0\r\n\n@@ begin packet table\nfine\n\n@@ end 0 7\n\n\
                    @@ begin connect\ntest a ... ";
        let transcript = Transcript::read(text);
        assert_eq!(transcript.release.as_deref(), Some("6.1.0"));
        assert_eq!(
            transcript.answers["packet table"],
            Answer { output: "fine\n\n".to_owned(), end: Some((0, 7)) }
        );
        assert_eq!(transcript.answers["connect"].end, None);
        assert_eq!(transcript.answers.len(), 2);
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("it's a path"), r"'it'\''s a path'");
    }
}
