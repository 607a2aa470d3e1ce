//! The initramfs: BusyBox, the tests, the programs they run with their libraries, and kernel modules.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    package::Package,
    script::{self, Places},
    suite::Suite,
};
use crate::{process, setup};

/// Modules of virtual networks, each after those it needs.
const MODULES: &[&str] = &["llc", "stp", "bridge", "veth", "garp", "mrp", "8021q"];

/// How many times longer than on a real processor the tests wait.
const PATIENCE: u32 = 5;

/// The tests' folder in the machine.
const TESTS: &str = "/tests";

/// The second serial port carries what the script says: the kernel writes to the first one at any moment.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
exec </dev/null >/dev/ttyS1 2>&1
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
ip link set lo up
. /tests/run
poweroff -f
"#;

/// Makes the initramfs of a kernel, and returns its path.
pub(super) fn make(suite: &Suite, package: &Package, folder: &Path) -> Result<PathBuf> {
    let folder = folder.join(&package.release);
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("failed to remove {}", root.display()))?;
    }
    let tree = Tree { root };
    for name in ["busybox", "dev", "proc", "sys", "tmp", "run", "root", "var"] {
        tree.folder(&tree.at(Path::new(name)))?;
    }
    tree.link("/run", "var/run")?;
    // Programs look up the users they run as.
    for users in ["/etc/passwd", "/etc/group"] {
        tree.copy(Path::new(users), Path::new(users))?;
    }
    tree.text("init", INIT, 0o755)?;
    tree.suite(suite)?;
    tree.machine_programs()?;
    tree.modules(package)?;
    tree.archive(&folder.join("initramfs.cpio"))
}

/// The files of an initramfs while it is made.
struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Where the file `path` of the machine is here.
    fn at(&self, path: &Path) -> PathBuf {
        let parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
        self.root.join(parts.collect::<PathBuf>())
    }

    fn folder(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))
    }

    /// Where a file goes, with its folder made.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        let to = self.at(path);
        self.folder(to.parent().expect("a file of the tree is below its root"))?;
        Ok(to)
    }

    fn text(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let to = self.place(Path::new(path))?;
        fs::write(&to, text).with_context(|| format!("failed to write {}", to.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))
            .with_context(|| format!("failed to set the mode of {}", to.display()))
    }

    fn link(&self, target: &str, path: &str) -> Result<()> {
        let to = self.place(Path::new(path))?;
        std::os::unix::fs::symlink(target, &to).with_context(|| format!("failed to create {}", to.display()))
    }

    /// The tests, what they run, the kernel object, and the script that runs them.
    fn suite(&self, suite: &Suite) -> Result<()> {
        let tests = Path::new(TESTS);
        for (name, path) in suite.programs() {
            self.libraries(path)?;
            // Debug information is most of a test's size, and the machine keeps all files in memory.
            let to = self.place(&tests.join(name))?;
            process::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&to).arg(path))?;
        }
        let object = tests.join("balancer.o");
        self.copy(&suite.built.object, &object)?;
        let places = Places { object: &object, binary: &tests.join("balancer"), patience: PATIENCE };
        let script = script::write(&places, &suite.cases, |case| format!("{TESTS}/{}", case.file));
        self.text("tests/run", &script, 0o644)
    }

    /// The programs of the labs, with their libraries, where this machine has them.
    fn machine_programs(&self) -> Result<()> {
        for path in setup::lab_programs()? {
            self.libraries(&path)?;
            self.copy(&path, &path)?;
        }
        let busybox = process::find("busybox").context("busybox is not there")?;
        self.libraries(&busybox)?;
        self.copy(&busybox, Path::new("/bin/busybox"))
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let to = self.place(to)?;
        fs::copy(from, &to)
            .with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }

    /// The libraries of a program, under the paths where it looks for them.
    fn libraries(&self, program: &Path) -> Result<()> {
        let output = Command::new("ldd").arg(program).output().context("failed to start ldd")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            if error.contains("not a dynamic executable") {
                return Ok(());
            }
            bail!("ldd {}: {error}{text}", program.display());
        }
        for line in text.lines() {
            if line.contains("not found") {
                bail!("{} misses a library: {}", program.display(), line.trim());
            }
            // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` of the loader; the kernel's own library has no path.
            let path = line.split_whitespace().find(|word| word.starts_with('/')).map(Path::new);
            if let Some(path) = path
                && !self.at(path).exists()
            {
                self.copy(path, path)?;
            }
        }
        Ok(())
    }

    /// The modules as files that BusyBox can load, and the order to load them in.
    fn modules(&self, package: &Package) -> Result<()> {
        for name in MODULES {
            let path = find_module(&package.modules, name)?
                .with_context(|| format!("{} has no module {name}", package.file))?;
            let module = if path.extension().is_some_and(|suffix| suffix == "xz") {
                decompress(&path)?
            } else {
                fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?
            };
            let to = self.place(&Path::new("modules").join(format!("{name}.ko")))?;
            fs::write(&to, module).with_context(|| format!("failed to write {}", to.display()))?;
        }
        self.text("modules/order", &MODULES.join("\n"), 0o644)
    }

    /// Packs everything. Not compressed: to decompress takes an emulated processor longer than to read.
    fn archive(&self, to: &Path) -> Result<PathBuf> {
        let mut names = Vec::new();
        list(&self.root, Path::new(""), &mut names)?;
        let file = fs::File::create(to).with_context(|| format!("failed to create {}", to.display()))?;
        let mut cpio = Command::new("cpio");
        cpio.current_dir(&self.root).args(["--quiet", "--create", "--format=newc", "--null"]);
        let mut child = cpio.stdin(Stdio::piped()).stdout(file).spawn().context("failed to start cpio")?;
        let mut input = child.stdin.take().expect("standard input was asked to be piped");
        input.write_all(names.join("\0").as_bytes()).context("failed to write to cpio")?;
        drop(input);
        let status = child.wait().context("failed to wait for cpio")?;
        if !status.success() {
            bail!("cpio failed: {status}");
        }
        Ok(to.to_owned())
    }
}

/// The file of a module, which may be compressed.
fn find_module(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("failed to read {}", folder.display()))?;
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find_module(&path, name)? {
                return Ok(Some(found));
            }
        } else if [format!("{name}.ko"), format!("{name}.ko.xz")].iter().any(|file| path.ends_with(file)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn decompress(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(path).output();
    let output = output.context("failed to start xz")?;
    if !output.status.success() {
        bail!("xz {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// Everything below `folder`, folders before what is in them.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    let path = root.join(folder);
    for entry in fs::read_dir(&path).with_context(|| format!("failed to read {}", path.display()))? {
        let entry = entry.with_context(|| format!("failed to read {}", path.display()))?;
        let name = folder.join(entry.file_name());
        names.push(name.to_str().context("a file name is not UTF-8")?.to_owned());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(root, &name, names)?;
        }
    }
    Ok(())
}
