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
use crate::outline::{ConditionOutline, Reason};
use crate::service::Service;
use crate::snapshot::{BackendState, BudgetSnapshot};
use crate::{Moment, Policy};

/// What follows from a condition that holds.
enum Then {
    /// It keeps new flows away.
    Closes,
    /// It does not.
    Stays,
}

use Then::{Closes, Stays};

fn say<'a>(reason: impl Fn() -> String + 'a) -> Reason<'a> {
    Box::new(reason)
}

fn when<'a>(holds: bool, reason: impl Fn() -> String + 'a) -> Option<Reason<'a>> {
    holds.then(|| say(reason))
}

/// The conditions for which there is a reason.
#[derive(Default)]
struct Conditions<'a>(Vec<ConditionOutline<'a>>);

impl<'a> Conditions<'a> {
    fn add(&mut self, word: &'static str, then: Then, since: Option<Moment>, reason: Option<Reason<'a>>) {
        let closes = matches!(then, Closes);
        self.0.extend(reason.map(|reason| ConditionOutline { word, since, closes, reason }));
    }
}

/// What holds of a backend that is in `state`. What the state itself says is left out.
pub(crate) fn of_backend<'a>(
    backend: &'a Backend,
    service: &'a Service,
    state: BackendState,
    now: Moment,
) -> Vec<ConditionOutline<'a>> {
    let health = Some(backend.health.since());
    let exhausted = backend.exhaustion.since();
    let ejected = backend.ejection.since();
    let storm = backend.load.storm();
    let stale = backend.sample.as_ref().map(|sample| sample.taken.plus(service.spec.stale_after));
    let mut conditions = Conditions::default();
    conditions.add("down", Closes, health, down(backend, state));
    conditions.add("exhausted", Closes, exhausted, exhausted_besides(backend, state));
    conditions.add("ejected", Closes, ejected, ejected_besides(backend, state));
    conditions.add("panicked", Stays, health, panicked(backend));
    conditions.add("trial", Stays, ejected, trial(backend));
    conditions.add("waiting", Stays, None, waiting(backend, service));
    conditions.add("spared", Stays, exhausted, spared(backend));
    conditions.add("capped", Closes, None, capped(backend));
    conditions.add("ramp", Stays, None, ramp(admission::backend_budget(backend, service, now)));
    conditions.add("standby", Stays, None, standby(backend));
    conditions.add("leaving", Stays, None, leaving(backend));
    conditions.add("weight-override", Stays, None, weight_override(backend));
    conditions.add("reading-refused", Stays, None, reading_refused(backend));
    conditions.add("no-telemetry", Stays, None, no_telemetry(backend, service));
    conditions.add("stale", Stays, stale, stale_reading(backend, service, now));
    conditions.add("no-utilisation", Stays, None, no_utilisation(backend, service, now));
    conditions.add("saturated", Stays, None, saturated(backend, service, now));
    conditions.add("frozen", Stays, storm.map(|storm| storm.since), frozen(backend, service));
    conditions.add("capacity-adopted", Stays, None, capacity_adopted(backend, now));
    conditions.0
}

/// What holds of a service as a whole.
pub(crate) fn of_service(service: &Service, now: Moment) -> Vec<ConditionOutline<'_>> {
    let split = disagreement(service).map(|found| found.since);
    let mut conditions = Conditions::default();
    conditions.add("no-backend", Closes, None, no_backend(service));
    conditions.add("service-capped", Closes, None, service_capped(service));
    conditions.add("too-few-ready", Closes, None, too_few_ready(service));
    conditions.add("panic", Stays, service.fallback.panic.map(|panic| panic.since), panic(service));
    conditions.add("takeover", Stays, None, takeover(service));
    conditions.add("alarm", Stays, service.alarm.as_ref().map(|alarm| alarm.since), alarm(service));
    conditions.add("cluster-disagrees", Stays, split, disagrees(service));
    conditions.add("same-node", Stays, None, same_node(service, now));
    conditions.add("service-ramp", Stays, None, ramp(admission::service_budget(service, now)));
    conditions.add("on-standby", Stays, None, on_standby(service));
    conditions.add("counting", Stays, None, counting(service, now));
    conditions.add("ring-waits", Stays, None, ring_waits(service, now));
    conditions.0
}

fn down(backend: &Backend, state: BackendState) -> Option<Reason<'_>> {
    let besides = backend.health.state() == HealthState::Down && state != BackendState::Down;
    when(besides, move || backend.health.reason().to_owned())
}

fn exhausted_besides(backend: &Backend, state: BackendState) -> Option<Reason<'_>> {
    let besides = backend.exhaustion.since().is_some() && !backend.spared && state != BackendState::Exhausted;
    when(besides, move || backend.exhaustion.reason().to_owned())
}

fn ejected_besides(backend: &Backend, state: BackendState) -> Option<Reason<'_>> {
    let besides = backend.ejection.is_out() && state != BackendState::Ejected;
    when(besides, move || backend.ejection.reason())
}

fn panicked(backend: &Backend) -> Option<Reason<'_>> {
    when(backend.panicked, move || "its probes fail, and are set aside because the service panics".to_owned())
}

fn trial(backend: &Backend) -> Option<Reason<'_>> {
    let ejection = &backend.ejection;
    when(ejection.is_on_trial(), move || {
        format!("{}: it is the last choice of every draw until SYNs to it are answered", ejection.reason())
    })
}

fn waiting<'a>(backend: &'a Backend, service: &'a Service) -> Option<Reason<'a>> {
    let waits = !backend.spec.standby && !backend.spec.leaving && !service.fallback.asks(backend);
    when(waits, move || {
        format!(
            "priority {} waits, new flows go to priority {} and before; asked only when nobody there takes one",
            backend.spec.priority, service.fallback.open_to
        )
    })
}

fn service_capped(service: &Service) -> Option<Reason<'_>> {
    let cap = service.spec.admission.cap?;
    let live: u64 = service.backends.iter().map(|backend| backend.counts.live).sum();
    when(live >= u64::from(cap), move || {
        format!(
            "{live} live connections, and max_connections = {cap} of the service: new flows are refused with a RST"
        )
    })
}

fn too_few_ready(service: &Service) -> Option<Reason<'_>> {
    let asked = service.spec.protection.min_ready > 0;
    when(asked && !service.opened, move || {
        format!(
            "{} of the {} backends of min_ready are ready: new flows are refused until so many have been",
            service.ready(),
            service.spec.protection.min_ready
        )
    })
}

fn panic(service: &Service) -> Option<Reason<'_>> {
    let panic = service.fallback.panic?;
    let threshold = service.spec.protection.panic?;
    Some(say(move || {
        format!(
            "{} of {} backends are up, less than panic = {threshold}: what probes say is set aside, and all that are neither \
             drained nor out of a resource take new flows, but those whose SYNs fail",
            panic.up, panic.of
        )
    }))
}

fn takeover(service: &Service) -> Option<Reason<'_>> {
    let first = service.backends.iter().filter(|b| !b.spec.standby && !b.spec.leaving);
    let first = first.map(|backend| backend.spec.priority).min()?;
    when(service.fallback.open_to > first && service.fallback.panic.is_none(), move || {
        format!(
            "fewer than takeover = {} of the backends of priority {} take new flows: priority {} is on the ring too",
            service.spec.protection.takeover,
            if service.fallback.open_to == first + 1 {
                first.to_string()
            } else {
                format!("{first} and after")
            },
            service.fallback.open_to
        )
    })
}

fn alarm(service: &Service) -> Option<Reason<'_>> {
    let alarm = service.alarm.as_ref()?;
    let names: Vec<&str> = alarm.names.iter().map(String::as_str).collect();
    let then = service.pace().map_or_else(
        || "admission goes on as usual (alarm_rate = \"off\")".to_owned(),
        |pace| format!("no more than {pace} new connections a second are admitted"),
    );
    Some(say(move || {
        format!("the brokers' cluster raises {}: {then}, and nobody is closed for it", names.join(", "))
    }))
}

/// Brokers that disagree on the size of their cluster, as soon as that is no matter of when each was read.
fn disagreement(service: &Service) -> Option<&Disagreement> {
    service.disagreement.as_ref().filter(|disagreement| disagreement.confirmed)
}

fn disagrees(service: &Service) -> Option<Reason<'_>> {
    let who = disagreement(service)?.who();
    Some(say(move || {
        format!(
            "the brokers disagree on how many nodes their cluster has: {who}; it may be split, and nobody is closed for it"
        )
    }))
}

/// Backends that are told the load of one and the same node.
fn same_node(service: &Service, now: Moment) -> Option<Reason<'_>> {
    let nodes = cluster::same_nodes(&service.backends, service.spec.stale_after, now);
    let one = |(node, backends): (&&str, &Vec<&str>)| format!("{node} by {}", backends.join(", "));
    let told: Vec<String> = nodes.iter().map(one).collect();
    when(!told.is_empty(), move || {
        format!(
            "one node is read by several backends, which are steered by its load together: {}; give each of them a \
             telemetry.url or port of its own, or write the broker once",
            told.join("; ")
        )
    })
}

fn spared(backend: &Backend) -> Option<Reason<'_>> {
    when(backend.spared, move || {
        format!("{}; open all the same, because no backend is better off", backend.exhaustion.reason())
    })
}

fn capped(backend: &Backend) -> Option<Reason<'_>> {
    let (live, cap) = (backend.counts.live, backend.spec.cap?);
    when(live >= u64::from(cap), move || format!("{live} live connections, and max_connections = {cap}"))
}

fn ramp(budget: Option<BudgetSnapshot>) -> Option<Reason<'static>> {
    let BudgetSnapshot { rate, full } = budget?;
    when(rate < full, move || {
        format!("{rate:.0} of {full:.0} new connections a second are admitted until the ramp has ended")
    })
}

fn standby(backend: &Backend) -> Option<Reason<'_>> {
    when(backend.spec.standby, move || "asked only when no backend of the ring takes new flows".to_owned())
}

fn leaving(backend: &Backend) -> Option<Reason<'_>> {
    let leaving = backend.spec.leaving && backend.drain.state() != DrainState::Active;
    when(leaving, move || {
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

fn weight_override(backend: &Backend) -> Option<Reason<'_>> {
    let weight = backend.weight_override?;
    Some(say(move || {
        format!("the operator set weight {weight}, the configuration says {}", backend.spec.weight)
    }))
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

fn reading_refused(backend: &Backend) -> Option<Reason<'_>> {
    let refused = backend.refused.as_ref()?;
    Some(say(move || refused.clone()))
}

fn no_telemetry<'a>(backend: &'a Backend, service: &'a Service) -> Option<Reason<'a>> {
    let none = reads(service) && backend.sample.is_none();
    when(none, move || format!("no telemetry has come yet: {}", instead(service)))
}

fn stale_reading<'a>(backend: &'a Backend, service: &'a Service, now: Moment) -> Option<Reason<'a>> {
    let age = now.since(backend.sample.as_ref()?.taken);
    let limit = service.spec.stale_after;
    when(reads(service) && age > limit, move || {
        let (age, limit) = (seconds(age), seconds(limit));
        format!("the last reading is {age} old, more than stale_after = {limit}: {}", instead(service))
    })
}

fn no_utilisation<'a>(backend: &'a Backend, service: &'a Service, now: Moment) -> Option<Reason<'a>> {
    let fresh = |taken: Moment| now.since(taken) <= service.spec.stale_after;
    let reading = backend.sample.as_ref().is_some_and(|sample| fresh(sample.taken));
    let utilisation = backend.load.utilisation_taken().is_some_and(fresh);
    when(reads(service) && reading && !utilisation, move || {
        format!("telemetry comes, but says nothing of the CPU: {}", instead(service))
    })
}

fn saturated<'a>(backend: &'a Backend, service: &'a Service, now: Moment) -> Option<Reason<'a>> {
    let level = backend.load.fresh_level(service.spec.stale_after, now)?;
    let full = service.spec.policy == Policy::Adaptive && level.utilisation > SATURATED;
    when(full, move || {
        format!(
            "utilisation {:.1} % is above {:.0} %, where it tells no difference: connections are counted instead",
            level.utilisation * 100.0,
            SATURATED * 100.0
        )
    })
}

fn frozen<'a>(backend: &'a Backend, service: &'a Service) -> Option<Reason<'a>> {
    let storm = backend.load.storm().filter(|_| service.spec.policy == Policy::Adaptive)?;
    Some(say(move || {
        format!(
            "clients connect at {:.0}/s, more than {:.0}/s, which passes for a storm whose handshakes are no lasting load: the \
             level stays as it was, for 60 s at most, and connections are counted on top",
            storm.rate, storm.limit
        )
    }))
}

fn capacity_adopted(backend: &Backend, now: Moment) -> Option<Reason<'_>> {
    let capacity = backend.hint(now)?;
    Some(say(move || {
        format!("capacity {capacity:.2} is taken from the ring of an earlier agent until it is learnt anew")
    }))
}

fn no_backend(service: &Service) -> Option<Reason<'_>> {
    let none = !service.backends.iter().any(takes_flows);
    when(none, move || "no backend takes new flows: they are refused with a RST".to_owned())
}

fn on_standby(service: &Service) -> Option<Reason<'_>> {
    let open = |standby: bool| {
        service.backends.iter().filter(move |backend| backend.spec.standby == standby && takes_flows(backend))
    };
    let names: Vec<&str> = open(true).map(|backend| backend.spec.name.as_str()).collect();
    when(open(false).next().is_none() && !names.is_empty(), move || {
        format!("no backend of the ring takes new flows: {} stands in", names.join(", "))
    })
}

fn counting(service: &Service, now: Moment) -> Option<Reason<'_>> {
    let blind = |backend: &Backend| {
        let stale = |taken: Moment| now.since(taken) > service.spec.stale_after;
        backend.sample.as_ref().is_none_or(|sample| stale(sample.taken))
    };
    let none = reads(service) && !service.backends.is_empty() && service.backends.iter().all(blind);
    when(none, move || "no backend has fresh telemetry: steering goes by connections alone".to_owned())
}

fn ring_waits(service: &Service, now: Moment) -> Option<Reason<'_>> {
    let left = service.ring.due()?.since(now);
    Some(say(move || format!("learnt capacities have moved; the ring may follow in {}", seconds(left))))
}

const fn takes_flows(backend: &Backend) -> bool {
    backend.score.is_open(backend.counts.live)
}

/// A duration in seconds, with a tenth below ten.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests;
