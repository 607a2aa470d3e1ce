//! How the health of one backend is probed, with every default filled in.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::telemetry::HttpAuth;
use crate::link::Via;

/// Probing of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// What is asked.
    pub check: HealthCheck,
    /// Where the broker says besides that it wants no new connections.
    pub drain: Vec<DrainCheck>,
    /// The backend's own address: whether it accepts connections counts where a check cannot be told.
    pub service: SocketAddr,
    /// Time from one probe to the next.
    pub interval: Duration,
    /// Longest random delay of each probe; at most half of `interval`.
    pub jitter: Duration,
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
        /// Over what.
        via: Via,
    },
    /// Whether the AMQP header is answered by a Connection.Start (0-9-1) or an AMQP header (1.0).
    Amqp {
        /// Where.
        address: SocketAddr,
        /// Which header is sent.
        version: AmqpVersion,
        /// Over what.
        via: Via,
    },
    /// Whether a STOMP CONNECT is answered.
    Stomp {
        /// Where.
        address: SocketAddr,
        /// User name and the file whose first line is the password, if they are sent.
        login: Option<(String, Option<PathBuf>)>,
        /// Over what.
        via: Via,
    },
    /// Whether a GET is answered as expected.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// Sent with the request.
        auth: HttpAuth,
        /// Statuses that mean healthy.
        expect: RangeInclusive<u16>,
        /// What the body must have in it.
        body: Option<String>,
    },
    /// What an agent-check says: `drain`, `maint`, `down`.
    AgentCheck {
        /// Where.
        address: SocketAddr,
        /// Sent before reading, if given.
        send: Option<String>,
    },
}

/// Where a broker says that it wants no new connections, besides its answers to probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainCheck {
    /// What is asked.
    pub question: DrainQuestion,
    /// Whether somebody asked for this check by name, who is told when it gives no answer.
    pub configured: bool,
}

/// What is asked about a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainQuestion {
    /// A GET.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// Sent with the request.
        auth: HttpAuth,
        /// What an answer must be to mean a drain.
        when: DrainWhen,
    },
    /// An agent-check.
    AgentCheck {
        /// Where.
        address: SocketAddr,
        /// Sent before reading, if given.
        send: Option<String>,
    },
}

/// Which answer means that no new connections are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainWhen {
    /// One of these statuses.
    Status(Vec<RangeInclusive<u16>>),
    /// A JSON document with a value here (RFC 6901) that is true, or a number other than 0.
    Json(String),
}

/// AMQP protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmqpVersion {
    /// AMQP 0-9-1.
    #[default]
    V091,
    /// AMQP 1.0.
    V10,
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
