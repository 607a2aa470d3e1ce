//! What a controller may be told, and what nobody should tell it.

use std::time::Duration;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::{
    Admission, BackendSpec, Budget, Counts, EjectionSpec, Input, Model, Moment, Percent, Policy, ProbeResult,
    Protection, Resource, ResourceUse, Sample, Scope, ServiceSpec,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Two services of up to four backends: ids 0 to 3 and 4 to 7.
const PER_SERVICE: u16 = 4;

/// One input after another.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Milliseconds since the step before.
    pub(crate) after: u64,
    pub(crate) input: Input,
    /// For samples: milliseconds that the reading is older than the step; negative is the future.
    pub(crate) age: i64,
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
        1 => Just(ProbeResult::Untried("too many open files".to_owned())),
    ];
    prop_oneof![
        1 => model().prop_map(Input::Model),
        6 => (any_backend(), result).prop_map(|(backend, result)| Input::Probe { backend, result }),
        8 => (any_backend(), sample()).prop_map(|(backend, sample)| Input::Sample { backend, sample }),
        1 => any_backend().prop_map(|backend| Input::NoTelemetry { backend }),
        1 => any_backend().prop_map(|backend| Input::OtherTelemetry { backend }),
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

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    (model(), prop::collection::vec(step(), 1..60)).prop_map(|(model, mut steps)| {
        steps.insert(0, Step { after: 0, input: Input::Model(model), age: 0 });
        steps
    })
}
