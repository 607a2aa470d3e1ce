//! MQTT for fixtures: one packet after the other over a blocking socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rumqttc::mqttbytes::{
    Error, QoS,
    v4::{ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish},
};
use tokio_util::bytes::BytesMut;

/// Largest packet that is read or written.
pub const MAX_PACKET: usize = 256 * 1024;

/// Topic of the retained message that holds the broker's name, by which clients know which one they are steered to.
pub const NAME_TOPIC: &str = "lab/broker";

/// A connected MQTT session.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    input: BytesMut,
}

impl Session {
    /// Connects, with a clean session, from the network namespace of the calling thread.
    ///
    /// # Errors
    /// There is no answer in `patience`, or it is a refusal.
    pub fn connect(to: SocketAddr, id: &str, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, patience);
        let stream = stream.with_context(|| format!("failed to connect to {to}"))?;
        stream.set_read_timeout(Some(patience)).context("failed to set a timeout")?;
        let mut session = Self { stream, input: BytesMut::new() };
        session.send(&Packet::Connect(Connect::new(id)))?;
        let answer = session.receive()?;
        let accepted = Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false));
        ensure!(answer == accepted, "{to} answered CONNECT with {answer:?}");
        Ok(session)
    }

    /// Publishes a retained message and waits for the acknowledgement.
    ///
    /// # Errors
    /// The connection broke or something else came back.
    pub fn retain(&mut self, topic: &str, payload: &str) -> Result<()> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.retain = true;
        publish.pkid = 1;
        self.send(&Packet::Publish(publish))?;
        let answer = self.receive()?;
        ensure!(answer == Packet::PubAck(PubAck::new(1)), "the broker answered PUBLISH with {answer:?}");
        Ok(())
    }

    /// Sends a PINGREQ and waits for the answer.
    ///
    /// # Errors
    /// The connection broke or something else came back.
    pub fn ping(&mut self) -> Result<()> {
        self.send(&Packet::PingReq)?;
        let answer = self.receive()?;
        ensure!(answer == Packet::PingResp, "the broker answered PINGREQ with {answer:?}");
        Ok(())
    }

    /// Says good-bye.
    ///
    /// # Errors
    /// The connection was broken already.
    pub fn disconnect(mut self) -> Result<()> {
        self.send(&Packet::Disconnect)
    }

    fn send(&mut self, packet: &Packet) -> Result<()> {
        let mut output = BytesMut::new();
        packet.write(&mut output, MAX_PACKET).context("failed to encode a packet")?;
        self.stream.write_all(&output).context("failed to send")
    }

    fn receive(&mut self) -> Result<Packet> {
        let mut buffer = [0; 4096];
        loop {
            match Packet::read(&mut self.input, MAX_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(error).context("the broker sent something that is not MQTT"),
            }
            let n = self.stream.read(&mut buffer).context("failed to receive")?;
            ensure!(n > 0, "the broker closed the connection");
            self.input.extend_from_slice(&buffer[..n]);
        }
    }
}
