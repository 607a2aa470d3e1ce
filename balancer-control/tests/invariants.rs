//! What holds whatever the controller is told.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_common::abi::{BackendId, MAX_BACKENDS, Ring, ScoreTable, ServiceId};
use balancer_control::snapshot::{BackendState, ServiceSnapshot};
use balancer_control::{
    Admission, BackendSpec, Budget, Command, Controller, Counts, EjectionSpec, Input, Model, Moment, Paces,
    Percent, Policy, ProbeResult, Protection, Resource, ResourceUse, Sample, Scope, ServiceSpec,
    ServiceSteering,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Two services of up to four backends: ids 0 to 3 and 4 to 7.
const PER_SERVICE: u16 = 4;

#[derive(Clone, Debug)]
struct Step {
    /// Milliseconds since the step before.
    after: u64,
    input: Input,
    /// For samples: milliseconds that the reading is older than the step; negative is the future.
    age: i64,
}

fn weird() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..=1.0,
        1 => select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, -1.0, 1.04, 1.06, 100.0, f64::MAX, 1e-300]),
    ]
}

fn backend(id: u16) -> impl Strategy<Value = BackendSpec> {
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2), 0_u8..3);
    let budget = prop::option::of((weird(), 0_u8..3))
        .prop_map(|budget| budget.map(|(rate, host)| Budget { rate, address: [192, 0, 2, host].into() }));
    let numbers = (1_u32..=1000, prop::option::of(weird()), prop::option::of(1_u32..50), budget, 0_u64..3);
    (flags, numbers).prop_map(
        move |((probed, standby, leaving, priority), (weight, cores, cap, budget, seed))| {
            BackendSpec {
                id: BackendId(id),
                name: format!("broker-{id}"),
                // Another seed is another backend under the same id.
                seed: u64::from(id) * 10 + seed / 2,
                weight,
                cores,
                priority,
                standby,
                cap,
                budget,
                probed,
                leaving,
            }
        },
    )
}

fn percent() -> impl Strategy<Value = Percent> {
    any::<u8>().prop_map(Percent::new)
}

fn protection() -> impl Strategy<Value = Protection> {
    let seconds = || (0_u64..120).prop_map(Duration::from_secs);
    let ejection = (seconds(), 0_u32..50, percent(), seconds(), seconds(), percent()).prop_map(
        |(window, min_syns, failing, time, max_time, most)| EjectionSpec {
            window,
            min_syns,
            failing,
            time,
            max_time,
            most,
        },
    );
    (
        prop::option::weighted(0.9, ejection),
        prop::option::weighted(0.8, percent()),
        percent(),
        prop::option::of(0_u32..1000),
    )
        .prop_map(|(ejection, panic, takeover, alarm_rate)| Protection {
            min_ready: 0,
            ejection,
            panic,
            takeover,
            alarm_rate,
        })
}

fn service(id: u16) -> impl Strategy<Value = ServiceSpec> {
    let policies = [
        Policy::Adaptive,
        Policy::Adaptive,
        Policy::LeastConn,
        Policy::WeightedCpu,
        Policy::RoundRobin,
        Policy::Random,
        Policy::Maglev,
    ];
    let ids =
        prop::sample::subsequence((id * PER_SERVICE..(id + 1) * PER_SERVICE).collect::<Vec<_>>(), 0..=4);
    let backends = ids.prop_flat_map(|ids| ids.into_iter().map(backend).collect::<Vec<_>>());
    let numbers = (prop::option::of(0_u8..=9), 0_u32..4, 0_u32..4, 0_u32..4, 0_u64..20);
    let admission = (prop::option::of(weird()), 0_u32..30, 0_u64..60).prop_map(|(max_rate, cost, ramp)| {
        let ramp = Duration::from_secs(ramp);
        Admission { max_rate, handshake_cost: cost, ramp, ..Admission::default() }
    });
    (select(policies.to_vec()), numbers, admission, protection(), backends).prop_map(
        move |(policy, (draws, gateways, rise, fall, stale_after), admission, protection, backends)| {
            ServiceSpec {
                id: ServiceId(id),
                name: format!("service-{id}"),
                policy,
                draws,
                gateways,
                rise,
                fall,
                stale_after: Duration::from_secs(stale_after),
                protection,
                admission,
                backends,
            }
        },
    )
}

fn model() -> impl Strategy<Value = Model> {
    (prop::option::weighted(0.9, service(0)), prop::option::weighted(0.6, service(1)))
        .prop_map(|(a, b)| Model { services: a.into_iter().chain(b).collect() })
}

fn any_backend() -> impl Strategy<Value = BackendId> {
    prop_oneof![20 => 0..2 * PER_SERVICE, 1 => any::<u16>()].prop_map(BackendId)
}

fn sample() -> impl Strategy<Value = Sample> {
    let resource = select(vec![Resource::Memory, Resource::Disk]);
    let resources = prop::collection::vec((resource, weird()), 0..3);
    let alarms = prop::collection::vec(select(vec![Scope::Node, Scope::Cluster]), 0..2);
    let counters = (
        prop::option::of(0_u64..100_000),
        prop::option::of(any::<u64>()),
        prop::option::of(prop_oneof![8 => 0_u64..4, 1 => any::<u64>()]),
    );
    (
        prop::option::of(weird()),
        prop::option::of(weird()),
        counters,
        resources,
        alarms,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(utilisation, cores, counters, resources, alarms, draining)| Sample {
            taken: Moment::default(),
            utilisation,
            cores,
            connections: counters.0,
            messages: counters.1,
            cluster_members: counters.2,
            node: None,
            resources: resources.into_iter().map(|(resource, used)| ResourceUse { resource, used }).collect(),
            alarms: alarms.into_iter().map(|scope| ("alarm".to_owned(), scope)).collect(),
            draining,
        })
}

fn counts() -> impl Strategy<Value = Vec<(BackendId, Counts)>> {
    let numbers = prop_oneof![8 => 0_u64..5000, 1 => any::<u64>()];
    let one = (any_backend(), [(); 5].map(|()| numbers.clone())).prop_map(
        |(id, [live, opened, syns, refused, answered])| {
            (id, Counts { live, opened, syns, refused, answered })
        },
    );
    prop::collection::vec(one, 0..8)
}

fn input() -> impl Strategy<Value = Input> {
    let result = prop_oneof![
        5 => Just(ProbeResult::Up),
        3 => Just(ProbeResult::Down("refused".to_owned())),
        1 => Just(ProbeResult::Draining("maintenance".to_owned())),
        1 => Just(ProbeResult::Unknown("404".to_owned())),
    ];
    prop_oneof![
        1 => model().prop_map(Input::Model),
        6 => (any_backend(), result).prop_map(|(backend, result)| Input::Probe { backend, result }),
        8 => (any_backend(), sample()).prop_map(|(backend, sample)| Input::Sample { backend, sample }),
        4 => counts().prop_map(Input::Counts),
        2 => (any_backend(), any::<bool>()).prop_map(|(backend, drain)| Input::Drain { backend, drain }),
        1 => (any_backend(), any::<bool>()).prop_map(|(backend, missing)| Input::Missing { backend, missing }),
        1 => (any_backend(), prop::option::of(0_u32..2000))
            .prop_map(|(backend, weight)| Input::Weight { backend, weight }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let after =
        prop_oneof![1 => Just(0_u64), 6 => 1..3000_u64, 2 => 3000..70_000_u64, 1 => 100_000..400_000_u64];
    (after, input(), -2000_i64..15_000).prop_map(|(after, input, age)| Step { after, input, age })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    (model(), prop::collection::vec(step(), 1..60)).prop_map(|(model, mut steps)| {
        steps.insert(0, Step { after: 0, input: Input::Model(model), age: 0 });
        steps
    })
}

/// What the maps hold.
#[derive(Clone, Default, PartialEq)]
struct Maps {
    paces: Option<Paces>,
    scores: Option<Box<ScoreTable>>,
    rings: BTreeMap<ServiceId, Box<Ring>>,
    steering: BTreeMap<ServiceId, ServiceSteering>,
}

impl Maps {
    /// Applies commands; each must change something.
    fn apply(&mut self, commands: Vec<Command>) -> Result<(), TestCaseError> {
        for command in commands {
            let changed = match command {
                Command::Paces(paces) => self.paces.replace(paces.clone()) != Some(paces),
                Command::Scores(scores) => self.scores.replace(scores.clone()) != Some(scores),
                Command::Ring { service, ring } => self.rings.insert(service, ring.clone()) != Some(ring),
                Command::Service { service, steering } => {
                    self.steering.insert(service, steering.clone()) != Some(steering)
                }
            };
            prop_assert!(changed, "a command repeats what the maps hold");
        }
        Ok(())
    }
}

/// What must be closed, by a model too simple to be wrong: the operator's drains, who is missing, and probes in a row.
#[derive(Default)]
struct Naive {
    services: Vec<ServiceSpec>,
    backends: BTreeMap<BackendId, NaiveBackend>,
}

#[derive(Clone)]
struct NaiveBackend {
    seed: u64,
    probed: bool,
    leaving: bool,
    drained: bool,
    missing: bool,
    up: bool,
    successes: u32,
    failures: u32,
}

impl Naive {
    fn note(&mut self, input: &Input) {
        match input {
            Input::Model(model) => self.follow(model),
            Input::Drain { backend, drain } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.drained = *drain;
                }
            }
            Input::Missing { backend, missing } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.missing = *missing;
                }
            }
            Input::Probe { backend, result } => self.probed(*backend, result),
            Input::Adopt { .. } | Input::Sample { .. } | Input::Counts(_) | Input::Weight { .. } => {}
        }
    }

    fn follow(&mut self, model: &Model) {
        let known = std::mem::take(&mut self.backends);
        let had = |id| self.services.iter().any(|service: &ServiceSpec| service.id == id);
        for service in &model.services {
            for spec in &service.backends {
                let fresh = NaiveBackend {
                    seed: spec.seed,
                    probed: spec.probed,
                    leaving: spec.leaving,
                    drained: false,
                    missing: false,
                    up: !spec.probed,
                    successes: 0,
                    failures: 0,
                };
                let mut backend = known
                    .get(&spec.id)
                    .filter(|old| old.seed == spec.seed && had(service.id))
                    .cloned()
                    .unwrap_or(fresh);
                if !spec.probed && !backend.up && !spec.leaving {
                    (backend.up, backend.successes, backend.failures) = (true, 0, 0);
                }
                (backend.probed, backend.leaving) = (spec.probed, spec.leaving);
                self.backends.insert(spec.id, backend);
            }
        }
        self.services.clone_from(&model.services);
    }

    fn probed(&mut self, id: BackendId, result: &ProbeResult) {
        let service =
            self.services.iter().find(|service| service.backends.iter().any(|backend| backend.id == id));
        let (Some(service), Some(backend)) = (service, self.backends.get_mut(&id)) else { return };
        if !backend.probed {
            return;
        }
        match result {
            ProbeResult::Up | ProbeResult::Draining(_) => {
                (backend.successes, backend.failures) = (backend.successes + 1, 0);
                backend.up |= backend.successes >= service.rise;
            }
            ProbeResult::Unknown(_) if backend.up => {}
            ProbeResult::Unknown(_) => {
                (backend.successes, backend.failures) = (backend.successes + 1, 0);
                backend.up = backend.successes >= service.rise.max(1);
            }
            ProbeResult::Down(_) => {
                (backend.successes, backend.failures) = (0, backend.failures + 1);
                backend.up &= backend.failures < service.fall.max(1);
            }
        }
    }

    /// A panic sets aside what probes say.
    fn closed(&self, id: BackendId, panics: bool) -> bool {
        let is_closed = |backend: &NaiveBackend| {
            backend.leaving || backend.drained || backend.missing || !backend.up && !panics
        };
        self.backends.get(&id).is_none_or(is_closed)
    }
}

fn check(controller: &Controller, maps: &Maps, naive: &Naive, now: Moment) -> Result<(), TestCaseError> {
    let scores = maps.scores.as_ref().expect("the first tick says the scores");
    let services = controller.snapshot(now).services;
    let panics = |id: BackendId| {
        let of = |service: &&ServiceSnapshot| service.backends.iter().any(|backend| backend.id == id);
        services.iter().find(of).is_some_and(|service| service.panic.is_some())
    };
    for (id, score) in (0..MAX_BACKENDS).map(|id| (BackendId(id as u16), scores.0[id])) {
        if naive.closed(id, panics(id)) {
            prop_assert!(!score.is_open(0), "{id:?} is closed, and its score is not: {score:?}");
        }
        prop_assert!(score.base <= 1 << 48, "{id:?}: {score:?}");
        prop_assert!(
            score.predict(u64::MAX) >= score.predict(score.counted),
            "more is never better: {score:?}"
        );
    }
    for service in services {
        let mut share = 0.0;
        for backend in &service.backends {
            let open = scores.0[usize::from(backend.id.0)].is_open(0);
            let set_aside = service.panic.is_some() && backend.state == BackendState::Down;
            prop_assert!(open == (backend.state == BackendState::Up) || open && set_aside, "{backend:?}");
            prop_assert!((1..=1000).contains(&backend.weight));
            prop_assert!((0.1..=10.0).contains(&backend.capacity), "{:?}", backend);
            prop_assert!(backend.score.is_finite() && backend.cost.is_finite() && backend.since <= now);
            prop_assert!(!backend.reason.is_empty());
            prop_assert!(backend.ring_share == 0.0 || !backend.standby && !backend.waiting);
            share += backend.ring_share;
        }
        let taking = service.backends.iter().any(|backend| scores.0[usize::from(backend.id.0)].is_open(0));
        let ejected =
            service.backends.iter().filter(|backend| backend.state == BackendState::Ejected).count();
        prop_assert!(
            ejected == 0 || taking,
            "the last one is never closed by its SYNs: {:?}",
            service.backends
        );
        let expected = if service.backends.iter().all(|backend| backend.standby) { 0.0 } else { 1.0 };
        prop_assert!((share - expected).abs() < 1e-9, "the ring is full or nobody's: {}", share);
        let steering = &maps.steering[&service.id];
        prop_assert!((1..=4).contains(&steering.draws) && steering.standby.len() <= 16);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn whatever_comes(steps in steps()) {
        let (mut controller, mut twin) = (Controller::new(), Controller::new());
        let (mut maps, mut naive) = (Maps::default(), Naive::default());
        let mut now = Moment(Duration::from_secs(1000));
        for step in steps {
            let later = now.plus(Duration::from_millis(step.after));
            // Until the deadline, time alone changes nothing.
            if let Some(deadline) = controller.next_deadline(now).filter(|deadline| *deadline > now) {
                let before = deadline.min(later).0.saturating_sub(Duration::from_nanos(1));
                prop_assert!(controller.clone().tick(Moment(before)).is_empty(), "it changed before its deadline");
            }
            now = later;
            let mut input = step.input;
            if let Input::Sample { sample, .. } = &mut input {
                let taken = now.0.as_millis() as i64 - step.age;
                sample.taken = Moment(Duration::from_millis(taken as u64));
            }
            if let Input::Model(model) = &input {
                // The agent forgets the maps of a service that is gone.
                let kept = |id: &ServiceId| model.services.iter().any(|service| service.id == *id);
                maps.rings.retain(|id, _| kept(id));
                maps.steering.retain(|id, _| kept(id));
            }
            naive.note(&input);
            controller.handle(input.clone(), now);
            twin.handle(input, now);
            prop_assert_eq!(controller.next_deadline(now), Some(now), "inputs do not wait");
            let commands = controller.tick(now);
            prop_assert!(commands == twin.tick(now), "the same inputs give the same commands");
            maps.apply(commands)?;
            prop_assert!(controller.tick(now).is_empty(), "nothing is said twice");
            check(&controller, &maps, &naive, now)?;
        }
        let mut rebuilt = Maps::default();
        rebuilt.apply(controller.resync(now))?;
        prop_assert!(rebuilt == maps, "a resync is the sum of all commands");
    }
}
