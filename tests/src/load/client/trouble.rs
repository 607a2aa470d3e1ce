//! What goes wrong with a client's flow.

use std::io;

use rumqttc::mqttbytes::Error as MqttError;

use super::{CONNECT_PATIENCE, SILENCE};
use crate::load::herd::{NO_CONNACK, NO_HANDSHAKE};

/// Why a flow ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(io::ErrorKind),
    #[error("closed by the broker")]
    Closed,
    #[error("no answer for {} s", SILENCE.as_secs())]
    Silent,
    #[error("{NO_HANDSHAKE} in {} s", CONNECT_PATIENCE.as_secs())]
    NoHandshake,
    #[error("{NO_CONNACK} in {} s", CONNECT_PATIENCE.as_secs())]
    NoConnAck,
    #[error("refused by the broker: {0}")]
    Refused(String),
    #[error("not MQTT: {0}")]
    Garbled(MqttError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}
