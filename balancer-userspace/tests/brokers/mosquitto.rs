//! A Mosquitto of the test's own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::support::DEADLINE;

const PROGRAMS: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"];

/// A running broker; killed when dropped.
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Mosquitto {
    /// Starts one on a free loopback port with these further lines of configuration.
    pub(crate) fn start(settings: &str) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "listener {} 127.0.0.1\npersistence false\nuser root\nlog_type all\nlog_dest file {}\n{settings}\n",
            address.port(),
            dir.path().join("log").display()
        );
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let child = spawn(dir.path());
        let broker = Self { address, dir, child };
        broker.wait();
        broker
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.dir.path());
        self.wait();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn wait(&self) {
        let start = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(start.elapsed() < DEADLINE, "mosquitto does not listen:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn spawn(dir: &Path) -> Child {
    let program = PROGRAMS.into_iter().find(|path| Path::new(path).exists());
    let program = program.expect("mosquitto is not installed; `cargo xtask setup` installs it");
    let output = || Stdio::from(std::fs::File::create(dir.join("output")).unwrap());
    Command::new(program).arg("-c").arg(dir.join("conf")).stdout(output()).stderr(output()).spawn().unwrap()
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
