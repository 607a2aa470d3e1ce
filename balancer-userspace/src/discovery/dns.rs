//! DNS: A or AAAA records of a name, or SRV records and the addresses behind them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::timeout;

use super::{Entry, Said, too_many};
use crate::config::discovery::{DiscoveryConfig, DnsQuestion, DnsRecords};

/// What the name servers say.
pub(super) async fn ask(question: &DnsQuestion, config: &DiscoveryConfig) -> Result<Said, String> {
    // Made anew, so that a changed resolv.conf counts.
    let resolver = resolver(question.server, config.timeout)
        .map_err(|error| format!("the name servers of this host cannot be used: {error}"))?;
    let asked = async {
        match question.records {
            DnsRecords::Addresses { port } => addresses(&resolver, question, port).await,
            DnsRecords::Services => services(&resolver, question, config.max).await,
        }
    };
    timeout(config.timeout, asked).await.map_err(|_elapsed| {
        format!("dns {}: no answer within {:.1} s", question.name, config.timeout.as_secs_f64())
    })?
}

fn resolver(server: Option<SocketAddr>, timeout: Duration) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let mut one = NameServerConfig::udp_and_tcp(server.ip());
            one.connections.iter_mut().for_each(|connection| connection.port = server.port());
            let config = ResolverConfig::from_name_servers(vec![one]);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    // A cache would hide what has changed; how long an answer holds is up to whoever asks.
    (options.timeout, options.attempts, options.cache_size) = (timeout, 2, 0);
    builder.build()
}

async fn addresses(resolver: &TokioResolver, question: &DnsQuestion, port: u16) -> Result<Said, String> {
    let (found, holds) = hosts(resolver, &question.name, question.v6).await?;
    let entries = found.into_iter().map(|ip| Entry::new(SocketAddr::new(ip, port))).collect();
    Ok(Said { entries, holds: Some(holds) })
}

/// The addresses of a host, and for how long they hold.
async fn hosts(resolver: &TokioResolver, name: &str, v6: bool) -> Result<(Vec<IpAddr>, Duration), String> {
    let kind = if v6 { RecordType::AAAA } else { RecordType::A };
    let answer = lookup(resolver, name, kind).await?;
    let ip = |data: &RData| data.ip_addr().filter(|ip| ip.is_ipv6() == v6);
    let mut found: Vec<IpAddr> = answer.answers().iter().filter_map(|record| ip(&record.data)).collect();
    found.sort();
    found.dedup();
    Ok((found, holds(&answer)))
}

/// SRV records: the lowest priority is used, the others are standbys (RFC 2782).
async fn services(resolver: &TokioResolver, question: &DnsQuestion, max: usize) -> Result<Said, String> {
    let answer = lookup(resolver, &question.name, RecordType::SRV).await?;
    let of = |data: &RData| {
        let RData::SRV(srv) = data else { return None };
        Some((srv.priority, srv.weight, srv.port, srv.target.to_string()))
    };
    let records: Vec<_> = answer.answers().iter().filter_map(|record| of(&record.data)).collect();
    if records.len() > max {
        return Err(too_many(records.len(), max));
    }
    let first = records.iter().map(|(priority, ..)| *priority).min().unwrap_or(0);
    let heaviest = records.iter().map(|(_, weight, ..)| *weight).max().unwrap_or(0);
    let mut said = Said { entries: Vec::new(), holds: Some(holds(&answer)) };
    for (priority, weight, port, target) in records {
        let (found, holds) = hosts(resolver, &target, question.v6).await?;
        said.holds = said.holds.map(|shortest| shortest.min(holds));
        said.entries.extend(found.into_iter().map(|ip| Entry {
            weight: weight_of(weight, heaviest),
            standby: priority > first,
            ..Entry::new(SocketAddr::new(ip, port))
        }));
    }
    Ok(said)
}

/// A weight of 1 to 1000 for one of 0 to 65535. Where all are 0 there is no preference.
fn weight_of(weight: u16, heaviest: u16) -> Option<u32> {
    let scale = f64::from(heaviest).max(1000.0) / 1000.0;
    (heaviest > 0).then(|| (f64::from(weight) / scale).round().clamp(1.0, 1000.0) as u32)
}

async fn lookup(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Lookup, String> {
    resolver.lookup(name, kind).await.map_err(|error| {
        if error.is_no_records_found() {
            return format!("dns {name}: there is no {kind} record, which removes nobody");
        }
        format!("dns {name}: {error}")
    })
}

/// The shortest time to live of an answer.
fn holds(answer: &Lookup) -> Duration {
    let shortest = answer.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    Duration::from_secs(u64::from(shortest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_fit_and_keep_their_proportion() {
        assert_eq!(weight_of(0, 0), None);
        assert_eq!([weight_of(10, 20), weight_of(20, 20), weight_of(0, 20)], [Some(10), Some(20), Some(1)]);
        assert_eq!([weight_of(30_000, 60_000), weight_of(60_000, 60_000)], [Some(500), Some(1000)]);
    }
}
