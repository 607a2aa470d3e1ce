//! What is tried on each kernel, and the programs for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    build::{self, Built},
    process,
    workspace::Workspace,
};

/// One question to a kernel: tests of one file in `tests/tests`.
pub(super) struct Case {
    /// The column of the table.
    pub(super) name: &'static str,
    /// The file, without its suffix.
    pub(super) file: &'static str,
    /// Functions in it.
    pub(super) tests: &'static [&'static str],
    /// Seconds until the tests are killed. An emulated processor is twenty times slower than a real one.
    pub(super) limit: u64,
}

const CASES: &[Case] = &[
    Case { name: "accepted", file: "verdicts_kernel", tests: &["the_verifier_has_room_left"], limit: 180 },
    Case {
        name: "packet table",
        file: "verdicts_kernel",
        tests: &["every_packet_ends_as_the_table_says", "random_packets_end_as_on_the_host"],
        limit: 600,
    },
    Case {
        name: "connect",
        file: "steering",
        tests: &["both_families_share_backends_hosts_and_clients"],
        limit: 240,
    },
    Case { name: "checksums", file: "wire", tests: &["checksums_are_right_on_both_sides"], limit: 180 },
    Case {
        name: "vlan",
        file: "vlan",
        tests: &["one_tag_on_both_sides", "two_tags_on_both_sides"],
        limit: 480,
    },
    Case { name: "restart", file: "faults", tests: &["a_killed_agent_is_not_missed"], limit: 300 },
];

/// The cases of these names, all of them when there is none.
pub(super) fn choose(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().collect());
    }
    let find = |name: &String| {
        let all = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        let found = CASES.iter().find(|case| case.name == *name);
        found.with_context(|| format!("there is no case {name:?}; there are {}", all()))
    };
    names.iter().map(find).collect()
}

/// The programs that the cases run.
pub(super) struct Suite {
    /// What is asked.
    pub(super) cases: Vec<&'static Case>,
    pub(super) built: Built,
    /// The tests' programs by name of their file.
    pub(super) tests: BTreeMap<String, PathBuf>,
    /// The MQTT clients of the labs.
    pub(super) load: PathBuf,
}

/// The name of the program with the MQTT clients.
const LOAD: &str = "balancer-load";

/// What cargo says of each thing it has built, as far as it is of use here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Suite {
    /// Builds the tests.
    pub(super) fn build(workspace: &Workspace, built: Built, cases: Vec<&'static Case>) -> Result<Self> {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--locked", "--no-run", "--package", "balancer-tests"]);
        cargo.arg("--message-format=json-render-diagnostics");
        for case in &cases {
            cargo.args(["--test", case.file]);
        }
        build::with_products(&mut cargo, &built).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output =
            cargo.output().with_context(|| format!("failed to start {}", process::describe(&cargo)))?;
        if !output.status.success() {
            bail!("{} failed: {}", process::describe(&cargo), output.status);
        }
        let mut tests = BTreeMap::new();
        let mut load = None;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Message =
                serde_json::from_str(line).with_context(|| format!("cargo says what is no JSON: {line}"))?;
            let (Some(path), Some(target)) = (message.executable, message.target) else { continue };
            if target.kind.iter().any(|kind| kind == "test") {
                tests.insert(target.name, path);
            } else if target.name == LOAD {
                load = Some(path);
            }
        }
        let load = load.with_context(|| format!("cargo has not built {LOAD}"))?;
        for case in &cases {
            tests.get(case.file).with_context(|| format!("cargo has not built tests/{}.rs", case.file))?;
        }
        Ok(Self { cases, built, tests, load })
    }

    /// All programs, each with the path it gets where `place` puts it.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&str, &Path)> {
        let tests = self.tests.iter().map(|(name, path)| (name.as_str(), path.as_path()));
        tests.chain([("balancer", self.built.binary.as_path()), (LOAD, self.load.as_path())])
    }
}
