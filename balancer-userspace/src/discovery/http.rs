//! A registry that is asked by HTTP.

use std::time::Duration;

use super::{Said, document};
use crate::config::HttpAuth;
use crate::telemetry::{BODY_LIMIT, Extra, Get, check_url};
use crate::tls::TlsClient;

/// What the page at `url` says.
pub(super) async fn ask(url: &str, auth: &HttpAuth, timeout: Duration) -> Result<Said, String> {
    let checked = check_url(url)?;
    let tls = TlsClient::new(auth.tls.clone());
    let accept = "application/json";
    let get = Get { url: &checked, auth, tls: &tls, accept, limit: BODY_LIMIT, timeout };
    let answer = get.fetch(&Extra::default(), None).await.map_err(|error| error.to_string())?;
    Ok(Said { entries: document::parse(&answer.body, url)?, holds: None })
}
