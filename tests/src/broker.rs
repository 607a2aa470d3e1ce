//! Real Mosquitto brokers in namespaces and cgroups.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{
    cgroup::CpuGroup,
    lab::{Host, Lab, PORT},
    mqtt::{NAME_TOPIC, Session},
    netns,
    process::Process,
    wait::{self, PATIENCE},
};

/// The port on which brokers speak TLS, where they do.
pub const TLS_PORT: u16 = 8883;

/// A Mosquitto on both addresses of a host, alone in a cgroup, killed on drop.
///
/// Each broker holds its name as the retained message [`NAME_TOPIC`], so that clients can tell where they are.
#[derive(Debug)]
pub struct Broker<'a> {
    process: Option<Process>,
    group: CpuGroup,
    host: &'a Host,
    directory: TempDir,
}

/// What a broker is started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How much of a core it may use at most.
    pub cores: Option<f64>,
    /// Clients that it takes on each address. Mosquitto accepts the connections of others and closes them.
    pub clients: Option<u32>,
    /// Whether it listens on [`TLS_PORT`] as well.
    pub tls: bool,
}

impl<'a> Broker<'a> {
    /// Starts the broker of the host `index` of the lab, with at most `cores` of a core.
    ///
    /// # Errors
    /// Mosquitto is missing, or does not answer in time.
    pub fn start(lab: &'a Lab, index: usize, cores: Option<f64>) -> Result<Self> {
        Self::start_with(lab, index, Options { cores, ..Options::default() })
    }

    /// As [`Broker::start`], with more than a limit of CPU.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(lab: &'a Lab, index: usize, options: Options) -> Result<Self> {
        let host = &lab.brokers[index];
        let mut broker = Self {
            process: None,
            group: CpuGroup::new(lab.serial, &host.name, options.cores)?,
            host,
            directory: tempfile::tempdir().context("failed to make a directory")?,
        };
        let mut text = config(host, options.clients);
        if options.tls {
            text += &broker.tls_listener()?;
        }
        fs::write(broker.config(), text).context("failed to write mosquitto.conf")?;
        broker.start_again()?;
        Ok(broker)
    }

    /// Starts the broker after [`Broker::stop`] or [`Broker::kill`], and waits until it answers MQTT.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = self.host.netns.command("mosquitto");
        command.arg("-c").arg(self.config());
        let mut process = Process::start(&mut command, &self.directory.path().join("log"))?;
        self.group.add(process.pid())?;
        let name = &self.host.name;
        let announce = |process: &mut Process| {
            process.check()?;
            self.host.netns.enter(|| -> Result<()> {
                let mut session = Session::connect(self.host.socket4(), "lab", Duration::from_secs(2))?;
                session.retain(NAME_TOPIC, name)?;
                session.disconnect()?;
                Session::connect(self.host.socket6(), "lab", Duration::from_secs(2))?.disconnect()
            })?
        };
        wait::until_ok(&format!("{name} to answer MQTT"), PATIENCE, || announce(&mut process))?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it as an operator would.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.stop(PATIENCE).map(|_| ()))
    }

    /// Ends it as a crash would: the kernel still closes its connections.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// The host's name, which is the broker's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its process, while it runs.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// The cgroup it runs in.
    #[must_use]
    pub const fn group(&self) -> &CpuGroup {
        &self.group
    }

    /// Gives it at most `cores` of a core from now on.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn limit(&mut self, cores: Option<f64>) -> Result<()> {
        self.group.set_cores(cores)
    }

    /// Lets it have at most `most` descriptors open, in the place of what it was started with.
    ///
    /// # Errors
    /// It does not run, or the kernel refused.
    pub fn limit_descriptors(&self, most: u32) -> Result<()> {
        let pid = self.pid().context("the broker does not run")?;
        netns::run(Command::new("prlimit").arg(format!("--pid={pid}")).arg(format!("--nofile={most}")))
            .map(|_| ())
    }

    /// Where it lives.
    #[must_use]
    pub const fn host(&self) -> &'a Host {
        self.host
    }

    /// The lines for [`TLS_PORT`], with a certificate (ECDSA P-256) that only a client believes that looks at none.
    fn tls_listener(&self) -> Result<String> {
        let made = rcgen::generate_simple_self_signed([self.host.name.clone()])
            .context("failed to make a certificate")?;
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| self.directory.path().join(name));
        fs::write(&certificate, made.cert.pem()).context("failed to write a certificate")?;
        fs::write(&key, made.signing_key.serialize_pem()).context("failed to write a key")?;
        let (certificate, key) = (certificate.display(), key.display());
        Ok(format!("listener {TLS_PORT} {}\ncertfile {certificate}\nkeyfile {key}\n", self.host.v4))
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("mosquitto.conf")
    }
}

/// `user root` because the directory is root's alone; no message is dropped for want of a queue.
fn config(host: &Host, clients: Option<u32>) -> String {
    let (v4, v6) = (host.v4, host.v6);
    let most = clients.map_or(-1, i64::from);
    format!(
        "user root\nlistener {PORT} {v4}\nmax_connections {most}\nlistener {PORT} {v6}\nmax_connections {most}\n\
         allow_anonymous true\nsys_interval 1\npersistence false\nmax_queued_messages 0\n\
         set_tcp_nodelay true\nlog_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\n\
         connection_messages false\n"
    )
}
