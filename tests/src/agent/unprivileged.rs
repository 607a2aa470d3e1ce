//! An agent that runs as its unit says: as a user of its own, with a few capabilities.

use std::{os::unix::fs::chown, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::netns::Netns;

const UNIT: &str = include_str!("../../../balancer-userspace/dist/balancer.service");

/// Whom the agent runs as: nobody on this machine, as the number is in the range that systemd gives to services
/// without a user of their own.
pub const USER: u32 = 65_000;

/// Prepares what systemd prepares, where nobody else sees it: the directories of the unit and a BPF file system. What the
/// unit does in them itself follows.
const SCRIPT: &str = "\
set -e
mkdir -p /run/balancer
mount -t tmpfs -o mode=0700,uid=$1,gid=$1 tmpfs /run/balancer
mount -t tmpfs tmpfs /var/lib
install -d -m 0700 -o $1 -g $1 /var/lib/balancer
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
eval \"$2\"
exec setpriv --pdeathsig KILL --reuid=$1 --regid=$1 --clear-groups --no-new-privs \
    --inh-caps=-all,$3 --ambient-caps=-all,$3 --bounding-set=-all,$3 -- \"$4\" run --config \"$5\"
";

/// The names after `key` in the unit.
///
/// # Errors
/// The unit has no such line.
fn setting(key: &str) -> Result<Vec<&'static str>> {
    let value = UNIT.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(value.with_context(|| format!("the unit has no {key}"))?.split(' ').collect())
}

/// The capabilities that the unit leaves the agent, as the kernel names them: `CAP_BPF`.
///
/// # Errors
/// The unit does not say.
pub fn capabilities() -> Result<Vec<&'static str>> {
    setting("CapabilityBoundingSet")
}

/// The commands by which the unit prepares its start as root, for a shell, with [`USER`] in place of the unit's own.
#[must_use]
pub fn preparations() -> String {
    let commands = UNIT.lines().filter_map(|line| line.strip_prefix("ExecStartPre=+"));
    let user = USER.to_string();
    let words = commands.map(|command| {
        let word = |word: &str| match word {
            "balancer" => user.clone(),
            "balancer:balancer" => format!("{user}:{user}"),
            other => other.to_owned(),
        };
        command.split(' ').map(word).collect::<Vec<_>>().join(" ")
    });
    words.collect::<Vec<_>>().join("\n")
}

/// What starts `binary` as that user in `gateway`. The user owns `directory` then; its pins are below the unit's directory for
/// them, in a BPF file system that ends with it.
pub(super) fn command(gateway: &Netns, binary: &Path, directory: &Path, config: &Path) -> Result<Command> {
    chown(directory, Some(USER), Some(USER))
        .with_context(|| format!("failed to give {} away", directory.display()))?;
    let for_setpriv = |name: &&str| format!("+{}", name.trim_start_matches("CAP_").to_lowercase());
    let capabilities: Vec<String> = capabilities()?.iter().map(for_setpriv).collect();
    let mut command = gateway.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
    command.arg(USER.to_string()).arg(preparations()).arg(capabilities.join(",")).arg(binary).arg(config);
    Ok(command)
}
