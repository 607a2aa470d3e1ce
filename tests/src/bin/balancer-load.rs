//! Holds many MQTT connections to one service, and notices what becomes of them.

use std::net::SocketAddr;

use anyhow::Result;
use balancer_tests::load::{Way, run::run};
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
    /// Connects over TLS, and believes any certificate.
    #[arg(long)]
    tls: bool,
}

fn main() -> Result<()> {
    let Arguments { to, tls } = Arguments::parse();
    run(Way::new(to, tls))
}
