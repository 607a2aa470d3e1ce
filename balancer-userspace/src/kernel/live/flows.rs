use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use aya::maps::{Array, Map, PerCpuArray, PerCpuValues};
use balancer_common::abi::{
    BackendCounts, BackendId, Flow, FlowEntry, FlowKey4, FlowKey6, FlowState, MAX_BACKENDS, ServiceId,
    TableUse, Traffic, names,
};
use balancer_common::outcome::Outcome;

use super::{Site, in_namespace};
use crate::kernel::maps::{Counters, FlowKey, Flows, MapSource as _};
use crate::kernel::sweep::{Expiry, Sweeper, Timeouts, purge};

const TIMEOUTS: Timeouts = Timeouts { idle: 1000, half_closed: 100, closing: 10 };
const NOW: u32 = 10_000;
const BACKEND: BackendId = BackendId(3);

fn key(number: u32) -> FlowKey4 {
    FlowKey4 { client: number.to_be_bytes(), port: [0, 9], service: ServiceId(1) }
}

fn flow(bits: u64, silent: u32) -> Flow {
    let (state, last_seen) = (FlowState::open(BACKEND, 1).with(bits), NOW - silent);
    let resets = state.any(FlowState::RST_UNPROVEN);
    let state = if resets { state.with_unproven_reset(last_seen) } else { state };
    Flow { state, last_seen, ..Flow::default() }
}

/// Plays the program: inserts a flow and counts it.
struct Program {
    counts: Array<aya::maps::MapData, BackendCounts>,
    used: Array<aya::maps::MapData, TableUse>,
}

impl Program {
    fn new(site: &Site) -> Self {
        let open = |name| Map::from_map_data(site.pin_dir.open(name).unwrap()).unwrap();
        Self {
            counts: open(names::COUNTS).try_into().unwrap(),
            used: open(names::TABLE_USE).try_into().unwrap(),
        }
    }

    fn count(&mut self, opened: u64, closed: u64, inserted: [u64; 2]) {
        let counts = BackendCounts { opened, closed, ..BackendCounts::default() };
        self.counts.set(u32::from(BACKEND.0), counts, 0).unwrap();
        for (table, inserted) in (0..).zip(inserted) {
            self.used.set(table, TableUse { inserted, ..TableUse::default() }, 0).unwrap();
        }
    }
}

fn setup(site: &Site) -> (Flows, Counters, Program) {
    let maps = site.open().maps;
    (maps.flows, maps.counters, Program::new(site))
}

#[test]
#[ignore = "needs root and BPF"]
fn a_walk_sees_every_entry_once() {
    in_namespace(|| {
        let site = Site::new();
        let (flows, _, _) = setup(&site);
        let total = 15_000;
        for number in 0..total {
            flows.v4.insert(&key(number), &flow(0, number % 7)).unwrap();
        }
        let six = FlowKey6 { client: [9; 16], port: [0, 1], ..FlowKey6::default() };
        flows.v6.insert(&six, &flow(0, 0)).unwrap();
        let mut seen = HashMap::new();
        flows.for_each(|key, flow| assert!(seen.insert(key, flow).is_none(), "{key:?} came twice")).unwrap();
        assert_eq!(seen.len(), total as usize + 1);
        let mut few = 0;
        let walked = flows.walk(|_, _| {
            few += 1;
            if few < 5000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!((walked.unwrap(), few), (ControlFlow::Break(()), 5000), "it ends when it is told to");
        assert_eq!(seen[&FlowKey::V4(key(5))], flow(0, 5));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_sweep_removes_what_expired_and_counts_it_once() {
    in_namespace(|| {
        let site = Site::new();
        let (mut flows, counters, mut program) = setup(&site);
        let closed = FlowState::CLOSED;
        let entries = [
            flow(0, 0),
            flow(0, 999),
            flow(0, 1000),
            flow(FlowState::FIN_BACKEND, 99),
            flow(FlowState::FIN_BACKEND, 100),
            flow(FlowState::RST_UNPROVEN, 500),
            flow(closed, 9),
            flow(closed, 10),
        ];
        for (number, flow) in (0..).zip(&entries) {
            flows.v4.insert(&key(number), flow).unwrap();
        }
        program.count(8, 2, [8, 0]);
        assert_eq!(counters.live(BACKEND).unwrap(), 6);

        let mut sweeper = Sweeper::default();
        let report = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert_eq!(report.entries, [8, 0]);
        let removed = [(Expiry::Closed, 1), (Expiry::HalfClosed, 1), (Expiry::Idle, 1)];
        assert_eq!(report.removed, removed.into());
        assert!(report.corrected.is_empty());
        assert_eq!(counters.live(BACKEND).unwrap(), 4);
        assert_eq!(counters.tables().unwrap()[0].used(), 5);

        let again = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert!(again.removed.is_empty() && again.corrected.is_empty());
        assert_eq!(counters.live(BACKEND).unwrap(), 4);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn pressure_takes_unproven_resets_first() {
    in_namespace(|| {
        let site = Site::new();
        let (mut flows, counters, mut program) = setup(&site);
        let capacity = u64::from(flows.v6.capacity());
        let live = capacity * 91 / 100;
        for number in 0..live {
            let mut client = [0; 16];
            client[..8].copy_from_slice(&number.to_be_bytes());
            let six = FlowKey6 { client, port: [0, 1], ..FlowKey6::default() };
            let bits = if number < 30 { FlowState::RST_UNPROVEN } else { 0 };
            // Ten of the thirty have been heard of since.
            flows.v6.insert(&six, &flow(bits, if number < 10 { 3 } else { 500 })).unwrap();
        }
        program.count(live, 0, [0, live]);
        let report = Sweeper::default().sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert_eq!(report.removed, [(Expiry::UnprovenReset, 20)].into());
        assert_eq!(counters.live(BACKEND).unwrap(), live - 20);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn counts_that_are_wrong_are_corrected() {
    in_namespace(|| {
        let site = Site::new();
        let (mut flows, counters, mut program) = setup(&site);
        for number in 0..5 {
            flows.v4.insert(&key(number), &flow(0, 0)).unwrap();
        }
        // An agent died between removing two flows and counting that.
        program.count(7, 0, [7, 0]);
        let mut sweeper = Sweeper::default();
        let report = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert!(report.corrected.is_empty(), "one sighting is not enough");
        assert_eq!(counters.live(BACKEND).unwrap(), 7);
        let report = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert_eq!((report.corrected, report.corrected_use), ([(BACKEND, 2)].into(), [2, 0]));
        assert_eq!(counters.live(BACKEND).unwrap(), 5);
        assert_eq!(counters.tables().unwrap()[0].used(), 5);

        // Too few: at the start of an agent, one look is enough.
        program.count(4, 0, [4, 0]);
        let report = Sweeper::default().rebuild(&mut flows).unwrap();
        assert_eq!((report.corrected, report.corrected_use), ([(BACKEND, -3)].into(), [-3, 0]));
        assert_eq!(counters.live(BACKEND).unwrap(), 5);
    });
}

/// Every entry that is taken, by number.
fn taken(flows: &Flows) -> Vec<(u32, FlowEntry)> {
    let mut taken = Vec::new();
    let walked = flows.v4.walk_entries(|number, entry| {
        taken.push((number, entry));
        ControlFlow::Continue(())
    });
    walked.map(|_| taken).unwrap()
}

/// Enters flows that have been silent for so long.
fn enter_all(pins: &Path, numbers: std::ops::Range<u32>, silent: u32) {
    let flows = Flows::open(pins).unwrap();
    let writer = flows.v4.writer().unwrap();
    numbers.for_each(|number| writer.enter(&key(number), &flow(0, silent)).unwrap());
}

#[test]
#[ignore = "needs root and BPF"]
fn what_two_enter_at_once_is_there_once() {
    in_namespace(|| {
        let site = Site::new();
        let (flows, _, _) = setup(&site);
        let (pins, total) = (site.pin_dir.as_path(), flows.v4.capacity());
        std::thread::scope(|scope| {
            (0..2).for_each(|_| drop(scope.spawn(|| enter_all(pins, 0..total, 0))));
        });
        let mut seen = HashMap::new();
        flows.for_each(|key, flow| assert!(seen.insert(key, flow).is_none(), "{key:?} came twice")).unwrap();
        assert_eq!(seen.len(), total as usize);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_that_is_there_learns_how_it_ended_elsewhere() {
    in_namespace(|| {
        let site = Site::new();
        let (flows, _, _) = setup(&site);
        let writer = flows.v4.writer().unwrap();
        let state = || flows.v4.get(&key(0)).unwrap().unwrap().state;
        writer.catch_up(&key(0), &flow(FlowState::FIN_CLIENT, 0)).unwrap();
        let mut later = flow(FlowState::CLOSED, 0);
        later.state = FlowState(later.state.0 + (1 << 32));
        writer.catch_up(&key(0), &later).unwrap();
        assert_eq!(state(), flow(FlowState::FIN_CLIENT, 0).state, "another one on the same tuple");
        writer.catch_up(&key(0), &flow(FlowState::FIN_BACKEND, 0)).unwrap();
        assert!(!state().is_live() && state().has(FlowState::FIN_CLIENT | FlowState::FIN_BACKEND));
        writer.catch_up(&key(0), &flow(0, 0)).unwrap();
        assert!(!state().is_live());
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn flows_are_entered_while_others_are_removed() {
    in_namespace(|| {
        let site = Site::new();
        let (flows, _, _) = setup(&site);
        let (pins, half) = (site.pin_dir.as_path(), flows.v4.capacity() / 2);
        enter_all(pins, 0..half, 1);
        let numbers: Vec<u32> = taken(&flows).into_iter().map(|(number, _)| number).collect();
        let mut removed = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| enter_all(pins, half..2 * half, 0));
            let is_old = |flow: &Flow| (flow.last_seen < NOW).then_some(());
            flows.v4.remove(&numbers, is_old, |_, ()| removed += 1).unwrap();
        });
        assert_eq!(removed, half);
        assert_eq!(taken(&flows).len(), half as usize);
        for number in 0..2 * half {
            let expected = (number >= half).then(|| flow(0, 0));
            assert_eq!(flows.v4.get(&key(number)).unwrap(), expected, "flow {number}");
        }
    });
}

/// An agent was killed between taking a flow's state and giving its entry back.
#[test]
#[ignore = "needs root and BPF"]
fn an_entry_without_a_flow_is_given_back() {
    in_namespace(|| {
        let site = Site::new();
        let (mut flows, _, mut program) = setup(&site);
        (0..5).for_each(|number| flows.v4.insert(&key(number), &flow(0, 0)).unwrap());
        program.count(5, 0, [5, 0]);
        let (number, entry) = taken(&flows)[2];
        let map = Map::from_map_data(site.pin_dir.open(names::FLOWS4).unwrap()).unwrap();
        let mut entries: Array<_, FlowEntry> = map.try_into().unwrap();
        let without = FlowEntry { flow: Flow { state: FlowState(0), ..entry.flow }, ..entry };
        entries.set(number, without, 0).unwrap();

        let mut sweeper = Sweeper::default();
        let report = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert_eq!((report.entries, report.reclaimed), ([4, 0], [0, 0]), "it may be about to get a flow");
        let report = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert_eq!((report.entries, report.reclaimed), ([4, 0], [1, 0]));
        assert_eq!(taken(&flows).len(), 4);
        let report = sweeper.sweep(&mut flows, NOW, &TIMEOUTS).unwrap();
        assert_eq!((report.entries, report.reclaimed), ([4, 0], [0, 0]));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn purging_takes_what_has_ended_of_one_backend_alone() {
    in_namespace(|| {
        let site = Site::new();
        let (mut flows, counters, mut program) = setup(&site);
        let other = Flow { state: FlowState::open(BackendId(4), 1), ..flow(FlowState::CLOSED, 0) };
        flows.v4.insert(&key(1), &flow(FlowState::CLOSED, 0)).unwrap();
        flows.v4.insert(&key(2), &flow(0, 0)).unwrap();
        flows.v4.insert(&key(3), &other).unwrap();
        program.count(2, 1, [3, 0]);
        let front = usize::from(BACKEND.0) + 1;
        assert_eq!(counters.backends(front)[front - 1].1, counters.live(BACKEND).unwrap());
        // It was taken back after somebody had asked, and a client has come.
        assert_eq!(purge(&mut flows, BACKEND).unwrap(), 1);
        assert_eq!(flows.v4.get(&key(1)).unwrap(), None);
        assert_eq!(flows.v4.get(&key(2)).unwrap(), Some(flow(0, 0)));
        assert_eq!(flows.v4.get(&key(3)).unwrap(), Some(other));
        assert_eq!(counters.live(BACKEND).unwrap(), 1);
        let all = counters.backends(usize::MAX);
        assert_eq!((all.len(), all[front - 1].1), (MAX_BACKENDS, 1));

        flows.v4.insert(&key(2), &flow(FlowState::CLOSED, 0)).unwrap();
        assert_eq!(purge(&mut flows, BACKEND).unwrap(), 0);
        assert_eq!(flows.v4.get(&key(2)).unwrap(), None);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn packets_of_a_backend_that_is_gone_are_kept_once() {
    in_namespace(|| {
        let site = Site::new();
        let (_, mut counters, _) = setup(&site);
        let service = ServiceId(1);
        let map = Map::from_map_data(site.pin_dir.open(names::TRAFFIC).unwrap()).unwrap();
        let mut traffic: PerCpuArray<_, Traffic> = map.try_into().unwrap();
        let cpus = traffic.get(&u32::from(BACKEND.0), 0).unwrap().len() as u64;
        let each = vec![Traffic { packets_in: 7, packets_out: 5, ..Traffic::default() }; cpus as usize];
        traffic.set(u32::from(BACKEND.0), PerCpuValues::try_from(each).unwrap(), 0).unwrap();
        let kept = |counters: &Counters| {
            [Outcome::ForwardRequest, Outcome::ForwardReply]
                .map(|outcome| counters.outcome(service, outcome).unwrap())
        };
        counters.keep_packets(service, BACKEND).unwrap();
        assert_eq!(kept(&counters), [7 * cpus, 5 * cpus]);
        // The agent was killed before it could forget the backend, and the next one finds it again.
        assert_eq!(counters.traffic(BACKEND).unwrap(), Traffic::default());
        counters.keep_packets(service, BACKEND).unwrap();
        assert_eq!(kept(&counters), [7 * cpus, 5 * cpus]);
    });
}
