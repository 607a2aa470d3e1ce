//! Routes of rebalancing and paced drains.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};

use super::super::http::UnixPeer;
use super::super::wire::{self, ApiError, MAX_RATE, Most, UNFORCED};
use super::super::{Call, Calls};
use super::request::Body;
use super::{Answer, ask, invalid};

const REBALANCE: &str = "send {\"to\": 0.01 to 1.0}, and as you like \"service\", \"rate\" (flows per second), \"max\" \
                         ({\"flows\": N} or {\"share\": 0.0 to 1.0}), \"dry_run\" and \"force\"";

pub(super) async fn runs(State(calls): State<Calls>) -> Answer<wire::Runs> {
    ask(&calls, Call::Runs).await.map(Json)
}

pub(super) async fn rebalance(
    State(calls): State<Calls>,
    Extension(peer): Extension<UnixPeer>,
    Body(body): Body,
) -> Answer<wire::Runs> {
    let request: wire::RebalanceRequest =
        serde_json::from_slice(&body).map_err(|error| invalid(format!("{error}; {REBALANCE}")))?;
    if !(0.01..=1.0).contains(&request.to) {
        return Err(invalid(format!("to {} is out of range; use 0.01 to 1.0 (1% to 100%)", request.to)));
    }
    request.rate.map_or(Ok(()), check_rate)?;
    if let Some(Most::Share(share)) = request.max
        && !(share > 0.0 && share <= 1.0)
    {
        return Err(invalid(format!(
            "a share of {share} is out of range; use more than 0.0, at most 1.0 (100%)"
        )));
    }
    if let Some(Most::Share(share)) = request.max
        && share > UNFORCED
        && !(request.force || request.dry_run)
    {
        return Err(invalid(format!(
            "a max of {:.0} % of a service's clients at once needs to be meant: nothing was begun; use at most {:.0} %, \
             or look at --dry-run first and say --force (\"force\": true)",
            share * 100.0,
            UNFORCED * 100.0
        )));
    }
    if !request.dry_run {
        let (service, to) = (&request.service, request.to);
        tracing::info!(uid = peer.uid, pid = peer.pid, action = "rebalance", service, to, "asked by API");
    }
    let peer = peer.into();
    ask(&calls, |reply| Call::Rebalance { peer, request, reply }).await.map(Json)
}

pub(super) async fn stop(
    State(calls): State<Calls>,
    Extension(peer): Extension<UnixPeer>,
    Body(body): Body,
) -> Answer<wire::Runs> {
    let request: wire::StopRequest = match body.trim_ascii() {
        [] => wire::StopRequest::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| invalid(format!("{error}; send nothing, or {{\"service\": NAME}}")))?,
    };
    let service = request.service;
    tracing::info!(uid = peer.uid, pid = peer.pid, action = "stop", service, "asked by API");
    let peer = peer.into();
    ask(&calls, |reply| Call::StopRuns { peer, service, reply }).await.map(Json)
}

/// The pace that the body of a drain asks for; none without a body.
pub(super) fn pace(body: &Bytes) -> Result<Option<wire::DrainRequest>, ApiError> {
    let [_, ..] = body.trim_ascii() else { return Ok(None) };
    let request: wire::DrainRequest = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("{error}; send nothing, or {{\"rate\": flows per second}}")))?;
    check_rate(request.rate)?;
    Ok(Some(request))
}

fn check_rate(rate: f64) -> Result<(), ApiError> {
    if rate > 0.0 && rate <= MAX_RATE {
        return Ok(());
    }
    Err(invalid(format!("rate {rate} is out of range; use more than 0, at most {MAX_RATE} flows per second")))
}
