//! A GET, judged by its status.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use balancer_control::ProbeResult;

use crate::config::telemetry::HttpAuth;
use crate::telemetry::{BODY_LIMIT, Get, check_url};

/// Asks and compares. The body is not read.
pub(super) async fn probe(
    address: SocketAddr,
    path: &str,
    expect: &RangeInclusive<u16>,
    limit: Duration,
) -> ProbeResult {
    let url = format!("http://{address}{path}");
    let url = match check_url(&url) {
        Ok(url) => url,
        Err(why) => return ProbeResult::Down(why),
    };
    let auth = HttpAuth::default();
    let get = Get { url: &url, auth: &auth, accept: "*/*", limit: BODY_LIMIT, timeout: limit };
    match get.status().await {
        Ok(status) if expect.contains(&status.as_u16()) => ProbeResult::Up,
        Ok(status) => {
            let expected = if expect.start() == expect.end() {
                expect.start().to_string()
            } else {
                format!("{} to {}", expect.start(), expect.end())
            };
            ProbeResult::Down(format!("{url}: {status}, expected {expected}"))
        }
        Err(e) => ProbeResult::Down(e.to_string()),
    }
}
