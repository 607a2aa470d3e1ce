//! What can stand between clients and brokers.

use std::{env, fmt::Write as _, fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;
use tempfile::TempDir;

use super::{machine, web};
use crate::{
    agent::Agent,
    lab::{Lab, PORT, VIP4},
    peer::Pass,
    plan::{BackendPlan, DatapathPlan, HealthPlan, Plan, ServicePlan},
    process::Process,
    wait::{self, PATIENCE},
};

/// Flows that the balancer's IPv4 table holds: its own default.
const FLOWS: u32 = 1 << 20;

/// Clients at the same time that a proxy is prepared for, unless there are to be more.
const CLIENTS: usize = 4_000;

/// Longer than ports wait: `TCP_TIMEWAIT_LEN` is a minute.
const TIME_WAIT: Duration = Duration::from_secs(90);

/// Descriptors of a process that are not for connections.
const OTHER: usize = 500;

/// One of those that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// The balancer of this repository, with its default policy.
    Balancer,
    /// HAProxy in TCP mode, leastconn.
    Haproxy,
    /// nginx's stream module, least_conn.
    Nginx,
    /// Destination NAT by nftables, brokers in turn.
    Nftables,
    /// Clients that know the brokers' addresses; the gateway only routes.
    Direct,
}

impl Rival {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Balancer, Self::Haproxy, Self::Nginx, Self::Nftables, Self::Direct];

    /// Its name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balancer => "balancer",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx stream",
            Self::Nftables => "nftables",
            Self::Direct => "direct",
        }
    }

    /// Programs that it needs besides those of the lab, and where Debian has them.
    const fn needs(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Balancer | Self::Direct => None,
            Self::Haproxy => Some(("haproxy", "haproxy")),
            Self::Nginx => Some(("nginx", "nginx libnginx-mod-stream")),
            Self::Nftables => Some(("nft", "nftables")),
        }
    }

    /// Whether the kernel forwards its packets, so that frames can be injected.
    pub(super) const fn forwards_packets(self) -> bool {
        matches!(self, Self::Balancer | Self::Nftables | Self::Direct)
    }

    /// Fails when it cannot run on this machine, with the remedy.
    pub(super) fn check(self) -> Result<()> {
        self.needs().map_or(Ok(()), |(program, packages)| check_program(program, packages))
    }

    /// Puts it into the gateway, ready for some number of clients, and waits until it serves.
    pub(super) fn start(self, lab: &Lab, clients: usize) -> Result<Running<'_>> {
        let vip = |port| vec![SocketAddr::from((VIP4, port))];
        let brokers =
            |port| lab.brokers.iter().map(|host| SocketAddr::from((host.v4, port))).collect::<Vec<_>>();
        let (hold, mqtt, http) = match self {
            Self::Balancer => (Hold::balancer(lab)?, vip(PORT), vip(web::PORT)),
            Self::Haproxy => (Hold::haproxy(lab, Size::of(clients)?)?, vip(PORT), vip(web::PORT)),
            Self::Nginx => (Hold::nginx(lab, Size::of(clients)?)?, vip(PORT), vip(web::PORT)),
            Self::Nftables => (Hold::nftables(lab)?, vip(PORT), vip(web::PORT)),
            Self::Direct => (Hold::Nothing, brokers(PORT), brokers(web::PORT)),
        };
        for to in mqtt.iter().chain(&http) {
            wait::until_ok(&format!("{to} to answer by {}", self.as_str()), PATIENCE, || {
                web::listens(&lab.clients[0], *to)
            })?;
        }
        Ok(Running { rival: self, mqtt, http, hold })
    }
}

/// Lets a proxy begin with all of the gateway's ports: one before it has left thousands in `TIME_WAIT`.
fn free_ports(lab: &Lab) -> Result<()> {
    wait::until_ok("the ports of the proxy before to be free", TIME_WAIT, || {
        let waiting = lab.gateway.enter(machine::time_wait)??;
        if waiting > 0 {
            let mut forget = lab.gateway.command("ss");
            forget.args(["-K", "-t", "state", "time-wait"]).stdout(Stdio::null()).stderr(Stdio::null());
            // Where the kernel cannot (CONFIG_INET_DIAG_DESTROY), they wait for their minute.
            forget.status().context("failed to run ss")?;
        }
        ensure!(waiting == 0, "{waiting} connections of the gateway are in TIME_WAIT");
        Ok(())
    })
}

/// Fails when a program is not in the search path, with the remedy.
pub(super) fn check_program(program: &str, packages: &str) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = env::split_paths(&path).any(|directory| directory.join(program).is_file());
    ensure!(
        there,
        "{program} is not there: `cargo xtask bench gateway` installs it on Debian, as does `apt-get install \
         {packages}`; --rival and --only measure without it"
    );
    Ok(())
}

/// A rival at work; gone with it.
pub(super) struct Running<'a> {
    /// Which one it is.
    pub(super) rival: Rival,
    /// Where MQTT clients connect to.
    pub(super) mqtt: Vec<SocketAddr>,
    /// Where HTTP clients connect to.
    pub(super) http: Vec<SocketAddr>,
    hold: Hold<'a>,
}

/// How a proxy is made large enough, where a process may have few descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    /// Processes that share the clients.
    processes: usize,
    /// Descriptors for connections of each, two for a client.
    descriptors: usize,
}

impl Size {
    fn of(clients: usize) -> Result<Self> {
        let (limit, _) =
            getrlimit(Resource::RLIMIT_NOFILE).context("failed to read the limit of descriptors")?;
        Self::within(clients, usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// A tenth more than is needed, as hashes do not spread evenly.
    fn within(clients: usize, limit: usize) -> Result<Self> {
        let wanted = 2 * clients.max(CLIENTS) / 10 * 11;
        let room = limit.saturating_sub(OTHER);
        ensure!(room > OTHER, "a process may have {limit} descriptors, which is too few: ulimit -n");
        let processes = wanted.div_ceil(room);
        Ok(Self { processes, descriptors: wanted.div_ceil(processes) })
    }
}

enum Hold<'a> {
    Balancer(Box<Agent<'a>>, [Option<Pass>; 2]),
    Proxies(Vec<Process>, #[expect(dead_code, reason = "removed when it is dropped")] TempDir),
    Rules(&'a Lab),
    Nothing,
}

impl Running<'_> {
    /// What its processes have resident, bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        let pids: Vec<u32> = match &self.hold {
            Hold::Balancer(agent, _) => agent.pid().into_iter().collect(),
            Hold::Proxies(processes, _) => processes.iter().map(Process::pid).collect(),
            Hold::Rules(_) | Hold::Nothing => Vec::new(),
        };
        pids.into_iter().map(machine::resident).sum()
    }

    /// What it wrote, for an error to quote.
    pub(super) fn log(&self) -> String {
        match &self.hold {
            Hold::Balancer(agent, _) => agent.log(),
            Hold::Proxies(processes, _) => processes.first().map(Process::log).unwrap_or_default(),
            Hold::Rules(_) | Hold::Nothing => String::new(),
        }
    }

    /// The balancer's agent.
    pub(super) fn agent(&self) -> Option<&Agent<'_>> {
        match &self.hold {
            Hold::Balancer(agent, _) => Some(agent),
            Hold::Proxies(..) | Hold::Rules(_) | Hold::Nothing => None,
        }
    }

    /// Makes room for another program at the far end of `lan0`.
    pub(super) fn free_lan(&mut self) {
        if let Hold::Balancer(_, [_, lan]) = &mut self.hold {
            *lan = None;
        }
    }
}

impl<'a> Hold<'a> {
    fn balancer(lab: &'a Lab) -> Result<Self> {
        let passes = lab.attach_passes()?.map(Some);
        let service = |name: &str, port: u16| ServicePlan {
            name: name.to_owned(),
            vip: VIP4.to_string(),
            port,
            policy: "adaptive",
            health: HealthPlan { interval: "2s", timeout: "1s", ..HealthPlan::default() },
            backend: (lab.brokers.iter())
                .map(|host| BackendPlan {
                    name: host.name.clone(),
                    address: SocketAddr::from((host.v4, port)).to_string(),
                    ..BackendPlan::default()
                })
                .collect(),
            ..ServicePlan::default()
        };
        let plan = Plan {
            datapath: DatapathPlan { flows_v4: FLOWS, ..DatapathPlan::default() },
            service: vec![service("mqtt", PORT), service("http", web::PORT)],
            as_installed: true,
            ..Plan::default()
        };
        Ok(Self::Balancer(Box::new(Agent::start(lab, &plan)?), passes))
    }

    fn haproxy(lab: &'a Lab, size: Size) -> Result<Self> {
        let mut text = format!(
            "global\n  maxconn {}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\n",
            size.descriptors / 2
        );
        for (name, port) in [("mqtt", PORT), ("http", web::PORT)] {
            write!(text, "listen {name}\n  bind {VIP4}:{port}\n  balance leastconn\n")
                .expect("writing to a string cannot fail");
            for host in &lab.brokers {
                writeln!(text, "  server {} {}:{port} check inter 2s", host.name, host.v4)
                    .expect("writing to a string cannot fail");
            }
        }
        // Several share the port: connections are spread over them by hash.
        Self::proxies(lab, "haproxy", &["-db", "-f"], size.processes, |_| text)
    }

    fn nginx(lab: &'a Lab, size: Size) -> Result<Self> {
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        ensure!(Path::new(module).exists(), "{module} is not there: apt-get install libnginx-mod-stream");
        let cpus = std::thread::available_parallelism().context("failed to count CPUs")?.get();
        // As many processes as it has workers by default. Without a master none can outlive its owner.
        let processes = cpus.max(size.processes);
        let connections = size.descriptors;
        Self::proxies(lab, "nginx", &["-c"], processes, |directory| {
            let mut text = format!(
                "load_module {module};\ndaemon off;\nmaster_process off;\npid {}/pid;\nerror_log stderr crit;\n\
                 events {{ worker_connections {connections}; }}\nstream {{\n  proxy_timeout 1h;\n",
                directory.display()
            );
            for (name, port) in [("mqtt", PORT), ("http", web::PORT)] {
                let servers: String =
                    lab.brokers.iter().map(|host| format!("server {}:{port}; ", host.v4)).collect();
                write!(
                    text,
                    "  upstream {name} {{ least_conn; {servers}}}\n  \
                     server {{ listen {VIP4}:{port} reuseport backlog=4096; proxy_pass {name}; }}\n"
                )
                .expect("writing to a string cannot fail");
            }
            text.push_str("}\n");
            text
        })
    }

    fn proxies(
        lab: &'a Lab,
        program: &str,
        arguments: &[&str],
        number: usize,
        configuration: impl FnOnce(&Path) -> String,
    ) -> Result<Self> {
        free_ports(lab)?;
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let file = directory.path().join("conf");
        fs::write(&file, configuration(directory.path()))
            .with_context(|| format!("failed to write the configuration of {program}"))?;
        let start = |_| {
            let mut command = lab.gateway.command(program);
            command.args(arguments).arg(&file);
            Process::start(&mut command, &directory.path().join("log"))
        };
        let processes = (0..number).map(start).collect::<Result<_>>()?;
        Ok(Self::Proxies(processes, directory))
    }

    fn nftables(lab: &'a Lab) -> Result<Self> {
        let brokers: Vec<String> =
            lab.brokers.iter().enumerate().map(|(turn, host)| format!("{turn} : {}", host.v4)).collect();
        let rules = format!(
            "table ip bench {{\n  chain pre {{\n    type nat hook prerouting priority dstnat;\n    \
             ip daddr {VIP4} tcp dport {{ {PORT}, {} }} dnat to numgen inc mod {} map {{ {} }}\n  }}\n}}\n",
            web::PORT,
            lab.brokers.len(),
            brokers.join(", ")
        );
        lab.gateway.run("nft", &[&rules])?;
        Ok(Self::Rules(lab))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Self::Rules(lab) = self {
            // The rules are the only ones in the gateway; what is left ends with it.
            let _ = lab.gateway.run("nft", &["flush", "ruleset"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn a_proxy_is_split_where_descriptors_are_few() {
        let size = |clients, limit| Size::within(clients, limit).unwrap();
        assert_eq!(size(0, 1 << 20), Size { processes: 1, descriptors: 8_800 });
        assert_eq!(size(50_000, 1 << 20), Size { processes: 1, descriptors: 110_000 });
        assert_eq!(size(50_000, 20_500), Size { processes: 6, descriptors: 18_334 });
        assert!(Size::within(10, 1_000).is_err());
    }
}
