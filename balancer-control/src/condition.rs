//! What holds of a backend or a service besides its state, and bears on where new flows go.
//!
//! The one place where such a thing becomes words. A rule that is added here is in `balancer status`, in `balancer
//! explain` and in the decision log without further ado: its word for programs, whether it keeps new flows away, since
//! when it holds, and its reason, each number with its unit.

use core::time::Duration;

use crate::admission;
use crate::backend::Backend;
use crate::cluster::{self, Disagreement};
use crate::drain::DrainState;
use crate::health::HealthState;
use crate::load::SATURATED;
use crate::service::Service;
use crate::snapshot::{BackendState, BudgetSnapshot, Condition};
use crate::{Moment, Policy};

/// What follows from a condition that holds.
enum Then {
    /// It keeps new flows away.
    Closes,
    /// It does not.
    Stays,
}

use Then::{Closes, Stays};

/// The conditions for which there is a reason.
#[derive(Default)]
struct Holding(Vec<Condition>);

impl Holding {
    fn rule(&mut self, word: &'static str, then: Then, since: Option<Moment>, reason: Option<String>) {
        if let Some(reason) = reason {
            self.0.push(Condition { word, reason, since, closes: matches!(then, Closes) });
        }
    }
}

/// What holds of a backend that is in `state`. What the state itself says is left out.
pub(crate) fn of_backend(
    backend: &Backend,
    service: &Service,
    state: BackendState,
    now: Moment,
) -> Vec<Condition> {
    let health = Some(backend.health.since());
    let exhausted = backend.exhaustion.since();
    let storm = backend.load.storm();
    let stale = backend.sample.as_ref().map(|sample| sample.taken.plus(service.spec.stale_after));
    let mut holding = Holding::default();
    holding.rule("down", Closes, health, down(backend, state));
    holding.rule("exhausted", Closes, exhausted, exhausted_besides(backend, state));
    holding.rule("ejected", Closes, ejected_since(backend), ejected_besides(backend, state));
    holding.rule("panicked", Stays, health, panicked(backend));
    holding.rule("trial", Stays, ejected_since(backend), trial(backend));
    holding.rule("waiting", Stays, None, waiting(backend, service));
    holding.rule("spared", Stays, exhausted, spared(backend));
    holding.rule("capped", Closes, None, capped(backend));
    holding.rule("ramp", Stays, None, ramp(admission::backend_budget(backend, service, now)));
    holding.rule("standby", Stays, None, standby(backend));
    holding.rule("leaving", Stays, None, leaving(backend));
    holding.rule("weight-override", Stays, None, weight_override(backend));
    holding.rule("reading-refused", Stays, None, backend.refused.clone());
    holding.rule("no-telemetry", Stays, None, no_telemetry(backend, service));
    holding.rule("stale", Stays, stale, stale_reading(backend, service, now));
    holding.rule("no-utilisation", Stays, None, no_utilisation(backend, service, now));
    holding.rule("saturated", Stays, None, saturated(backend, service, now));
    holding.rule("frozen", Stays, storm.map(|storm| storm.since), frozen(backend, service));
    holding.rule("capacity-adopted", Stays, None, capacity_adopted(backend, now));
    holding.0
}

/// What holds of a service as a whole.
pub(crate) fn of_service(service: &Service, now: Moment) -> Vec<Condition> {
    let split = disagreement(service).map(|found| found.since);
    let mut holding = Holding::default();
    holding.rule("no-backend", Closes, None, no_backend(service));
    holding.rule("service-capped", Closes, None, service_capped(service));
    holding.rule("too-few-ready", Closes, None, too_few_ready(service));
    holding.rule("panic", Stays, service.fallback.panic.map(|panic| panic.since), panic(service));
    holding.rule("takeover", Stays, None, takeover(service));
    holding.rule("alarm", Stays, service.alarm.as_ref().map(|alarm| alarm.since), alarm(service));
    holding.rule("cluster-disagrees", Stays, split, disagrees(service));
    holding.rule("same-node", Stays, None, same_node(service, now));
    holding.rule("service-ramp", Stays, None, ramp(admission::service_budget(service, now)));
    holding.rule("on-standby", Stays, None, on_standby(service));
    holding.rule("counting", Stays, None, counting(service, now));
    holding.rule("ring-waits", Stays, None, ring_waits(service, now));
    holding.0
}

fn down(backend: &Backend, state: BackendState) -> Option<String> {
    let besides = backend.health.state() == HealthState::Down && state != BackendState::Down;
    besides.then(|| backend.health.reason().to_owned())
}

fn exhausted_besides(backend: &Backend, state: BackendState) -> Option<String> {
    let besides = backend.exhaustion.since().is_some() && !backend.spared && state != BackendState::Exhausted;
    besides.then(|| backend.exhaustion.reason().to_owned())
}

fn ejected_since(backend: &Backend) -> Option<Moment> {
    backend.ejection.reason().map(|(since, _)| since)
}

fn ejected_besides(backend: &Backend, state: BackendState) -> Option<String> {
    let besides = backend.ejection.is_out() && state != BackendState::Ejected;
    backend.ejection.reason().filter(|_| besides).map(|(_, reason)| reason)
}

fn panicked(backend: &Backend) -> Option<String> {
    backend.panicked.then(|| "its probes fail, and are set aside because the service panics".to_owned())
}

fn trial(backend: &Backend) -> Option<String> {
    let (_, reason) = backend.ejection.reason().filter(|_| backend.ejection.is_on_trial())?;
    Some(format!("{reason}: it is the last choice of every draw until SYNs to it are answered"))
}

fn waiting(backend: &Backend, service: &Service) -> Option<String> {
    let waits = !backend.spec.standby && !backend.spec.leaving && !service.fallback.asks(backend);
    waits.then(|| {
        format!(
            "priority {} waits, new flows go to priority {} and before; asked only when nobody there takes one",
            backend.spec.priority, service.fallback.open_to
        )
    })
}

fn service_capped(service: &Service) -> Option<String> {
    let cap = service.spec.admission.cap?;
    let live: u64 = service.backends.iter().map(|backend| backend.history.live()).sum();
    (live >= u64::from(cap)).then(|| {
        format!(
            "{live} live connections, and max_connections = {cap} of the service: new flows are refused with a RST"
        )
    })
}

fn too_few_ready(service: &Service) -> Option<String> {
    let asked = service.spec.protection.min_ready > 0;
    (asked && !service.opened).then(|| {
        format!(
            "{} of the {} backends of min_ready are ready: new flows are refused until so many have been",
            service.ready(),
            service.spec.protection.min_ready
        )
    })
}

fn panic(service: &Service) -> Option<String> {
    let panic = service.fallback.panic?;
    let threshold = service.spec.protection.panic?;
    Some(format!(
        "{} of {} backends are up, less than panic = {threshold}: what probes say is set aside, and all that are neither \
         drained nor out of a resource take new flows, but those whose SYNs fail",
        panic.up, panic.of
    ))
}

fn takeover(service: &Service) -> Option<String> {
    let first = service.backends.iter().filter(|b| !b.spec.standby && !b.spec.leaving);
    let first = first.map(|backend| backend.spec.priority).min()?;
    (service.fallback.open_to > first && service.fallback.panic.is_none()).then(|| {
        format!(
            "fewer than takeover = {} of the backends of priority {} take new flows: priority {} is on the ring too",
            service.spec.protection.takeover,
            if service.fallback.open_to == first + 1 { first.to_string() } else { format!("{first} and after") },
            service.fallback.open_to
        )
    })
}

fn alarm(service: &Service) -> Option<String> {
    let alarm = service.alarm.as_ref()?;
    let names: Vec<&str> = alarm.names.iter().map(String::as_str).collect();
    let then = service.pace().map_or_else(
        || "admission goes on as usual (alarm_rate = \"off\")".to_owned(),
        |pace| format!("no more than {pace} new connections a second are admitted"),
    );
    Some(format!("the brokers' cluster raises {}: {then}, and nobody is closed for it", names.join(", ")))
}

/// Brokers that disagree on the size of their cluster, as soon as that is no matter of when each was read.
fn disagreement(service: &Service) -> Option<&Disagreement> {
    service.disagreement.as_ref().filter(|disagreement| disagreement.confirmed)
}

fn disagrees(service: &Service) -> Option<String> {
    let who = disagreement(service)?.who();
    Some(format!(
        "the brokers disagree on how many nodes their cluster has: {who}; it may be split, and nobody is closed for it"
    ))
}

/// Backends that are told the load of one and the same node.
fn same_node(service: &Service, now: Moment) -> Option<String> {
    let nodes = cluster::same_nodes(&service.backends, service.spec.stale_after, now);
    let one = |(node, backends): (&&str, &Vec<&str>)| format!("{node} by {}", backends.join(", "));
    let told: Vec<String> = nodes.iter().map(one).collect();
    (!told.is_empty()).then(|| {
        format!(
            "one node is read by several backends, which are steered by its load together: {}; give each of them a \
             telemetry.url or port of its own, or write the broker once",
            told.join("; ")
        )
    })
}

fn spared(backend: &Backend) -> Option<String> {
    backend.spared.then(|| {
        format!("{}; open all the same, because no backend is better off", backend.exhaustion.reason())
    })
}

fn capped(backend: &Backend) -> Option<String> {
    let (live, cap) = (backend.history.live(), backend.spec.cap?);
    (live >= u64::from(cap)).then(|| format!("{live} live connections, and max_connections = {cap}"))
}

fn ramp(budget: Option<BudgetSnapshot>) -> Option<String> {
    let BudgetSnapshot { rate, full } = budget?;
    (rate < full).then(|| {
        format!("{rate:.0} of {full:.0} new connections a second are admitted until the ramp has ended")
    })
}

fn standby(backend: &Backend) -> Option<String> {
    backend.spec.standby.then(|| "asked only when no backend of the ring takes new flows".to_owned())
}

fn leaving(backend: &Backend) -> Option<String> {
    let leaving = backend.spec.leaving && backend.drain.state() != DrainState::Active;
    leaving.then(|| {
        let health = match backend.health.state() {
            HealthState::Up => "up",
            HealthState::Down => "down",
            HealthState::Starting => "not known to be up",
        };
        format!(
            "removed from the configuration: neither probed nor read since, it was {health}; its weight counts as {}",
            backend.weight()
        )
    })
}

fn weight_override(backend: &Backend) -> Option<String> {
    let weight = backend.weight_override?;
    Some(format!("the operator set weight {weight}, the configuration says {}", backend.spec.weight))
}

/// Whether the policy looks at telemetry at all.
const fn reads(service: &Service) -> bool {
    matches!(service.spec.policy, Policy::Adaptive | Policy::WeightedCpu)
}

/// What a policy does without telemetry.
const fn instead(service: &Service) -> &'static str {
    match service.spec.policy {
        Policy::WeightedCpu => "it counts as idle as the others are on average",
        Policy::Adaptive | Policy::LeastConn | Policy::RoundRobin | Policy::Random | Policy::Maglev => {
            "connections are counted instead"
        }
    }
}

fn no_telemetry(backend: &Backend, service: &Service) -> Option<String> {
    let none = reads(service) && backend.sample.is_none();
    none.then(|| format!("no telemetry has come yet: {}", instead(service)))
}

fn stale_reading(backend: &Backend, service: &Service, now: Moment) -> Option<String> {
    let age = now.since(backend.sample.as_ref()?.taken);
    let limit = service.spec.stale_after;
    (reads(service) && age > limit).then(|| {
        let (age, limit) = (seconds(age), seconds(limit));
        format!("the last reading is {age} old, more than stale_after = {limit}: {}", instead(service))
    })
}

fn no_utilisation(backend: &Backend, service: &Service, now: Moment) -> Option<String> {
    let fresh = |taken: Moment| now.since(taken) <= service.spec.stale_after;
    let reading = backend.sample.as_ref().is_some_and(|sample| fresh(sample.taken));
    let utilisation = backend.load.utilisation_taken().is_some_and(fresh);
    (reads(service) && reading && !utilisation)
        .then(|| format!("telemetry comes, but says nothing of the CPU: {}", instead(service)))
}

fn saturated(backend: &Backend, service: &Service, now: Moment) -> Option<String> {
    let level = backend.load.fresh_level(service.spec.stale_after, now)?;
    let full = service.spec.policy == Policy::Adaptive && level.utilisation > SATURATED;
    full.then(|| {
        format!(
            "utilisation {:.1} % is above {:.0} %, where it tells no difference: connections are counted instead",
            level.utilisation * 100.0,
            SATURATED * 100.0
        )
    })
}

fn frozen(backend: &Backend, service: &Service) -> Option<String> {
    let storm = backend.load.storm().filter(|_| service.spec.policy == Policy::Adaptive)?;
    Some(format!(
        "clients connect at {:.0}/s, more than {:.0}/s, which passes for a storm whose handshakes are no lasting load: the \
         level stays as it was, for 60 s at most, and connections are counted on top",
        storm.rate, storm.limit
    ))
}

fn capacity_adopted(backend: &Backend, now: Moment) -> Option<String> {
    let capacity = backend.hint(now)?;
    Some(format!("capacity {capacity:.2} is taken from the ring of an earlier agent until it is learnt anew"))
}

fn no_backend(service: &Service) -> Option<String> {
    let none = !service.backends.iter().any(takes_flows);
    none.then(|| "no backend takes new flows: they are refused with a RST".to_owned())
}

fn on_standby(service: &Service) -> Option<String> {
    let open = |standby: bool| {
        service.backends.iter().filter(move |backend| backend.spec.standby == standby && takes_flows(backend))
    };
    let names: Vec<&str> = open(true).map(|backend| backend.spec.name.as_str()).collect();
    (open(false).next().is_none() && !names.is_empty())
        .then(|| format!("no backend of the ring takes new flows: {} stands in", names.join(", ")))
}

fn counting(service: &Service, now: Moment) -> Option<String> {
    let blind = |backend: &Backend| {
        let stale = |taken: Moment| now.since(taken) > service.spec.stale_after;
        backend.sample.as_ref().is_none_or(|sample| stale(sample.taken))
    };
    let none = reads(service) && !service.backends.is_empty() && service.backends.iter().all(blind);
    none.then(|| "no backend has fresh telemetry: steering goes by connections alone".to_owned())
}

fn ring_waits(service: &Service, now: Moment) -> Option<String> {
    let left = service.ring.due()?.since(now);
    Some(format!("learnt capacities have moved; the ring may follow in {}", seconds(left)))
}

fn takes_flows(backend: &Backend) -> bool {
    backend.score.is_open(backend.history.live())
}

/// A duration in seconds, with a tenth below ten.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests;
