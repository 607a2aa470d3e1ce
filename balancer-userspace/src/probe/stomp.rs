//! A STOMP CONNECT, answered by a CONNECTED or ERROR frame (<https://stomp.github.io/stomp-specification-1.2.html>).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use balancer_control::ProbeResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Answer, Fault};
use crate::link::Link;
use crate::telemetry::{SourceError, excerpt, secret};

/// Bytes of an answer that are read at most; what is said comes first.
const ANSWER_LIMIT: usize = 4096;

/// What errors about the login have in them. The protocol has no codes.
const ABOUT_LOGIN: [&str; 6] = ["access", "authen", "authoriz", "credential", "login", "password"];

/// The probe of one backend.
pub(super) struct StompProbe {
    link: Link,
    login: Option<(String, Option<PathBuf>)>,
    host: String,
}

impl StompProbe {
    pub(super) fn new(link: Link, login: Option<(String, Option<PathBuf>)>, address: SocketAddr) -> Self {
        Self { link, login, host: address.ip().to_string() }
    }

    /// Connects, and takes leave.
    pub(super) async fn probe(&self, limit: Duration) -> Answer {
        let at = self.link.name("stomp");
        Answer::Is(match timeout(limit, self.answer()).await {
            Ok(Ok(answer)) => judge(&answer)
                .map_or_else(|why| ProbeResult::Down(format!("{at}: {why}")), |()| ProbeResult::Up),
            Ok(Err(fault)) => return fault.judge(&at),
            Err(_elapsed) => ProbeResult::Down(super::late(&format!("{at}: waiting for an answer"), limit)),
        })
    }

    async fn answer(&self) -> Result<Vec<u8>, Fault> {
        let frame = self.connect_frame().await?;
        let sending = |error| Fault::theirs(format_args!("sending: {error}"));
        let mut stream = self.link.open("v12.stomp").await?;
        stream.write_all(frame.as_bytes()).await.map_err(sending)?;
        stream.flush().await.map_err(sending)?;
        let answer = read_frame(&mut stream).await;
        let answer = answer.map_err(|error| Fault::theirs(format_args!("reading: {error}")))?;
        if judge(&answer).is_ok() {
            // Taking leave spares the broker a line about a client that has vanished. It has answered already.
            let _ = stream.write_all(b"DISCONNECT\n\n\0").await;
            let _ = stream.shutdown().await;
        }
        Ok(answer)
    }

    async fn connect_frame(&self) -> Result<String, SourceError> {
        // The frame that 1.0 has too; headers of CONNECT are not escaped.
        let mut frame = format!("CONNECT\naccept-version:1.0,1.1,1.2\nhost:{}\nheart-beat:0,0\n", self.host);
        if let Some((user, password)) = &self.login {
            frame += &format!("login:{user}\n");
            if let Some(file) = password {
                frame += &format!("passcode:{}\n", secret::read(file).await?);
            }
        }
        Ok(frame + "\n\0")
    }
}

/// Up to the end of the first frame, or as much as is looked at.
pub(super) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while answer.len() < ANSWER_LIMIT {
        let read = stream.read(&mut buffer).await?;
        answer.extend_from_slice(&buffer[..read]);
        if read == 0 || buffer[..read].contains(&0) {
            break;
        }
    }
    Ok(answer)
}

/// Whether the frame comes from a STOMP broker that works, or why not.
pub(super) fn judge(answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    // Ends of lines before a frame are heart-beats.
    let frame = text.trim_start_matches(['\r', '\n']);
    let (command, rest) = frame.split_once('\n').unwrap_or((frame, ""));
    match command.trim_end_matches('\r') {
        "CONNECTED" => Ok(()),
        "ERROR" => {
            let said = rest.to_ascii_lowercase();
            if ABOUT_LOGIN.iter().any(|word| said.contains(word)) {
                return Ok(());
            }
            let said: Vec<&str> = rest.split(['\n', '\r', '\0']).filter(|line| !line.is_empty()).collect();
            Err(format!("answers ERROR: {}", excerpt(&said.join(", "), 200)))
        }
        "" => Err("closed without an answer".to_owned()),
        _ => Err(format!("answers no STOMP: {:?}", excerpt(frame, 40))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_brokers_and_of_others() {
        for up in [
            "CONNECTED\nversion:1.2\n\n\0",
            "\n\nCONNECTED\r\nversion:1.2\r\n\r\n\0",
            "ERROR\nmessage:Bad CONNECT\n\nAccess refused for user 'guest'\0",
            "ERROR\nmessage:User name [null] or password is invalid.\n\n\0",
        ] {
            assert_eq!(judge(up.as_bytes()), Ok(()), "{up:?}");
        }
        for (down, why) in [
            ("ERROR\nmessage:Supported versions are 1.3\n\n\0", "answers ERROR: message:Supported"),
            ("HTTP/1.1 400 Bad Request\r\n", "answers no STOMP: \"HTTP/1.1"),
            ("CONNECTEDX\n\n\0", "answers no STOMP"),
            ("CONNECT", "answers no STOMP"),
            ("", "closed without"),
        ] {
            assert!(judge(down.as_bytes()).unwrap_err().contains(why), "{down:?}");
        }
    }
}
