//! HTTP: nginx in the brokers' namespaces, and wrk in the clients'.

use std::{fs, net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    lab::{Host, Lab},
    process::Process,
    wait::{self, PATIENCE},
};

/// The port of the servers and of the service.
pub(super) const PORT: u16 = 8080;

/// Connections that wrk holds, or makes anew, at the same time.
const CONNECTIONS: usize = 48;

/// An nginx that answers every request with three bytes.
#[derive(Debug)]
pub(super) struct Server {
    _process: Process,
    _directory: TempDir,
}

impl Server {
    /// Starts it on a host, and waits until it listens.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let config = directory.path().join("nginx.conf");
        fs::write(&config, configuration(&directory.path().display().to_string()))
            .context("failed to write nginx.conf")?;
        let mut command = host.netns.command("nginx");
        command.arg("-c").arg(config);
        let mut process = Process::start(&mut command, &directory.path().join("log"))?;
        let to = SocketAddr::from((host.v4, PORT));
        wait::until_ok(&format!("nginx on {}", host.name), PATIENCE, || {
            process.check()?;
            listens(host, to)
        })?;
        Ok(Self { _process: process, _directory: directory })
    }
}

/// Whether somebody accepts connections, seen from a host.
pub(super) fn listens(from: &Host, to: SocketAddr) -> Result<()> {
    from.netns.enter(|| std::net::TcpStream::connect_timeout(&to, Duration::from_secs(1)))??;
    Ok(())
}

/// One process without a master, as each broker is one machine, and so that none outlives its owner. Connections that
/// stay really do.
fn configuration(directory: &str) -> String {
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/pid;\n\
         error_log stderr warn;\nevents {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  \
         server {{ listen {PORT} backlog=4096; location / {{ return 200 \"ok\\n\"; }} }}\n}}\n"
    )
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Requests {
    /// Requests that were answered.
    pub(super) done: u64,
    /// Connections that failed, requests that were not answered in time or not with success.
    pub(super) failed: u64,
}

/// Asks for a time, on connections that stay or on one for each request. With several addresses an equal part of the
/// connections goes to each.
pub(super) fn ask(lab: &Lab, to: &[SocketAddr], seconds: u32, stay: bool) -> Result<Requests> {
    let cpus = thread::available_parallelism().context("failed to count CPUs")?.get();
    // The clients of one address may use as many CPUs as those of several, whose wrks are as many.
    let threads = (cpus / to.len()).max(1).to_string();
    let connections = (CONNECTIONS / to.len()).to_string();
    let ask = |to: &SocketAddr| {
        let duration = format!("{seconds}s");
        let url = format!("http://{to}/");
        let mut arguments = vec!["-t", &threads, "-c", &connections, "-d", &duration];
        if !stay {
            arguments.extend(["-H", "Connection: close"]);
        }
        arguments.push(&url);
        let text = lab.clients[0].netns.run("wrk", &arguments)?;
        counted(&text).with_context(|| format!("wrk says:\n{text}"))
    };
    let all: Vec<Result<Requests>> = thread::scope(|scope| {
        let running: Vec<_> = to.iter().map(|to| scope.spawn(move || ask(to))).collect();
        running
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut sum = Requests::default();
    for one in all {
        let one = one?;
        sum.done += one.done;
        sum.failed += one.failed;
    }
    ensure!(sum.done > 0, "no request to {to:?} was answered");
    Ok(sum)
}

fn counted(text: &str) -> Option<Requests> {
    let done = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0.parse().ok()?;
    let mut failed = 0;
    for line in text.lines().map(str::trim) {
        if let Some(errors) = line.strip_prefix("Socket errors: ") {
            // `connect 0, read 0, write 0, timeout 0`
            for error in errors.split(", ") {
                failed += error.split_once(' ')?.1.parse::<u64>().ok()?;
            }
        }
        if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            failed += count.parse::<u64>().ok()?;
        }
    }
    Some(Requests { done, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_understood() {
        let good = "Running 1s test @ http://10.71.0.11:8080/\n  1 threads and 16 connections\n  \
                    Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
                    Latency   385.07us  151.33us   3.71ms   84.31%\n  40733 requests in 1.00s, 6.02MB read\n\
                    Requests/sec:  40733.00\nTransfer/sec:      6.02MB\n";
        assert_eq!(counted(good), Some(Requests { done: 40_733, failed: 0 }));
        let bad = "  7 requests in 1.00s, 6.02MB read\n  Socket errors: connect 1, read 20, write 0, timeout 300\n  \
                   Non-2xx or 3xx responses: 4000\n";
        assert_eq!(counted(bad), Some(Requests { done: 7, failed: 4321 }));
        assert_eq!(counted("unable to connect to 10.71.0.11:8080 Connection refused"), None);
    }
}
