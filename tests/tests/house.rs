//! What holds of the source everywhere: where `unsafe` may stand, and that each has its reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The files that may have `unsafe` in them: map values and packets by pointer, system calls that no library has, and
/// the promise that any bytes are a valid map value.
const UNSAFE: [&str; 21] = [
    "balancer-common/src/abi/hop.rs",
    "balancer-common/src/abi/pod.rs",
    "balancer-ebpf/src/atomic.rs",
    "balancer-ebpf/src/budget.rs",
    "balancer-ebpf/src/clock.rs",
    "balancer-ebpf/src/cookie.rs",
    "balancer-ebpf/src/flow_table.rs",
    "balancer-ebpf/src/frame.rs",
    "balancer-ebpf/src/generator.rs",
    "balancer-ebpf/src/generator/yardstick.rs",
    "balancer-ebpf/src/half_open.rs",
    "balancer-ebpf/src/program.rs",
    "balancer-ebpf/src/tables.rs",
    "balancer-ebpf/src/tables/families.rs",
    "balancer-userspace/src/kernel/device.rs",
    "balancer-userspace/src/kernel/sys.rs",
    "balancer-userspace/src/kernel/sys/bytes.rs",
    "balancer-userspace/src/kernel/sys/memory.rs",
    "tests/src/bench/rig.rs",
    "tests/src/bench/yardstick.rs",
    "tests/src/table/kernel/words.rs",
];

/// Crates that forbid it as a whole.
const FORBIDDEN: [&str; 3] =
    ["balancer-control/src/lib.rs", "balancer-userspace/src/main.rs", "xtask/src/main.rs"];

/// Crates that forbid it in all modules but some.
const FORBIDDEN_BUT: [(&str, &[&str]); 2] =
    [("balancer-userspace/src/lib.rs", &["kernel"]), ("tests/src/lib.rs", &["bench", "table"])];

/// How many lines above an `unsafe` its reason may begin.
const REASON_WITHIN: usize = 6;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// All Rust files of the workspace and their text, by path.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text));
            }
        }
    }
    assert!(sources.len() > 500, "only {} files", sources.len());
    sources
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether the line has the word in its code.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe impl ", "unsafe fn ", "unsafe trait ", "unsafe extern ", "#[unsafe("]
        .iter()
        .any(|form| code.contains(form) && !code.contains(&format!("\"{form}")))
}

#[test]
fn unsafe_is_where_it_may_be() {
    let found: BTreeSet<String> =
        sources().into_iter().filter(|(_, text)| text.lines().any(is_unsafe)).map(|(path, _)| path).collect();
    let known: BTreeSet<String> = UNSAFE.map(str::to_owned).into();
    let news: Vec<_> = found.difference(&known).collect();
    assert!(news.is_empty(), "unsafe in {news:?}: do without it, or give its reason here");
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "there is no unsafe in {gone:?} any more: take it off the list");
}

/// Clippy asks for reasons as well, but does not see what is compiled for BPF alone.
#[test]
fn every_unsafe_has_its_reason() {
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let above = &lines[at.saturating_sub(REASON_WITHIN)..=at];
            let reasoned = above.iter().any(|line| line.contains("// SAFETY:"));
            // What an attribute promises stands in the reason of its module.
            assert!(reasoned || line.contains("#[unsafe("), "{path}:{}: no `// SAFETY:`: {line}", at + 1);
        }
    }
}

#[test]
fn crates_forbid_it_where_they_can() {
    for path in FORBIDDEN {
        assert!(read(path).contains("#![forbid(unsafe_code)]"), "{path}");
    }
    for (path, but) in FORBIDDEN_BUT {
        let text = read(path);
        let lines: Vec<&str> = text.lines().collect();
        let modules = lines.iter().enumerate().filter_map(|(at, line)| {
            let name = line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')?;
            Some((at, name))
        });
        for (at, name) in modules.filter(|(_, name)| !but.contains(name)) {
            assert_eq!(lines[at - 1], "#[forbid(unsafe_code)]", "{path}: module {name}");
        }
    }
}
