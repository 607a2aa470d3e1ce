//! How the health of one backend is probed, with every default filled in.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Probing of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// What is asked.
    pub check: HealthCheck,
    /// Time from one probe to the next.
    pub interval: Duration,
    /// Time after which a probe without an answer has failed; at most `interval`.
    pub timeout: Duration,
    /// Successful probes in a row before the backend is in rotation.
    pub rise: u32,
    /// Failed probes in a row before it is taken out.
    pub fall: u32,
}

/// What a probe asks the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// Nothing: the backend is always up.
    None,
    /// Whether it accepts a TCP connection. Finds no broker that accepts and then hangs.
    Tcp {
        /// Where.
        address: SocketAddr,
    },
    /// One MQTT session that is held, and a PINGREQ per probe.
    Mqtt {
        /// Where.
        address: SocketAddr,
        /// As whom.
        login: MqttLogin,
    },
    /// Whether the AMQP header is answered by a Connection.Start (0-9-1) or an AMQP header (1.0).
    Amqp {
        /// Where.
        address: SocketAddr,
    },
    /// Whether a GET is answered with an expected status.
    Http {
        /// Where.
        address: SocketAddr,
        /// Path and query of the request, starting with `/`.
        path: String,
        /// Statuses that mean healthy.
        expect: RangeInclusive<u16>,
    },
}

/// How the agent introduces itself to an MQTT broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttLogin {
    /// User name, if one is sent.
    pub username: Option<String>,
    /// File whose first line is the password. Read at every connect, so that a rotated password is picked up.
    pub password_file: Option<PathBuf>,
    /// Start of the client id. The agent appends what keeps two of its sessions from taking over each other (the
    /// purpose, the backend, the gateway's host name). Without it the broker is asked to choose an id.
    pub client_id: Option<String>,
    /// Protocol version.
    pub version: MqttVersion,
}

/// MQTT protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    #[default]
    V311,
    /// MQTT 5.0.
    V5,
}
