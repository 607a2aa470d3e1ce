//! Holds many MQTT connections to one service, and notices what becomes of them.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;

/// Holds many MQTT connections to one service, and notices what becomes of them.
///
/// Takes orders on standard input and reports on standard output, one JSON object a line. An order is for example
/// {"order":"add","name":"light","clients":100,"per_second":50,"interval_ms":2000,"payload":64} or
/// {"order":"finish"}.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address and port of the service.
    to: SocketAddr,
}

fn main() -> Result<()> {
    balancer_tests::load::run::run(Arguments::parse().to)
}
