//! A WebSocket as a byte stream: what MQTT is carried in (MQTT 3.1.1 section 6, RFC 6455).

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future};
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::{LinkError, Stream};

/// Largest message in bytes that is accepted: that of the MQTT packets inside.
const MESSAGE_LIMIT: usize = 64 << 10;

/// Asks for the WebSocket at `url` on a connection that is there.
pub(super) async fn open(stream: Stream, url: &str, protocol: &'static str) -> Result<Stream, LinkError> {
    let refused = |error: Error| LinkError::WebSocket(words(&error));
    let uri = url.parse().map_err(|e| LinkError::WebSocket(format!("{url}: {e}")))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(protocol);
    let request = request.into_client_request().map_err(refused)?;
    let limits =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
    let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await;
    let (messages, _response) = opened.map_err(refused)?;
    let (sink, stream) = messages.split();
    let reader = StreamReader::new(stream.map(|message| message.map_err(broken).and_then(content)));
    let sink =
        sink.sink_map_err(broken).with(|bytes: Bytes| future::ok::<_, io::Error>(Message::Binary(bytes)));
    let writer = SinkWriter::new(CopyToBytes::new(sink));
    Ok(Stream::new(tokio::io::join(reader, writer)))
}

/// What a message carries; those of the WebSocket's own carry nothing.
fn content(message: Message) -> io::Result<Bytes> {
    match message {
        Message::Binary(bytes) => Ok(bytes),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(Bytes::new()),
        Message::Text(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a WebSocket message is text, and MQTT is carried in binary ones",
        )),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are of the WebSocket itself")]
fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, words(&other)),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others say enough themselves")]
fn words(error: &Error) -> String {
    match error {
        Error::Http(response) => {
            format!("answered {}; is it the path that the broker serves WebSockets on?", response.status())
        }
        other => other.to_string(),
    }
}
