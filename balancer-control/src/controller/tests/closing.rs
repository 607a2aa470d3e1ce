//! What closing flows is told of the backends.

use super::*;

const GRACE: Duration = Duration::from_secs(30);

/// Two backends that are up, and whose probes fail twice more than it takes.
fn up(backends: Vec<BackendSpec>) -> Bench {
    let ids: Vec<u16> = backends.iter().map(|backend| backend.id.0).collect();
    let mut bench = Bench::new(Policy::LeastConn, backends);
    for id in ids {
        bench.probe(id, ProbeResult::Up, 1);
        bench.probe(id, ProbeResult::Up, 2);
    }
    bench
}

fn fail(bench: &mut Bench, id: u16, second: u64) {
    for _ in 0..3 {
        bench.probe(id, down(), second);
    }
}

fn dead(bench: &Bench, second: u64) -> Vec<u16> {
    let service = bench.controller.services[0].spec.id;
    bench.controller.dead(service, GRACE, at(second)).into_iter().map(|id| id.0).collect()
}

#[test]
fn a_backend_is_dead_after_the_grace_and_not_before() {
    let mut bench = up(vec![probed(0), probed(1), probed(2)]);
    fail(&mut bench, 0, 10);
    assert_eq!((dead(&bench, 39), dead(&bench, 40)), (vec![], vec![0]));
    bench.probe(0, ProbeResult::Up, 41);
    bench.probe(0, ProbeResult::Up, 42);
    assert_eq!(dead(&bench, 100), [] as [u16; 0]);
    // A flap begins the grace anew.
    fail(&mut bench, 0, 101);
    assert_eq!((dead(&bench, 130), dead(&bench, 131)), (vec![], vec![0]));
}

#[test]
fn nobody_is_dead_when_nobody_else_lives() {
    let mut bench = up(vec![probed(0), probed(1)]);
    fail(&mut bench, 0, 10);
    fail(&mut bench, 1, 10);
    assert_eq!(dead(&bench, 100), [] as [u16; 0]);
    bench.probe(1, ProbeResult::Up, 101);
    bench.probe(1, ProbeResult::Up, 102);
    assert_eq!(dead(&bench, 103), [0]);
    let service = bench.controller.services[0].spec.id;
    bench.give(Input::Drain { backend: BackendId(1), drain: true }, 104);
    bench.tick(105);
    assert_eq!(dead(&bench, 106), [] as [u16; 0], "the other takes no new flows");
    assert!(bench.controller.dead(ServiceId(service.0 + 1), GRACE, at(106)).is_empty());
}

#[test]
fn seats_say_who_has_a_part_in_the_balance() {
    let mut bench = up(vec![
        BackendSpec { weight: 300, ..probed(0) },
        BackendSpec { cap: Some(9), ..probed(1) },
        probed(2),
        BackendSpec { standby: true, ..backend(3) },
        BackendSpec { leaving: true, ..backend(4) },
    ]);
    bench.give(Input::Drain { backend: BackendId(1), drain: true }, 3);
    fail(&mut bench, 2, 4);
    bench.tick(5);
    let service = bench.controller.services[0].spec.id;
    let seats = bench.controller.seats(service, |id| u64::from(id.0) + 600).unwrap();
    assert_eq!(seats.iter().map(|seat| seat.id.0).collect::<Vec<_>>(), [0, 1, 2, 3], "who leaves has none");
    let part = |of: fn(&crate::closing::Seat) -> bool| seats.iter().map(of).collect::<Vec<_>>();
    assert_eq!(part(|seat| seat.balanced), [true, false, false, false]);
    assert_eq!(part(|seat| seat.draining), [false, true, false, false]);
    assert_eq!(part(|seat| seat.down), [false, false, true, false]);
    assert_eq!((seats[0].live, seats[0].capacity, seats[0].load), (600, 300.0, 2.0));
    assert_eq!((seats[1].cap, seats[1].open), (Some(9), false));
    assert_eq!(bench.controller.seats(ServiceId(service.0 + 1), |_| 0), None);
}
