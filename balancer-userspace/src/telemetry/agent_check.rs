//! HAProxy's agent-check: connect, read one line such as `75% maxconn:200 up`.
//!
//! The line as documented for `agent-check` in <https://docs.haproxy.org/2.8/configuration.html#5.2-agent-check>. What a
//! line does not mention stays as an earlier line said.

use std::net::SocketAddr;
use std::time::Duration;

use balancer_control::{Moment, Sample};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::excerpt;
use super::{Reading, SourceError};

/// Longest line in bytes.
const LINE_LIMIT: usize = 1024;

/// One agent.
#[derive(Debug)]
pub struct AgentCheckSource {
    address: SocketAddr,
    send: Option<String>,
    name: String,
    said: Said,
}

/// Everything the agent said that still holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// 0 to 100: how much of its weight the backend should have.
    pub(super) percent: Option<f64>,
    max_connections: Option<u64>,
    /// `drain` or `maint`, until `ready`.
    closed: bool,
    /// `down`, `failed` or `stopped`, until `up`.
    down: bool,
}

/// What the agent wants done with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentWord {
    /// New connections are welcome.
    Ready,
    /// No new ones: `drain`, `maint`.
    Closed,
    /// The broker is down: `down`, `failed`, `stopped`.
    Down,
}

impl AgentCheckSource {
    pub(crate) fn new(address: SocketAddr, send: Option<String>) -> Self {
        Self { address, send, name: format!("agent-check {address}"), said: Said::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn poll(&mut self, now: Moment, limit: Duration) -> Result<Reading, SourceError> {
        self.listen(limit).await?;
        let sample = Sample {
            taken: now,
            utilisation: self.said.percent.map(|percent| 1.0 - percent / 100.0),
            draining: self.said.closed || self.said.down,
            ..Sample::default()
        };
        Ok(Reading { sample, max_connections: self.said.max_connections })
    }

    /// Reads a line for what it wants done with the broker.
    pub(crate) async fn ask(&mut self, limit: Duration) -> Result<AgentWord, SourceError> {
        self.listen(limit).await?;
        Ok(match self.said {
            Said { down: true, .. } => AgentWord::Down,
            Said { closed: true, .. } => AgentWord::Closed,
            Said { .. } => AgentWord::Ready,
        })
    }

    async fn listen(&mut self, limit: Duration) -> Result<(), SourceError> {
        let line = timeout(limit, self.line()).await.map_err(|_elapsed| SourceError::Timeout {
            at: self.name.clone(),
            doing: "waiting for its line".to_owned(),
            after: limit,
        })??;
        self.said = self.said.hear(&line, &self.name)?;
        Ok(())
    }

    async fn line(&self) -> Result<String, SourceError> {
        let io = |doing| move |source| SourceError::Io { at: self.name.clone(), doing, source };
        let mut stream = TcpStream::connect(self.address).await.map_err(io("connecting"))?;
        if let Some(send) = &self.send {
            stream.write_all(send.as_bytes()).await.map_err(io("sending"))?;
        }
        read_line(&mut stream, &self.name).await
    }
}

/// What the agent sends up to the first end of line, or until it closes.
pub(super) async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    at: &str,
) -> Result<String, SourceError> {
    let reading = |source| SourceError::Io { at: at.to_owned(), doing: "reading", source };
    let mut line = Vec::new();
    loop {
        let mut buffer = [0; 256];
        let read = stream.read(&mut buffer).await.map_err(reading)?;
        let end = buffer[..read].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        line.extend_from_slice(&buffer[..end.unwrap_or(read)]);
        if line.len() > LINE_LIMIT {
            return Err(SourceError::TooLong { at: at.to_owned(), limit: LINE_LIMIT });
        }
        if read == 0 || end.is_some() {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

impl Said {
    /// What holds after this line.
    pub(super) fn hear(&self, line: &str, at: &str) -> Result<Self, SourceError> {
        let mut said = self.clone();
        let protocol = |why: String| SourceError::Protocol { at: at.to_owned(), why };
        // A reason for people may follow.
        let words = line.split('#').next().unwrap_or_default();
        let mut heard = false;
        for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            heard = true;
            match word.to_ascii_lowercase().as_str() {
                "ready" => said.closed = false,
                "drain" | "maint" => said.closed = true,
                "up" => said.down = false,
                "down" | "failed" | "fail" | "stopped" => said.down = true,
                other => {
                    if let Some(percent) = other.strip_suffix('%') {
                        said.percent = Some(percentage(percent, word, at)?);
                    } else if let Some(most) = other.strip_prefix("maxconn:") {
                        said.max_connections = Some(most.parse().map_err(|_not_a_number| {
                            protocol(format!("maxconn is no number: {:?}", excerpt(word, 40)))
                        })?);
                    } else {
                        let (word, line) = (excerpt(word, 40), excerpt(line, 80));
                        return Err(protocol(format!("{word:?} is no word of an agent-check, in {line:?}")));
                    }
                }
            }
        }
        if heard { Ok(said) } else { Err(protocol("the line is empty".to_owned())) }
    }
}

fn percentage(number: &str, word: &str, at: &str) -> Result<f64, SourceError> {
    let percent: f64 = number.parse().map_err(|_not_a_number| SourceError::Protocol {
        at: at.to_owned(),
        why: format!("{:?} is no percentage", excerpt(word, 40)),
    })?;
    if (0.0..=100.0).contains(&percent) {
        return Ok(percent);
    }
    Err(SourceError::Value {
        at: at.to_owned(),
        name: "the percentage".to_owned(),
        value: percent,
        why: "must be from 0 to 100",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(lines: &[&str]) -> Result<Said, String> {
        lines
            .iter()
            .try_fold(Said::default(), |said, line| said.hear(line, "agent"))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn any_mix_of_words() {
        let said = hear(&["75% maxconn:200 up,ready # all is well down"]).unwrap();
        assert_eq!(
            said,
            Said { percent: Some(75.0), max_connections: Some(200), closed: false, down: false }
        );
        assert_eq!(hear(&["12.5%"]).unwrap().percent, Some(12.5));
        for word in ["drain", "maint", "DRAIN"] {
            assert!(hear(&[word]).unwrap().closed, "{word}");
        }
        for word in ["down", "failed", "stopped\t#broken"] {
            assert!(hear(&[word]).unwrap().down, "{word}");
        }
    }

    #[test]
    fn what_is_not_mentioned_stays() {
        let said = hear(&["50% drain down", "maxconn:5", "up"]).unwrap();
        assert_eq!(said, Said { percent: Some(50.0), max_connections: Some(5), closed: true, down: false });
        assert!(!hear(&["drain", "ready"]).unwrap().closed);
    }

    #[test]
    fn what_is_no_agent_check_is_refused() {
        for (line, error) in [
            ("", "empty"),
            ("# only a reason", "empty"),
            ("101%", "from 0 to 100"),
            ("-1%", "from 0 to 100"),
            ("NaN%", "from 0 to 100"),
            ("inf%", "from 0 to 100"),
            ("%", "no percentage"),
            ("maxconn:-1", "no number"),
            ("maxconn:many", "no number"),
            ("HTTP/1.1 400 Bad Request", "no word of an agent-check"),
        ] {
            let message = hear(&[line]).unwrap_err();
            assert!(message.contains(error), "{line:?}: {message}");
        }
    }
}
