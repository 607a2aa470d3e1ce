//! Where things are: the checkout, the target directory, the tools this project builds for itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// The checkout this binary was built from, and where its outputs go.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        // Set by `cargo run`; a binary started by hand belongs to the checkout it was built in.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root =
            Path::new(&manifest).parent().context("the xtask crate is not inside a workspace")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The kernel object that `cargo xtask build` makes.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf/balancer.o")
    }

    /// The folder for the tools this project builds for itself. It lies outside the target directory, so
    /// that `cargo clean` and a second checkout do not cost another build of them.
    pub(crate) fn tools(&self) -> PathBuf {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        match cache {
            Some(cache) if cache.is_absolute() => cache.join("balancer/tools"),
            Some(_) | None => self.target.join("tools"),
        }
    }

    /// The cargo that runs this task, set to build in this workspace, and for this machine: what was built for a target that the
    /// variable names would lie in a folder of its own, and an older program in its place would be run.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).env_remove("CARGO_BUILD_TARGET");
        cargo
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_is_built_lies_where_it_is_looked_for() {
        let workspace = Workspace { root: "/root".into(), target: "/a target".into() };
        let cargo = workspace.cargo();
        let set = |name: &str| cargo.get_envs().find(|(key, _)| *key == OsStr::new(name));
        assert_eq!(set("CARGO_TARGET_DIR").unwrap().1, Some(OsStr::new("/a target")));
        assert_eq!(set("CARGO_BUILD_TARGET"), Some((OsStr::new("CARGO_BUILD_TARGET"), None)));
    }
}
