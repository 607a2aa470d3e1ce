//! The inputs that are kept in the repository.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{process, workspace::Workspace};

/// Bytes that are kept of one target, beside those that once broke it and those that were written by hand.
const KEPT: u64 = 8 << 10;

/// How libFuzzer calls what breaks a target.
const BREAKS: [&str; 3] = ["crash-", "oom-", "timeout-"];

/// How the names begin of inputs that are kept for good.
const FOR_GOOD: [&str; 2] = ["crash-", "seed-"];

/// Words of the kept inputs, as a dictionary; `None` when there are none, which libFuzzer would refuse.
pub(super) fn dictionary(kept: &Path, into: &Path) -> Result<Option<PathBuf>> {
    let mut words = BTreeSet::new();
    for file in files(kept)? {
        let input = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let word = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"_-/:.$+".contains(byte));
        for word in input.split(word).filter(|word| (2..=40).contains(&word.len())) {
            words.insert(String::from_utf8_lossy(word).into_owned());
        }
    }
    if words.is_empty() {
        return Ok(None);
    }
    let lines: Vec<String> = words.iter().map(|word| format!("\"{word}\"\n")).collect();
    fs::write(into, lines.concat()).with_context(|| format!("failed to write {}", into.display()))?;
    Ok(Some(into.to_owned()))
}

/// Moves what broke a target to the inputs that are kept; the last of them, if there is one.
pub(super) fn take(broken: &Path, kept: &Path) -> Result<Option<PathBuf>> {
    let mut last = None;
    for file in files(broken)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !BREAKS.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let name = name.split_once('-').map_or(name.as_str(), |(_, rest)| rest).to_owned();
        let to = kept.join(format!("crash-{}", name.get(..12).unwrap_or(&name)));
        fs::copy(&file, &to).with_context(|| format!("failed to write {}", to.display()))?;
        fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
        last = Some(to);
    }
    Ok(last)
}

/// Keeps the smallest inputs that together reach what all reach, as far as there is room.
pub(super) fn keep(workspace: &Workspace, name: &str, program: &Path) -> Result<()> {
    let kept = workspace.root().join("tests/fuzz/corpus").join(name);
    let found = super::folder(workspace).join("corpus").join(name);
    let least = super::folder(workspace).join("least").join(name);
    let _ = fs::remove_dir_all(&least);
    fs::create_dir_all(&least).with_context(|| format!("failed to create {}", least.display()))?;
    let mut merge = Command::new(program);
    merge.args(["-merge=1", "-set_cover_merge=1", "-close_fd_mask=1"]).args([&least, &kept, &found]);
    let log = super::folder(workspace).join(format!("{name}.merge.log"));
    process::logged(&format!("{name}: least inputs"), &mut merge, Duration::from_secs(1200), &log)?;
    for file in files(&kept)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !FOR_GOOD.iter().any(|start| name.starts_with(start)) {
            fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
        }
    }
    let mut least: Vec<(u64, PathBuf)> =
        files(&least)?.into_iter().map(|file| (fs::metadata(&file).map_or(0, |it| it.len()), file)).collect();
    least.sort();
    let mut room = KEPT;
    for (size, file) in least {
        let Some(rest) = room.checked_sub(size) else { break };
        room = rest;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = kept.join(name.get(..12).unwrap_or(&name));
        fs::copy(&file, &to).with_context(|| format!("failed to write {}", to.display()))?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.with_context(|| format!("failed to list {}", folder.display()))?.path());
    }
    files.sort();
    Ok(files)
}
