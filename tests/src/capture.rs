//! Packets as they are on the wire, by tcpdump.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    lab::{GATEWAY4, Host, Lab},
    netns,
    process::Process,
    wait::{self, PATIENCE},
};

/// Discard (RFC 863): nobody listens, and a refused connection to it marks the end of a capture.
const MARK_PORT: u16 = 9;

/// More than a whole frame, and little enough for many to wait in the kernel.
const SNAP_LENGTH: &str = "2048";

/// A capture of all TCP on a host's `eth0`.
#[derive(Debug)]
pub struct Capture<'a> {
    host: &'a Host,
    process: Process,
    directory: TempDir,
}

impl<'a> Capture<'a> {
    /// Starts capturing. From then on packets of the lab are not merged on reception (GRO): the checksum of a merged
    /// packet is the kernel's own.
    ///
    /// # Errors
    /// tcpdump is missing.
    pub fn start(lab: &Lab, host: &'a Host) -> Result<Self> {
        host.netns.ip(&["link set eth0 gro_max_size 0".to_owned()])?;
        lab.switch.ip(&["link set gw0 gro_max_size 0".to_owned()])?;
        let directory = tempfile::tempdir().context("failed to make a directory")?;
        let mut command = host.netns.command("tcpdump");
        command.args([
            "-i",
            "eth0",
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            SNAP_LENGTH,
            "-Z",
            "root",
            "-B",
            "32768",
            "-w",
        ]);
        command.arg(packets(&directory)).arg("tcp or (ip6 and ip6 proto 6)");
        let mut process = Process::start(&mut command, &directory.path().join("log"))?;
        wait::until_ok("tcpdump to listen", PATIENCE, || {
            process.check()?;
            ensure!(process.log().contains("listening on"), "it says: {}", process.log());
            Ok(())
        })?;
        Ok(Self { host, process, directory })
    }

    /// Ends capturing, and returns one paragraph per packet as `tcpdump -vv` prints it, checksums verified.
    ///
    /// # Errors
    /// The kernel dropped packets from the capture, or it cannot be read.
    pub fn finish(self) -> Result<Vec<String>> {
        let Self { host, mut process, directory } = self;
        let file = packets(&directory);
        let read = |filter: &str| {
            netns::run(std::process::Command::new("tcpdump").args(["-n", "-vv", "-r"]).arg(&file).arg(filter))
        };
        let mark = SocketAddr::from((GATEWAY4, MARK_PORT));
        let marked = host.netns.enter(|| TcpStream::connect_timeout(&mark, PATIENCE))?;
        ensure!(marked.is_err(), "somebody listens on {mark}");
        wait::until_ok("the mark in the capture", PATIENCE, || {
            ensure!(!read(&format!("src port {MARK_PORT}"))?.is_empty(), "it is not there");
            Ok(())
        })?;
        process.signal(Signal::SIGINT)?;
        wait::until("tcpdump to end", Duration::from_secs(10), || process.check().is_err())?;
        let log = process.log();
        ensure!(log.contains("0 packets dropped by kernel"), "the capture is incomplete: {log}");
        let text = read(&format!("not port {MARK_PORT}"))?;
        Ok(paragraphs(&text))
    }
}

fn packets(directory: &TempDir) -> PathBuf {
    directory.path().join("packets")
}

/// Lines that continue a packet are indented.
fn paragraphs(text: &str) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in text.lines() {
        match packets.last_mut() {
            Some(packet) if line.starts_with([' ', '\t']) => packet.push_str(line),
            _ => packets.push(line.to_owned()),
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_belong_to_their_packet() {
        let text = "1 IP (tos 0x0)\n    10.0.0.1.1 > 10.0.0.2.2: cksum 0x1 (correct)\n2 IP6\n";
        assert_eq!(
            paragraphs(text),
            ["1 IP (tos 0x0)    10.0.0.1.1 > 10.0.0.2.2: cksum 0x1 (correct)", "2 IP6"]
        );
    }
}
