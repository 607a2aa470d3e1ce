//! Where the backends of a service are found, with every default filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::telemetry::HttpAuth;

/// Discovery of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// What is asked.
    pub source: DiscoverySource,
    /// Longest time from one question to the next.
    pub refresh: Duration,
    /// Time after which a question without an answer has failed.
    pub timeout: Duration,
    /// How long a backend that has vanished is drained before it leaves.
    pub hold_down: Duration,
    /// An answer with fewer backends is not believed.
    pub min: usize,
    /// An answer with more backends is not believed.
    pub max: usize,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// Name servers.
    Dns(DnsQuestion),
    /// JSON files on this machine.
    Files(Vec<PathBuf>),
    /// A JSON page.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// Sent with the request.
        auth: HttpAuth,
    },
}

/// What name servers are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsQuestion {
    /// The name.
    pub name: String,
    /// Which records.
    pub records: DnsRecords,
    /// Whether the backends have IPv6 addresses.
    pub v6: bool,
    /// The name server; `None` are those of the host.
    pub server: Option<SocketAddr>,
}

/// Which records name servers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecords {
    /// A or AAAA.
    Addresses {
        /// TCP port of every backend.
        port: u16,
    },
    /// SRV, and A or AAAA of what they name.
    Services,
}

impl DiscoveryConfig {
    /// A discovery with the defaults of the file.
    #[must_use]
    pub const fn of(source: DiscoverySource) -> Self {
        Self {
            source,
            refresh: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            hold_down: Duration::from_secs(30),
            min: 1,
            max: 256,
        }
    }

    /// The source, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.source {
            DiscoverySource::Dns(question) => {
                let kind = match (question.records, question.v6) {
                    (DnsRecords::Services, _) => "SRV",
                    (DnsRecords::Addresses { .. }, false) => "A",
                    (DnsRecords::Addresses { .. }, true) => "AAAA",
                };
                format!("dns {kind} {}", question.name)
            }
            DiscoverySource::Files(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                format!("file {}", paths.join(", "))
            }
            DiscoverySource::Http { url, .. } => url.clone(),
        }
    }
}
