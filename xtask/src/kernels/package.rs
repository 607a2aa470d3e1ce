//! Debian's kernel packages: found, downloaded and unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup::apt, workspace::Workspace};

const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);
const UNPACK_LIMIT: Duration = Duration::from_secs(120);

/// A line of kernels that Debian maintains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    V6_1,
    V6_12,
}

/// An unpacked kernel.
pub(super) struct Package {
    /// The package's file.
    pub(super) file: String,
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The kernel itself.
    pub(super) kernel: PathBuf,
    /// The folder with its modules.
    pub(super) modules: PathBuf,
}

impl Series {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The newest package that apt knows of.
    fn package(self) -> Option<String> {
        match self {
            Self::V6_1 => {
                let text =
                    process::output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
                let mut depends = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
                depends.find(|name| name.starts_with("linux-image-6.1.")).map(str::to_owned)
            }
            // The unsigned package is built with the kernel; the signed one of the same version may be late.
            Self::V6_12 => {
                let text =
                    process::output(Command::new("apt-cache").args(["pkgnames", "linux-image-6.12."]))?;
                newest(text.lines().filter(|name| name.ends_with("-cloud-amd64-unsigned")))
            }
        }
    }
}

/// The name with the highest numbers.
fn newest<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let numbers = |name: &&str| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    names.max_by_key(numbers).map(str::to_owned)
}

/// Downloads and unpacks the newest kernel of a series, unless that has been done.
pub(super) fn fetch(workspace: &Workspace, series: Series, folder: &Path) -> Result<Package> {
    let log = workspace.target().join("setup.log");
    let (name, file) = match find(series) {
        Some(found) => found,
        None => {
            apt::update(&log)?;
            find(series).with_context(|| {
                format!(
                    "apt knows no linux-image-{}*-cloud-amd64; Debian 12 and its security updates have it",
                    series.name()
                )
            })?
        }
    };
    let folder = folder.join("packages");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let unpacked = folder.join(file.trim_end_matches(".deb"));
    if !unpacked.exists() {
        eprintln!("kernels: {name} is one of the kernels that the program must run on");
        let mut download = Command::new("apt-get");
        download.current_dir(&folder).args(["--quiet", "download", &name]);
        process::logged(&format!("apt: {name}"), &mut download, DOWNLOAD_LIMIT, &log)?;
        unpack(&folder.join(&file), &unpacked, &log)?;
    }
    Package::look(file, &unpacked)
}

/// The package and the file that apt would download.
fn find(series: Series) -> Option<(String, String)> {
    let name = series.package()?;
    let text = process::output(Command::new("apt-get").args(["--print-uris", "download", &name]))?;
    // 'http://…' NAME_VERSION_ARCHITECTURE.deb SIZE HASH
    let file = text.lines().find_map(|line| line.strip_prefix('\'')?.split(' ').nth(1))?;
    Some((name, file.to_owned()))
}

/// Unpacks under another name first, so that what was cut short is not taken for whole.
fn unpack(file: &Path, to: &Path, log: &Path) -> Result<()> {
    let partial = to.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("failed to remove {}", partial.display()))?;
    }
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(file).arg(&partial);
    process::logged("dpkg-deb", &mut command, UNPACK_LIMIT, log)?;
    fs::rename(&partial, to).with_context(|| format!("failed to create {}", to.display()))?;
    fs::remove_file(file).with_context(|| format!("failed to remove {}", file.display()))
}

impl Package {
    fn look(file: String, unpacked: &Path) -> Result<Self> {
        let boot = unpacked.join("boot");
        let entries = fs::read_dir(&boot).with_context(|| format!("failed to read {}", boot.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let release = names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned())).next();
        let release = release.with_context(|| format!("{file} has no kernel"))?;
        let folders = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path).join(&release));
        let Some(modules) = folders.into_iter().find(|path| path.is_dir()) else {
            bail!("{file} has no modules for {release}");
        };
        Ok(Self { kernel: boot.join(format!("vmlinuz-{release}")), file, release, modules })
    }
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn versions_are_compared_as_numbers() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
        ];
        assert_eq!(newest(names.into_iter()).as_deref(), Some(names[1]));
        assert_eq!(newest([].into_iter()), None);
    }
}
