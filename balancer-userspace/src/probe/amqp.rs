//! The AMQP protocol header, answered by any AMQP broker of either version.

use std::time::Duration;

use balancer_control::ProbeResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Answer, Fault};
use crate::config::AmqpVersion;
use crate::link::Link;

/// Bytes of a protocol header.
const HEADER: usize = 8;

/// Frame type, channel 0: a method frame (0-9-1 section 4.2.3).
const METHOD_FRAME: [u8; 3] = [1, 0, 0];

/// Class 10 method 10: Connection.Start.
const CONNECTION_START: [u8; 4] = [0, 10, 0, 10];

/// Bytes of a frame header and a method id.
const ANSWER: usize = 11;

/// The header of a version. A broker of another version answers with the header that it wants (0-9-1 section 4.2.2;
/// 1.0 section 2.2).
const fn header(version: AmqpVersion) -> [u8; HEADER] {
    match version {
        AmqpVersion::V091 => *b"AMQP\x00\x00\x09\x01",
        AmqpVersion::V10 => *b"AMQP\x00\x01\x00\x00",
    }
}

/// The probe of one backend.
pub(super) struct AmqpProbe {
    link: Link,
    version: AmqpVersion,
}

impl AmqpProbe {
    pub(super) const fn new(link: Link, version: AmqpVersion) -> Self {
        Self { link, version }
    }

    /// Sends the header and judges the answer.
    pub(super) async fn probe(&self, limit: Duration) -> Answer {
        let at = self.link.name("amqp");
        Answer::Is(match timeout(limit, self.answer()).await {
            Ok(Ok(answer)) if is_amqp(&answer) => ProbeResult::Up,
            Ok(Ok(answer)) if answer.is_empty() => {
                ProbeResult::Down(format!("{at}: closed without an answer"))
            }
            Ok(Ok(answer)) => {
                let bytes: Vec<String> = answer.iter().map(|byte| format!("{byte:02x}")).collect();
                ProbeResult::Down(format!("{at}: answers no AMQP: {}", bytes.join(" ")))
            }
            Ok(Err(fault)) => return fault.judge(&at),
            Err(_elapsed) => ProbeResult::Down(super::late(&format!("{at}: waiting for an answer"), limit)),
        })
    }

    async fn answer(&self) -> Result<Vec<u8>, Fault> {
        let sending = |error| Fault::theirs(format_args!("sending: {error}"));
        let mut stream = self.link.open("amqp").await?;
        stream.write_all(&header(self.version)).await.map_err(sending)?;
        stream.flush().await.map_err(sending)?;
        read_answer(&mut stream).await.map_err(|error| Fault::theirs(format_args!("reading: {error}")))
    }
}

/// The first bytes of the answer: eight that are a header, or a frame header with a method id.
pub(super) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while answer.len() < ANSWER && !(answer.len() >= HEADER && answer.starts_with(b"AMQP")) {
        let mut buffer = [0; ANSWER];
        let rest = &mut buffer[..ANSWER - answer.len()];
        match stream.read(rest).await? {
            0 => break,
            read => answer.extend_from_slice(&rest[..read]),
        }
    }
    Ok(answer)
}

pub(super) fn is_amqp(answer: &[u8]) -> bool {
    let header = answer.len() >= HEADER && answer.starts_with(b"AMQP");
    let start =
        answer.len() == ANSWER && answer.starts_with(&METHOD_FRAME) && answer.ends_with(&CONNECTION_START);
    header || start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_brokers_and_of_others() {
        assert!(is_amqp(&[1, 0, 0, 0, 0, 1, 0xf6, 0, 10, 0, 10]), "Connection.Start");
        assert!(is_amqp(b"AMQP\x00\x01\x00\x00"), "wants 1.0");
        assert!(is_amqp(b"AMQP\x03\x01\x00\x00"), "wants SASL");
        assert!(!is_amqp(&[1, 0, 0, 0, 0, 1, 0xf6, 0, 10, 0, 50]), "Connection.Close");
        assert!(!is_amqp(b"HTTP/1.1 400"));
        assert!(!is_amqp(b"AMQ"));
        assert!(!is_amqp(b""));
    }
}
