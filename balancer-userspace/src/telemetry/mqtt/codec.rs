//! Packets of both versions, by `rumqttc`'s encoders and decoders.

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};

use super::{Received, Refusal, RefusalKind};
use crate::config::health::MqttVersion;

/// Largest packet in bytes that is accepted from a broker. `$SYS` messages have some dozen.
const PACKET_LIMIT: u32 = 64 << 10;

/// A packet of either version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// CONNACK, with the refusal if it is one.
    ConnAck(Option<Refusal>),
    /// Anything later.
    Other(Received),
}

/// Whether a packet that starts with this byte is one that a broker sends to a client which only subscribes at QoS 0 and
/// pings: CONNACK, PUBLISH, SUBACK, PINGRESP, DISCONNECT. The decoder is not trusted with anything else.
const fn is_expected(first: u8) -> bool {
    matches!(first >> 4, 2 | 3 | 9 | 13 | 14)
}

/// A CONNECT with a clean session and no will.
pub(super) fn connect(
    version: MqttVersion,
    client_id: &str,
    keep_alive_s: u16,
    user: Option<(&str, &str)>,
) -> Result<BytesMut, String> {
    match version {
        MqttVersion::V311 => {
            let mut connect = v4::Connect::new(client_id);
            connect.keep_alive = keep_alive_s;
            connect.login = user.map(|(user, password)| v4::Login::new(user, password));
            encode_v4(&v4::Packet::Connect(connect))
        }
        MqttVersion::V5 => {
            let client_id = client_id.to_owned();
            let connect =
                v5::Connect { keep_alive: keep_alive_s, client_id, clean_start: true, properties: None };
            let login = user.map(|(user, password)| v5::Login::new(user, password));
            encode_v5(&v5::Packet::Connect(connect, None, login))
        }
    }
}

/// A SUBSCRIBE at QoS 0.
pub(super) fn subscribe(version: MqttVersion, filters: &[String]) -> Result<BytesMut, String> {
    let filters = filters.iter().cloned();
    match version {
        MqttVersion::V311 => {
            let filters = filters.map(|filter| v4::SubscribeFilter::new(filter, mqttbytes::QoS::AtMostOnce));
            let mut subscribe = v4::Subscribe::new_many(filters);
            subscribe.pkid = 1;
            encode_v4(&v4::Packet::Subscribe(subscribe))
        }
        MqttVersion::V5 => {
            let filters = filters.map(|filter| v5::Filter::new(filter, mqttbytes5::QoS::AtMostOnce));
            let mut subscribe = v5::Subscribe::new_many(filters, None);
            subscribe.pkid = 1;
            encode_v5(&v5::Packet::Subscribe(subscribe))
        }
    }
}

fn encode_v4(packet: &v4::Packet) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, PACKET_LIMIT as usize).map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn encode_v5(packet: &v5::Packet) -> Result<BytesMut, String> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, Some(PACKET_LIMIT)).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// Takes the first packet off `bytes`, if it is complete and one that a broker sends.
pub(super) fn next(version: MqttVersion, bytes: &mut BytesMut) -> Result<Option<Packet>, String> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if !is_expected(first) {
        let start: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        return Err(format!("no MQTT: {}", start.join(" ")));
    }
    decode(version, bytes)
}

fn decode(version: MqttVersion, bytes: &mut BytesMut) -> Result<Option<Packet>, String> {
    // The decoders say "insufficient" of a complete packet too, when its inside is too short, and then have consumed it.
    let before = bytes.len();
    match version {
        MqttVersion::V311 => match v4::Packet::read(bytes, PACKET_LIMIT as usize) {
            Ok(packet) => from_v4(packet).map(Some),
            Err(mqttbytes::Error::InsufficientBytes(_)) if bytes.len() == before => Ok(None),
            Err(e) => Err(format!("not MQTT 3.1.1: {e}")),
        },
        MqttVersion::V5 => match v5::Packet::read(bytes, Some(PACKET_LIMIT)) {
            Ok(packet) => from_v5(packet).map(Some),
            Err(mqttbytes5::Error::InsufficientBytes(_)) if bytes.len() == before => Ok(None),
            Err(e) => Err(format!("not MQTT 5: {e}; does the broker speak 3.1.1 only?")),
        },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever a broker does not send is refused alike")]
fn from_v4(packet: v4::Packet) -> Result<Packet, String> {
    Ok(match packet {
        v4::Packet::ConnAck(ack) => Packet::ConnAck(refusal_v4(ack.code)),
        v4::Packet::PingResp => Packet::Other(Received::Pong),
        v4::Packet::Publish(publish) => Packet::Other(Received::Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            retained: publish.retain,
        }),
        v4::Packet::SubAck(ack) => Packet::Other(Received::Subscribed(
            ack.return_codes.iter().all(|code| matches!(code, v4::SubscribeReasonCode::Success(_))),
        )),
        other => return Err(format!("a broker does not send {other:?}")),
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever a broker does not send is refused alike")]
fn from_v5(packet: v5::Packet) -> Result<Packet, String> {
    Ok(match packet {
        v5::Packet::ConnAck(ack) => Packet::ConnAck(refusal_v5(ack.code)),
        v5::Packet::PingResp(_) => Packet::Other(Received::Pong),
        v5::Packet::Publish(publish) => Packet::Other(Received::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            retained: publish.retain,
        }),
        v5::Packet::SubAck(ack) => Packet::Other(Received::Subscribed(
            ack.return_codes.iter().all(|code| matches!(code, v5::SubscribeReasonCode::Success(_))),
        )),
        v5::Packet::Disconnect(disconnect) => {
            let elsewhere = matches!(
                disconnect.reason_code,
                v5::DisconnectReasonCode::UseAnotherServer | v5::DisconnectReasonCode::ServerMoved
            );
            let kind = if elsewhere { RefusalKind::NoNewClients } else { RefusalKind::Other };
            let code = disconnect.reason_code as u8;
            let words = format!("DISCONNECT 0x{code:02X} ({:?})", disconnect.reason_code);
            Packet::Other(Received::Ended(Refusal { kind, words }))
        }
        other => return Err(format!("a broker does not send {other:?}")),
    })
}

/// MQTT 3.1.1 section 3.2.2.3.
fn refusal_v4(code: v4::ConnectReturnCode) -> Option<Refusal> {
    use v4::ConnectReturnCode as Code;
    let (kind, words) = match code {
        Code::Success => return None,
        Code::RefusedProtocolVersion => (
            RefusalKind::Other,
            "CONNACK 1 (unacceptable protocol version); configure the version that the broker speaks",
        ),
        Code::BadClientId => {
            (RefusalKind::Credentials, "CONNACK 2 (client id rejected); configure a client_id it accepts")
        }
        Code::ServiceUnavailable => (RefusalKind::NoNewClients, "CONNACK 3 (server unavailable)"),
        Code::BadUserNamePassword => (
            RefusalKind::Credentials,
            "CONNACK 4 (bad user name or password); check username and password_file",
        ),
        Code::NotAuthorized => {
            (RefusalKind::Credentials, "CONNACK 5 (not authorized); configure username and password_file")
        }
    };
    Some(Refusal { kind, words: words.to_owned() })
}

/// MQTT 5 section 3.2.2.2.
fn refusal_v5(code: v5::ConnectReturnCode) -> Option<Refusal> {
    use v5::ConnectReturnCode as Code;
    let (number, kind, words) = match code {
        Code::Success => return None,
        // Codes of version 3.1.1, which a broker sends that does not know version 5.
        Code::RefusedProtocolVersion => (0x01, RefusalKind::Other, "MQTT 5 is not spoken; configure 3.1.1"),
        Code::BadClientId => (0x02, RefusalKind::Credentials, "client id rejected"),
        Code::ServiceUnavailable => (0x03, RefusalKind::NoNewClients, "server unavailable"),
        Code::UnsupportedProtocolVersion => {
            (0x84, RefusalKind::Other, "MQTT 5 is not spoken; configure 3.1.1")
        }
        Code::ClientIdentifierNotValid => {
            (0x85, RefusalKind::Credentials, "client id rejected; configure a client_id it accepts")
        }
        Code::BadUserNamePassword => {
            (0x86, RefusalKind::Credentials, "bad user name or password; check username and password_file")
        }
        Code::NotAuthorized => {
            (0x87, RefusalKind::Credentials, "not authorized; configure username and password_file")
        }
        Code::BadAuthenticationMethod => (0x8c, RefusalKind::Credentials, "bad authentication method"),
        Code::ServerUnavailable => (0x88, RefusalKind::NoNewClients, "server unavailable"),
        Code::ServerBusy => (0x89, RefusalKind::NoNewClients, "server busy"),
        Code::QuotaExceeded => (0x97, RefusalKind::NoNewClients, "quota exceeded"),
        Code::UseAnotherServer => (0x9c, RefusalKind::NoNewClients, "use another server"),
        Code::ServerMoved => (0x9d, RefusalKind::NoNewClients, "server moved"),
        Code::ConnectionRateExceeded => (0x9f, RefusalKind::NoNewClients, "connection rate exceeded"),
        Code::UnspecifiedError => (0x80, RefusalKind::Other, "unspecified error"),
        Code::MalformedPacket => (0x81, RefusalKind::Other, "malformed packet"),
        Code::ProtocolError => (0x82, RefusalKind::Other, "protocol error"),
        Code::ImplementationSpecificError => (0x83, RefusalKind::Other, "implementation specific error"),
        Code::Banned => (0x8a, RefusalKind::Other, "the agent is banned"),
        Code::TopicNameInvalid => (0x90, RefusalKind::Other, "topic name invalid"),
        Code::PacketTooLarge => (0x95, RefusalKind::Other, "packet too large"),
        Code::PayloadFormatInvalid => (0x99, RefusalKind::Other, "payload format invalid"),
        Code::RetainNotSupported => (0x9a, RefusalKind::Other, "retain not supported"),
        Code::QoSNotSupported => (0x9b, RefusalKind::Other, "QoS not supported"),
    };
    Some(Refusal { kind, words: format!("CONNACK 0x{number:02X} ({words})") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(version: MqttVersion, bytes: &[u8]) -> Result<Option<Packet>, String> {
        decode(version, &mut BytesMut::from(bytes))
    }

    fn refusal(version: MqttVersion, code: u8) -> Option<Refusal> {
        let bytes: &[u8] = match version {
            MqttVersion::V311 => &[0x20, 2, 0, code],
            MqttVersion::V5 => &[0x20, 3, 0, code, 0],
        };
        match decoded(version, bytes).unwrap().unwrap() {
            Packet::ConnAck(refusal) => refusal,
            Packet::Other(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connect_is_as_the_standard_says() {
        let packet = connect(MqttVersion::V311, "", 10, None).unwrap();
        assert_eq!(packet[..], [0x10, 0x0c, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 0]);
        let packet = connect(MqttVersion::V5, "a", 10, Some(("u", "p"))).unwrap();
        assert_eq!(
            packet[..],
            [0x10, 0x14, 0, 4, b'M', b'Q', b'T', b'T', 5, 0xc2, 0, 10, 0, 0, 1, b'a', 0, 1, b'u', 0, 1, b'p']
        );
    }

    #[test]
    fn refusals_of_3_1_1() {
        use RefusalKind::{Credentials, NoNewClients, Other};
        assert_eq!(refusal(MqttVersion::V311, 0), None);
        for (code, kind) in
            [(1, Other), (2, Credentials), (3, NoNewClients), (4, Credentials), (5, Credentials)]
        {
            let refusal = refusal(MqttVersion::V311, code).unwrap();
            assert_eq!(refusal.kind, kind, "{code}");
            assert!(refusal.words.contains(&format!("CONNACK {code} ")), "{refusal:?}");
        }
        assert!(decoded(MqttVersion::V311, &[0x20, 2, 0, 6]).unwrap_err().contains('6'));
    }

    #[test]
    fn refusals_of_5() {
        use RefusalKind::{Credentials, NoNewClients, Other};
        assert_eq!(refusal(MqttVersion::V5, 0), None);
        let kinds = [
            (0x80, Other),
            (0x84, Other),
            (0x85, Credentials),
            (0x86, Credentials),
            (0x87, Credentials),
            (0x88, NoNewClients),
            (0x89, NoNewClients),
            (0x8a, Other),
            (0x8c, Credentials),
            (0x97, NoNewClients),
            (0x9c, NoNewClients),
            (0x9d, NoNewClients),
            (0x9f, NoNewClients),
        ];
        for (code, kind) in kinds {
            let refusal = refusal(MqttVersion::V5, code).unwrap();
            assert_eq!(refusal.kind, kind, "{code:#x}");
            assert!(refusal.words.contains(&format!("0x{code:02X}")), "{refusal:?}");
        }
        let moved = decoded(MqttVersion::V5, &[0xe0, 2, 0x9d, 0]).unwrap().unwrap();
        assert!(matches!(moved, Packet::Other(Received::Ended(Refusal { kind: NoNewClients, .. }))));
        assert!(decoded(MqttVersion::V5, &[0x20, 2, 0, 1]).unwrap_err().contains("3.1.1"));
    }

    #[test]
    fn half_a_packet_is_awaited_and_a_huge_one_refused() {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            assert_eq!(decoded(version, &[0x20]), Ok(None));
            assert_eq!(decoded(version, &[0x20, 2, 0]), Ok(None));
            assert_eq!(decoded(version, &[0xd0, 0]), Ok(Some(Packet::Other(Received::Pong))));
            assert!(decoded(version, &[0x30, 0xff, 0xff, 0xff, 0x7f]).is_err(), "256 MiB");
            assert!(decoded(version, &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err(), "a length without end");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            first in prop_oneof![Just(0x20_u8), 0x30_u8..=0x3f, Just(0x90), Just(0xd0), Just(0xe0)],
            body in proptest::collection::vec(any::<u8>(), 0..100), lie in 0_u8..3,
        ) {
            prop_assert!(is_expected(first));
            let mut bytes = vec![first, (body.len() as u8).saturating_sub(lie)];
            bytes.extend(&body);
            for version in [MqttVersion::V311, MqttVersion::V5] {
                let _ = decoded(version, &bytes);
            }
        }
    }
}
