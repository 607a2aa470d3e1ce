//! Clients that work through the VIP.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    amqp::AmqpLoad,
    recipe::{Load, Protocol},
};
use crate::{
    lab::Host,
    load::{self, wire::Group},
    wait,
};

/// Messages that must come back before clients are said to work.
const ENOUGH: u64 = 200;

/// Running clients, ended on drop.
pub(super) enum Traffic {
    Mqtt(load::Load),
    Amqp(AmqpLoad),
}

impl Traffic {
    /// Starts clients and waits until all of them are connected and messages come back.
    pub(super) fn start(client: &Host, to: SocketAddr, protocol: Protocol, load: Load) -> Result<Self> {
        let mut traffic = match protocol {
            Protocol::Mqtt => {
                let mut clients = load::Load::start(client, to)?;
                let group = Group {
                    name: "clients".to_owned(),
                    clients: load.clients,
                    per_second: 50,
                    interval_ms: load.interval_ms,
                    payload: 64,
                };
                clients.add(group, Duration::from_secs(60))?;
                Self::Mqtt(clients)
            }
            Protocol::Amqp091 => Self::Amqp(AmqpLoad::start(&client.netns, to, load)?),
        };
        wait::until_ok("messages to come back", Duration::from_secs(60), || {
            if let Self::Amqp(clients) = &mut traffic {
                clients.check()?;
            }
            let (connected, received) = (traffic.connected(), traffic.received());
            ensure!(
                connected == u64::from(load.clients) && received >= ENOUGH,
                "{connected} of {} clients are connected, {received} messages came back",
                load.clients
            );
            Ok(())
        })?;
        Ok(traffic)
    }

    pub(super) fn connected(&self) -> u64 {
        match self {
            Self::Mqtt(load) => load.totals().connected,
            Self::Amqp(load) => load.connected(),
        }
    }

    pub(super) fn received(&self) -> u64 {
        match self {
            Self::Mqtt(load) => load.totals().received,
            Self::Amqp(load) => load.received(),
        }
    }

    /// Ends the clients in an orderly way. Says how many messages came back; every one must have.
    pub(super) fn finish(self) -> Result<u64> {
        match self {
            Self::Mqtt(load) => {
                let totals = load.finish().context("the MQTT clients failed")?.totals;
                ensure!(
                    (totals.lost, totals.broken, totals.pending) == (0, 0, 0),
                    "messages or flows were lost: {totals:?}"
                );
                Ok(totals.received)
            }
            Self::Amqp(load) => load.finish(),
        }
    }
}
