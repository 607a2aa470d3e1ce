//! What a broker sends over an MQTT session.

use bytes::BytesMut;

use super::codec::{self, Packet};
use crate::config::health::MqttVersion;

/// The first byte says which version is spoken and how long the pieces are that the rest arrives in.
pub(crate) fn stream(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    let version = if first & 1 == 0 { MqttVersion::V311 } else { MqttVersion::V5 };
    let whole = packets(version, stream, stream.len().max(1));
    let pieces = packets(version, stream, 1 + usize::from(first >> 1));
    assert_eq!(whole.0, pieces.0, "packets do not depend on how they arrive");
    assert_eq!(whole.1.is_some(), pieces.1.is_some(), "nor does what is no packet");
}

/// The packets of a stream, and what is wrong with it.
fn packets(version: MqttVersion, stream: &[u8], piece: usize) -> (Vec<Packet>, Option<String>) {
    let (mut packets, mut received) = (Vec::new(), BytesMut::new());
    for piece in stream.chunks(piece) {
        received.extend_from_slice(piece);
        loop {
            let before = received.len();
            match codec::next(version, &mut received) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(why) => {
                    crate::fuzz::check_message(&why);
                    return (packets, Some(why));
                }
            }
            assert!(received.len() < before, "a packet of no bytes would come for ever");
        }
    }
    (packets, None)
}
