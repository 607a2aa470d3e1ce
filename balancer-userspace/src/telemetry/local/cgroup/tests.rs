use std::fs;
use std::path::Path;

use balancer_control::Resource;
use procfs::ProcessCGroup;

use super::{Mount, Mounts};

/// A machine with a unified hierarchy, one of version 1, or both.
struct Machine {
    dir: tempfile::TempDir,
    mounts: Mounts,
}

impl Machine {
    fn new(hierarchies: &[(&str, bool, &[&str])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = |(at, unified, controllers): &(&str, bool, &[&str])| {
            let at = dir.path().join(at);
            fs::create_dir_all(&at).unwrap();
            let controllers = controllers.iter().map(ToString::to_string).collect();
            Mount { unified: *unified, controllers, root: "/".to_owned(), at }
        };
        let mounts = Mounts(hierarchies.iter().map(mount).collect());
        Self { dir, mounts }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn v2() -> Machine {
    let machine = Machine::new(&[("v2", true, &[])]);
    machine.write("v2/system.slice/cpu.max", "max 100000\n");
    machine.write("v2/system.slice/memory.max", "max\n");
    machine.write("v2/system.slice/m.service/cpu.max", "50000 100000\n");
    machine.write("v2/system.slice/m.service/cpu.stat", "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n");
    machine.write("v2/system.slice/m.service/memory.max", "1000\n");
    machine.write("v2/system.slice/m.service/memory.current", "900\n");
    machine.write("v2/system.slice/m.service/memory.stat", "anon 400\ninactive_file 500\n");
    machine.write("v2/system.slice/m.service/cgroup.procs", "7\n9\n");
    machine.write("v2/system.slice/m.service/worker/cgroup.procs", "8\n");
    machine
}

#[test]
fn version_2() {
    let machine = v2();
    let group = machine.mounts.unit("m").unwrap();
    assert_eq!(group.cpu_s(), Some(1.5));
    assert_eq!(group.quota_cores(), Some(0.5));
    let memory = group.memory().unwrap();
    assert_eq!((memory.resource, memory.used), (Resource::Memory, 0.4), "the page cache can be given back");
    assert_eq!(group.pids(), [7, 8, 9]);

    machine.write("v2/system.slice/cpu.max", "25000 100000\n");
    assert_eq!(group.quota_cores(), Some(0.25), "a parent's quota is tighter");
}

#[test]
fn version_1() {
    let machine =
        Machine::new(&[("cpu", false, &["cpu"]), ("acct", false, &["cpuacct"]), ("mem", false, &["memory"])]);
    machine.write("cpu/m/cpu.cfs_quota_us", "150000\n");
    machine.write("cpu/m/cpu.cfs_period_us", "100000\n");
    machine.write("cpu/cpu.cfs_quota_us", "-1\n");
    machine.write("cpu/cpu.cfs_period_us", "100000\n");
    machine.write("acct/m/cpuacct.usage", "2500000000\n");
    machine.write("mem/m/memory.limit_in_bytes", "9223372036854771712\n");
    machine.write("mem/m/memory.usage_in_bytes", "900\n");
    let group = machine.mounts.group(Path::new("m")).unwrap();
    assert_eq!(group.cpu_s(), Some(2.5));
    assert_eq!(group.quota_cores(), Some(1.5));
    assert_eq!(group.memory(), None, "unlimited");

    machine.write("mem/m/memory.limit_in_bytes", "1000\n");
    machine.write("mem/m/memory.stat", "total_inactive_file 100\n");
    assert_eq!(group.memory().unwrap().used, 0.8);
}

#[test]
fn groups_of_a_process_in_both_versions() {
    let machine = Machine::new(&[("unified", true, &[]), ("cpu", false, &["cpu", "cpuacct"])]);
    machine.write("unified/a/cpu.stat", "usage_usec 1000000\n");
    machine.write("cpu/b/cpu.cfs_quota_us", "20000\n");
    machine.write("cpu/b/cpu.cfs_period_us", "100000\n");
    let group = |hierarchy, controllers: &[&str], pathname: &str| ProcessCGroup {
        hierarchy,
        controllers: controllers.iter().map(ToString::to_string).collect(),
        pathname: pathname.to_owned(),
    };
    let of = |groups: &[ProcessCGroup]| machine.mounts.of_process(groups);
    let both = of(&[group(0, &[], "/a"), group(3, &["cpu", "cpuacct"], "/b")]);
    assert_eq!((both.cpu_s(), both.quota_cores()), (Some(1.0), Some(0.2)));
    let none = of(&[group(0, &[], "/gone"), group(9, &["freezer"], "/")]);
    assert_eq!((none.cpu_s(), none.quota_cores(), none.memory()), (None, None, None));
}

#[test]
fn a_group_is_found_by_absolute_and_relative_path() {
    let machine = v2();
    let absolute = machine.dir.path().join("v2/system.slice/m.service");
    for path in
        [absolute.as_path(), Path::new("system.slice/m.service"), Path::new("/system.slice/m.service")]
    {
        assert_eq!(machine.mounts.group(path).unwrap().quota_cores(), Some(0.5), "{}", path.display());
    }
}

#[test]
fn what_is_not_there_is_said() {
    let machine = v2();
    assert!(machine.mounts.group(Path::new("system.slice/x")).unwrap_err().contains("no such group"));
    assert!(machine.mounts.group(&machine.dir.path().join("v2")).unwrap_err().contains("root of all groups"));
    assert!(machine.mounts.unit("x").unwrap_err().contains("x.service: the unit is not running"));
}
