//! `balancer explain`

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::api::client::ClientError;
use crate::api::wire::{Candidate, ErrorCode, Explanation};
use crate::api::{BackendName, Question, When};

use super::output::{self, json, or_dash, percent, print};
use super::{Context, Failure, log, time};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A service, a backend of it, or the address and port of a client.
    #[arg(value_name = "SERVICE | SERVICE/BACKEND | CLIENT:PORT")]
    subject: String,
    /// The service that the client talks to; without it the one that it has a flow to, or the only one.
    #[arg(long)]
    service: Option<String>,
    /// How it was at that time, by the decision log: 14:32 (the last one), 2026-01-31T14:32, or with an offset.
    #[arg(long, value_name = "TIME", conflicts_with = "since", value_parser = at)]
    at: Option<i64>,
    /// How it is, and what happened in the time before: 10m, 2h.
    #[arg(long, value_name = "DURATION", value_parser = time::span)]
    since: Option<Duration>,
}

fn at(text: &str) -> Result<i64, String> {
    time::moment(text, &time::now())
}

impl Args {
    fn question(self) -> Result<Question, String> {
        let when = match (self.at, self.since) {
            (Some(at), _) => When::At(at),
            (None, Some(since)) => When::Since(since),
            (None, None) => When::Now,
        };
        if let Ok(client) = self.subject.parse::<SocketAddr>() {
            return Ok(Question { service: self.service, backend: None, client: Some(client), when });
        }
        if let Some(service) = self.service {
            return Err(format!(
                "--service {service} goes with a client, and {:?} is not an address and port, such as 198.51.100.7:50000",
                self.subject
            ));
        }
        if self.subject.contains('/') {
            let BackendName { service, backend } = self.subject.parse()?;
            return Ok(Question { service: Some(service), backend: Some(backend), client: None, when });
        }
        Ok(Question { service: Some(self.subject), backend: None, client: None, when })
    }
}

/// Whether a text is an address with no port, or with what is none behind it.
fn is_address(text: &str) -> bool {
    let is_ip = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_ip(text) || text.rsplit_once(':').is_some_and(|(address, _)| is_ip(address))
}

pub(super) async fn run(args: Args, context: &mut Context<'_>) -> Result<(), Failure> {
    let subject = args.subject.clone();
    let question = args.question().map_err(Failure::Usage)?;
    let answer = match context.client.explain(&question).await {
        // A service may be called as an address is, so it is asked for first.
        Err(ClientError::Refused(error)) if error.code == ErrorCode::NotFound && is_address(&subject) => {
            return Err(Failure::Usage(format!(
                "{subject:?} is no service, and no address with a port from 1 to 65535; write a client as \
                 198.51.100.7:50000 or [2001:db8::7]:50000, as `balancer flow list` shows them"
            )));
        }
        answer => answer?,
    };
    if context.json {
        json(context.out, &answer)?
    } else {
        show(context.out, &answer)?
    }
    Ok(())
}

fn show(out: &mut dyn Write, answer: &Explanation) -> io::Result<()> {
    for reason in &answer.reasons {
        writeln!(out, "{reason}")?;
    }
    if !answer.candidates.is_empty() {
        writeln!(out)?;
        candidates(out, &answer.candidates)?;
    }
    if !answer.events.is_empty() {
        writeln!(out)?;
        log::show(out, &answer.events, &TimeZone::system())?;
    }
    Ok(())
}

fn candidates(out: &mut dyn Write, candidates: &[Candidate]) -> io::Result<()> {
    let best = candidates.iter().find(|candidate| candidate.chosen);
    let mut table = output::table(&["CANDIDATE", "SLOT", "SCORE", "LIVE", "NOTE"], &[1, 2, 3]);
    for candidate in candidates {
        table.add_row([
            candidate.backend.clone(),
            or_dash(candidate.slot),
            percent(candidate.score),
            candidate.live.to_string(),
            note(candidate, best),
        ]);
    }
    print(out, &table)
}

/// Why this one, or why not.
fn note(candidate: &Candidate, best: Option<&Candidate>) -> String {
    match (candidate, best) {
        (Candidate { chosen: true, .. }, _) => "chosen".to_owned(),
        (Candidate { closed: Some(why), .. }, _) => why.clone(),
        (_, Some(best)) if best.backend == candidate.backend => "drawn again".to_owned(),
        (_, Some(best)) if candidate.score > best.score => {
            format!("{} higher", percent(candidate.score - best.score))
        }
        (_, Some(_)) => "drawn later, at the same score".to_owned(),
        (_, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_port_are_known_as_such() {
        for text in
            ["198.51.100.7", "2001:db8::7", "[2001:db8::7]", "198.51.100.7:99999", "[::1]:x", "10.0.0.1:"]
        {
            assert!(is_address(text), "{text}");
        }
        for text in ["mqtt", "", ":", "a:1", "10.0.0", "broker:1883"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
