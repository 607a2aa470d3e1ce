use core::time::Duration;

use balancer_common::abi::{BackendId, BackendPace, ServiceId};

use crate::fixture::{self, at, hasty, probed};
use crate::{Admission, BackendSpec, Budget, Command, Controller, Input, Model, Paces, Policy, ServiceSpec};

const SECOND: u64 = 1_000_000_000;

fn backend(id: u16, host: u8, rate: f64) -> BackendSpec {
    BackendSpec { budget: Some(Budget { rate, address: [192, 0, 2, host].into() }), ..probed(id) }
}

fn service(id: u16, admission: Admission, backends: Vec<BackendSpec>) -> ServiceSpec {
    let (id, name) = (ServiceId(id), format!("service-{id}"));
    ServiceSpec { id, name, admission, ..hasty(Policy::Adaptive, backends) }
}

fn ramp(seconds: u64) -> Admission {
    Admission { ramp: Duration::from_secs(seconds), ..Admission::default() }
}

/// A controller and what it said last.
struct Bench {
    controller: Controller,
    paces: Paces,
}

impl Bench {
    fn new(services: Vec<ServiceSpec>) -> Self {
        let mut bench = Self { controller: Controller::new(), paces: Paces::default() };
        bench.give(Input::Model(Model { services }), 0);
        bench
    }

    /// Whether the paces were said anew.
    fn give(&mut self, input: Input, second: u64) -> bool {
        self.controller.handle(input, at(second));
        self.tick(second)
    }

    fn tick(&mut self, second: u64) -> bool {
        let commands = self.controller.tick(at(second));
        let paces = commands.into_iter().find_map(|command| match command {
            Command::Paces(paces) => Some(paces),
            Command::Scores(_) | Command::Ring { .. } | Command::Service { .. } => None,
        });
        let said = paces.is_some();
        self.paces = paces.unwrap_or(core::mem::take(&mut self.paces));
        said
    }

    fn up(&mut self, id: u16, second: u64) {
        self.give(fixture::up(id), second);
    }

    fn down(&mut self, id: u16, second: u64) {
        self.give(fixture::down(id, "refused"), second);
    }

    /// Connections per second of a backend.
    fn rate(&self, id: u16) -> f64 {
        1e9 / self.pace(id).pace.charge as f64
    }

    fn pace(&self, id: u16) -> BackendPace {
        self.paces.backends[&BackendId(id)]
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-3 * b
}

#[test]
fn a_backend_that_comes_up_gets_its_budget_back_over_the_ramp() {
    let mut bench = Bench::new(vec![service(0, ramp(30), vec![backend(0, 1, 200.0)])]);
    bench.up(0, 1);
    assert!(close(bench.rate(0), 20.0), "{}", bench.rate(0));
    bench.tick(16);
    assert!(close(bench.rate(0), 110.0), "{}", bench.rate(0));
    bench.tick(30);
    assert_eq!(bench.controller.next_deadline(at(30)), Some(at(31)), "the end of the ramp is due");
    bench.tick(31);
    assert!(close(bench.rate(0), 200.0), "{}", bench.rate(0));
    assert!(!bench.tick(40), "nothing is said twice");
    bench.down(0, 50);
    bench.up(0, 60);
    assert!(close(bench.rate(0), 20.0), "every outage has its ramp");
}

#[test]
fn an_end_of_a_drain_is_a_return_too() {
    let mut bench = Bench::new(vec![service(0, ramp(10), vec![backend(0, 1, 200.0)])]);
    bench.up(0, 0);
    bench.tick(10);
    assert!(close(bench.rate(0), 200.0));
    bench.give(Input::Drain { backend: BackendId(0), drain: true }, 20);
    bench.give(Input::Drain { backend: BackendId(0), drain: false }, 21);
    assert!(close(bench.rate(0), 20.0));
}

#[test]
fn without_a_ramp_the_whole_budget_is_there_at_once() {
    let mut bench = Bench::new(vec![service(0, ramp(0), vec![backend(0, 1, 200.0)])]);
    bench.up(0, 1);
    assert!(close(bench.rate(0), 200.0));
}

#[test]
fn adopted_backends_do_not_ramp() {
    let model =
        Model { services: vec![service(0, ramp(30), vec![backend(0, 1, 200.0), backend(1, 2, 200.0)])] };
    let mut before = Bench::new(model.services.clone());
    before.up(0, 1);
    let scores = before.controller.resync(at(1)).into_iter().find_map(|command| match command {
        Command::Scores(scores) => Some(Box::new(*scores)),
        Command::Paces(_) | Command::Ring { .. } | Command::Service { .. } => None,
    });
    let mut after = Bench { controller: Controller::new(), paces: Paces::default() };
    after.controller.handle(Input::Model(model), at(2));
    after.give(Input::Adopt { scores: scores.unwrap(), rings: Vec::new() }, 2);
    assert!(close(after.rate(0), 200.0), "it was in rotation all the time");
    after.up(1, 3);
    assert!(close(after.rate(1), 20.0), "it was not");
}

#[test]
fn backends_of_one_address_share_a_bucket_and_pay_by_their_service() {
    let tls = Admission { handshake_cost: 15, ..Admission::default() };
    let mut bench = Bench::new(vec![
        service(0, Admission::default(), vec![backend(3, 1, 100.0), backend(4, 2, 100.0)]),
        service(1, tls, vec![backend(5, 1, 100.0)]),
    ]);
    [3, 4, 5].into_iter().for_each(|id| bench.up(id, 0));
    let (plain, other, dear) = (bench.pace(3), bench.pace(4), bench.pace(5));
    assert_eq!((plain.bucket, other.bucket, dear.bucket), (BackendId(3), BackendId(4), BackendId(3)));
    assert_eq!((plain.pace.charge, dear.pace.charge), (SECOND / 100, 15 * SECOND / 100));
    assert_eq!(plain.pace.tolerance, dear.pace.tolerance, "nobody is let in where the other has to wait");
    assert_eq!(plain.pace.tolerance, 9 * dear.pace.charge);
    assert_eq!(other.pace.tolerance, SECOND / 4, "of a bucket of its own");
}

#[test]
fn a_service_is_given_its_own_rate_and_ramps_after_an_outage_of_all() {
    let admission = Admission { max_rate: Some(500.0), cap: Some(9), refuse: true, ..ramp(10) };
    let spec =
        service(0, admission, vec![BackendSpec { budget: None, ..backend(0, 1, 1.0) }, backend(1, 2, 1.0)]);
    let mut bench = Bench::new(vec![spec]);
    let charge = |bench: &Bench| bench.paces.services[&ServiceId(0)].pace.charge;
    bench.up(0, 0);
    bench.tick(10);
    assert_eq!(charge(&bench), SECOND / 500);
    bench.up(1, 20);
    assert_eq!(charge(&bench), SECOND / 500, "one more backend is no outage");
    bench.down(0, 30);
    bench.up(0, 40);
    assert_eq!(charge(&bench), SECOND / 500, "one was left all the time");
    bench.down(0, 50);
    bench.down(1, 50);
    bench.up(1, 60);
    assert_eq!(charge(&bench), SECOND / 50);
    let limits = bench.paces.services[&ServiceId(0)];
    assert_eq!((limits.cap, limits.refuse), (Some(9), true));
    assert!(!bench.paces.backends.contains_key(&BackendId(0)), "no budget, no pace");
}

#[test]
fn a_new_rate_is_said_at_once_and_none_ends_the_limit() {
    let with = |rate| vec![service(0, ramp(0), vec![backend(0, 1, rate)])];
    let mut bench = Bench::new(with(100.0));
    bench.up(0, 0);
    assert!(bench.give(Input::Model(Model { services: with(50.0) }), 1));
    assert!(close(bench.rate(0), 50.0));
    let free = vec![service(0, ramp(0), vec![BackendSpec { budget: None, ..backend(0, 1, 1.0) }])];
    assert!(bench.give(Input::Model(Model { services: free }), 2));
    assert_eq!(bench.paces, Paces::default());
}
