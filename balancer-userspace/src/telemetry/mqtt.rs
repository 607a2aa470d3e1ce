//! An MQTT session of the agent: as much of versions 3.1.1 and 5 as probing and `$SYS` need.
//!
//! Packets are encoded and decoded by `rumqttc`. Its event loop is not used: it pings when its keep-alive says so and not
//! when asked, and reconnects by itself, so that a probe could not tell what happened when.

mod codec;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::codec::Packet;
use super::{SourceError, secret};
use crate::config::health::{MqttLogin, MqttVersion};
use crate::link::{Link, LinkError, Stream};

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    stream: Stream,
    received: BytesMut,
    version: MqttVersion,
    at: String,
}

/// How the broker answered a CONNECT.
#[derive(Debug)]
pub(crate) enum Connected {
    /// With a session.
    Accepted(Session),
    /// With a refusal.
    Refused(Refusal),
}

/// A refusal, in the broker's own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    /// The code and its meaning, for people.
    pub(crate) words: String,
}

/// What a refusal says of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// It works; it does not want this client.
    Credentials,
    /// It takes no new clients at the moment.
    NoNewClients,
    /// Anything else.
    Other,
}

/// What the broker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// PINGRESP.
    Pong,
    /// SUBACK: whether all filters were granted.
    Subscribed(bool),
    /// PUBLISH.
    Message { topic: String, payload: Vec<u8>, retained: bool },
    /// DISCONNECT (version 5).
    Ended(Refusal),
}

impl Session {
    /// Connects and introduces the agent. Takes as long as the broker does: bound it by a timeout.
    pub(crate) async fn open(
        link: &Link,
        login: &MqttLogin,
        client_id: &str,
        keep_alive_s: u16,
    ) -> Result<Connected, SourceError> {
        let at = link.name("mqtt");
        let password = match &login.password_file {
            Some(file) => secret::read(file).await?,
            None => String::new(),
        };
        let user = login.username.as_deref().map(|user| (user, password.as_str()));
        let stream = link.open("mqtt").await.map_err(|error| match error {
            LinkError::Io(source) => SourceError::Io { at: at.clone(), doing: "connecting", source },
            LinkError::Tls(source) => SourceError::Tls { at: at.clone(), source },
            LinkError::WebSocket(_) => SourceError::Protocol { at: at.clone(), why: error.to_string() },
        })?;
        let mut session = Self { stream, received: BytesMut::new(), version: login.version, at };
        let connect = codec::connect(login.version, client_id, keep_alive_s, user);
        let connect = connect.map_err(|why| session.protocol(&why))?;
        session.send(&connect).await?;
        match session.packet("waiting for CONNACK").await? {
            Packet::ConnAck(None) => Ok(Connected::Accepted(session)),
            Packet::ConnAck(Some(refusal)) => Ok(Connected::Refused(refusal)),
            Packet::Other(_) => Err(session.protocol("the first packet is no CONNACK")),
        }
    }

    /// Asks whether the broker is there; [`Received::Pong`] is the answer.
    pub(crate) async fn ping(&mut self) -> Result<(), SourceError> {
        // MQTT 3.1.1 section 3.12: the same in both versions.
        self.send(&[0xc0, 0x00]).await
    }

    /// Subscribes at QoS 0; [`Received::Subscribed`] is the answer.
    pub(crate) async fn subscribe(&mut self, filters: &[String]) -> Result<(), SourceError> {
        let packet = codec::subscribe(self.version, filters).map_err(|why| self.protocol(&why))?;
        self.send(&packet).await
    }

    /// The next packet. Can be cancelled without losing any.
    pub(crate) async fn receive(&mut self) -> Result<Received, SourceError> {
        match self.packet("waiting for a packet").await? {
            Packet::Other(received) => Ok(received),
            Packet::ConnAck(_) => Err(self.protocol("a second CONNACK")),
        }
    }

    async fn send(&mut self, packet: &[u8]) -> Result<(), SourceError> {
        let sending = |source| SourceError::Io { at: self.at.clone(), doing: "sending", source };
        self.stream.write_all(packet).await.map_err(sending)?;
        self.stream.flush().await.map_err(sending)
    }

    async fn packet(&mut self, doing: &'static str) -> Result<Packet, SourceError> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            let read = self.stream.read_buf(&mut self.received).await;
            let source = match read {
                Ok(0) => {
                    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the broker closed the connection")
                }
                Ok(_) => continue,
                Err(source) => source,
            };
            return Err(SourceError::Io { at: self.at.clone(), doing, source });
        }
    }

    /// The first packet of what was received, if it is complete.
    fn decode(&mut self) -> Result<Option<Packet>, SourceError> {
        codec::next(self.version, &mut self.received).map_err(|why| self.protocol(&why))
    }

    fn protocol(&self, why: &str) -> SourceError {
        SourceError::Protocol { at: self.at.clone(), why: why.to_owned() }
    }
}

/// A client id that no other session of this or another agent has. Empty when none is configured: the broker chooses.
pub(crate) fn client_id(login: &MqttLogin, purpose: &str, backend: u32) -> String {
    let Some(start) = &login.client_id else { return String::new() };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{start}-{purpose}-{backend}-{}", host.trim())
}
