use balancer_common::abi::{Flow, FlowState};
use proptest::prelude::*;

use super::*;

fn seat(id: u16, live: u64, capacity: f64) -> Seat {
    let cost = 1e-3 / capacity;
    Seat {
        id: BackendId(id),
        live,
        capacity,
        load: live as f64 * cost,
        cost,
        open: true,
        balanced: true,
        down: false,
        draining: false,
        cap: None,
    }
}

fn at(seconds: f64) -> Moment {
    Moment(Duration::from_secs_f64(seconds))
}

fn level(rate: f64, max: u64) -> Order {
    Order { aim: Aim::Level { tolerance: 0.1 }, rate, max }
}

fn counts(pairs: &[(u16, u64)]) -> BTreeMap<BackendId, u64> {
    pairs.iter().map(|(id, n)| (BackendId(*id), *n)).collect()
}

/// Carries a run out: every listed flow is closed at once and comes back to the backend with the least load.
fn carry_out(run: &mut Run, seats: &mut [Seat], steps: usize) -> BTreeMap<BackendId, u64> {
    let mut closed = BTreeMap::new();
    for number in 1..=steps {
        let step = run.step(seats, &BTreeMap::new(), &closed, u64::MAX, at(number as f64));
        assert!(step.unlist.is_empty(), "nothing is listed");
        for (id, flows) in step.list {
            *closed.entry(id).or_default() += flows;
            for _ in 0..flows {
                let from = seats.iter_mut().find(|seat| seat.id == id).unwrap();
                from.live -= 1;
                from.load -= from.cost;
                let open = seats.iter_mut().filter(|seat| seat.room() > 0);
                let to = open.min_by(|a, b| a.load.total_cmp(&b.load)).unwrap();
                to.live += 1;
                to.load += to.cost;
            }
        }
        if run.is_over() {
            break;
        }
    }
    closed
}

#[test]
fn a_service_that_nobody_is_left_of_is_not_balanced() {
    let seats = [seat(1, 1000, 1.0), seat(2, 0, 1.0)];
    let drained = |seat: &Seat| Seat { open: false, balanced: false, draining: true, ..seat.clone() };
    for left in [Vec::new(), seats.iter().map(drained).collect()] {
        let mut run = Run::new(level(10.0, 100), &seats, at(0.0));
        let nothing = BTreeMap::new();
        run.step(&left, &nothing, &nothing, u64::MAX, at(1.0));
        let expected = "no backend has a part in the balance any more".to_owned();
        assert_eq!(run.progress(), &Progress::Stopped(expected));
    }
    let mut run = Run::new(level(10.0, 100), &[], at(0.0));
    run.step(&[], &BTreeMap::new(), &BTreeMap::new(), u64::MAX, at(1.0));
    assert!(matches!(run.progress(), Progress::Done(_)), "there was nothing to do");
}

#[test]
fn a_fresh_backend_gets_its_share() {
    let mut seats = [seat(0, 600, 1.0), seat(1, 600, 1.0), seat(2, 0, 1.0)];
    let mut run = Run::new(level(50.0, 10_000), &seats, at(0.0));
    let closed = carry_out(&mut run, &mut seats, 100);
    assert_eq!(run.progress(), &Progress::Done("the backends are balanced".to_owned()));
    assert_eq!(closed, counts(&[(0, 160), (1, 160)]), "down to a tenth above 400 each, and no further");
}

#[test]
fn who_has_not_come_back_is_no_reason_to_close_more() {
    let seats = [seat(0, 600, 1.0), seat(1, 600, 1.0), seat(2, 0, 1.0)];
    let mut run = Run::new(level(1000.0, 10_000), &seats, at(0.0));
    let none = BTreeMap::new();
    assert_eq!(run.step(&seats, &none, &none, u64::MAX, at(1.0)).list, counts(&[(0, 160), (1, 160)]));
    let limbo = [seat(0, 440, 1.0), seat(1, 440, 1.0), seat(2, 0, 1.0)];
    let closed = counts(&[(0, 160), (1, 160)]);
    assert_eq!(run.step(&limbo, &none, &closed, u64::MAX, at(2.0)), Step::default());
    assert!(matches!(run.progress(), Progress::Waiting(why) if why.contains("coming back")));
    // Some came back to where they were.
    let back = [seat(0, 460, 1.0), seat(1, 440, 1.0), seat(2, 300, 1.0)];
    assert_eq!(run.step(&back, &none, &closed, u64::MAX, at(4.0)).list, counts(&[(0, 20)]));
    let closed = counts(&[(0, 180), (1, 160)]);
    run.step(&limbo, &none, &closed, u64::MAX, at(5.0));
    assert!(!run.is_over());
    run.step(&limbo, &none, &closed, u64::MAX, at(10.0));
    assert_eq!(run.progress(), &Progress::Done("the backends are balanced".to_owned()));
}

#[test]
fn who_comes_back_to_where_it_was_is_not_all_that_is_closed() {
    let seats = [seat(0, 600, 1.0), seat(1, 0, 1.0)];
    let mut run = Run::new(level(1000.0, 10_000), &seats, at(0.0));
    let none = BTreeMap::new();
    assert_eq!(run.limit(), 3 * 270);
    let step = run.step(&seats, &none, &counts(&[(0, 800)]), u64::MAX, at(1.0));
    assert_eq!(step.list, counts(&[(0, 10)]), "up to the limit");
    run.step(&seats, &none, &counts(&[(0, 810)]), u64::MAX, at(2.0));
    assert!(
        matches!(run.progress(), Progress::Done(why) if why.contains("come back")),
        "{:?}",
        run.progress()
    );
}

#[test]
fn who_cannot_be_found_takes_nothing_of_the_pace_of_others() {
    let seats = [seat(0, 600, 1.0), seat(1, 600, 1.0), seat(2, 0, 1.0)];
    let mut run = Run::new(level(2.0, 10_000), &seats, at(0.0));
    run.note_found(&BTreeSet::from([BackendId(0), BackendId(1)]), &BTreeSet::from([BackendId(1)]));
    let none = BTreeMap::new();
    for second in 1..=5 {
        let step = run.step(&seats, &none, &none, u64::MAX, at(f64::from(second)));
        assert_eq!(step.list, counts(&[(1, 2)]), "second {second}");
    }
    assert_eq!(run.progress(), &Progress::Running);
}

#[test]
fn a_run_that_may_take_nobody_ends() {
    let seats = [seat(0, 600, 1.0), seat(1, 0, 1.0)];
    let mut run = Run::new(level(10.0, 10_000), &seats, at(0.0));
    let (none, closed) = (BTreeMap::new(), counts(&[(0, 10)]));
    run.step(&seats, &counts(&[(0, 10)]), &none, u64::MAX, at(1.0));
    run.note_found(&BTreeSet::from([BackendId(0)]), &BTreeSet::new());
    run.step(&seats, &counts(&[(0, 10)]), &none, u64::MAX, at(2.0));
    assert_eq!(run.progress(), &Progress::Running, "listed flows wait for their next packets");
    run.step(&seats, &none, &closed, u64::MAX, at(3.0));
    assert_eq!(run.progress(), &Progress::Running, "clients are coming back");
    run.step(&seats, &none, &closed, u64::MAX, at(8.0));
    assert!(matches!(run.progress(), Progress::Done(why) if why.contains("made after")), "{run:?}");
}

#[test]
fn a_backend_that_came_back_and_goes_down_again_ends_a_run() {
    let mut seats = [seat(0, 600, 1.0), seat(1, 0, 1.0), seat(2, 0, 1.0)];
    (seats[2].down, seats[2].open, seats[2].balanced) = (true, false, false);
    let mut run = Run::new(level(10.0, 10_000), &seats, at(0.0));
    let none = BTreeMap::new();
    let mut step = |seats: &[Seat], second| {
        run.step(seats, &none, &none, u64::MAX, at(second));
        run.progress().clone()
    };
    assert_eq!(step(&seats, 1.0), Progress::Running, "it was down before");
    let up = [seats[0].clone(), seats[1].clone(), seat(2, 0, 1.0)];
    assert_eq!(step(&up, 2.0), Progress::Running);
    assert_eq!(step(&seats, 3.0), Progress::Stopped("a backend went down".to_owned()));
}

#[test]
fn shares_are_by_capacity() {
    let seats = [seat(0, 500, 1.0), seat(1, 500, 4.0)];
    assert_eq!(surplus(&seats, 0.1, u64::MAX, 0.0), counts(&[(0, 280)]));
    let even = [seat(0, 200, 1.0), seat(1, 800, 4.0)];
    assert_eq!(surplus(&even, 0.01, u64::MAX, 0.0), counts(&[]));
}

#[test]
fn heavy_clients_are_not_all_closed_for_their_weight() {
    // Ten clients that take nine tenths of a backend, a thousand that take next to nothing.
    let heavy = Seat { load: 0.9, ..seat(0, 10, 1.0) };
    let light = Seat { load: 0.1, ..seat(1, 1000, 1.0) };
    let seats = [Seat { cost: 1e-3, ..heavy }, Seat { cost: 1e-3, ..light }];
    assert_eq!(surplus(&seats, 0.1, u64::MAX, 0.0), counts(&[(0, 4)]));
}

#[test]
fn the_pace_is_kept_and_a_pause_is_not_made_up_for() {
    let seats = [seat(0, 1000, 1.0), seat(1, 0, 1.0)];
    let mut run = Run::new(level(10.0, 1000), &seats, at(0.0));
    let none = BTreeMap::new();
    assert_eq!(run.step(&seats, &none, &none, u64::MAX, at(0.5)).list, counts(&[(0, 6)]));
    assert_eq!(run.step(&seats, &counts(&[(0, 6)]), &none, u64::MAX, at(60.0)).list, counts(&[(0, 10)]));
    assert_eq!(
        run.step(&seats, &counts(&[(0, 16)]), &none, 3, at(61.0)).list,
        counts(&[(0, 3)]),
        "the list is full"
    );
}

#[test]
fn the_list_shrinks_when_reality_moves() {
    let mut seats = [seat(0, 1000, 1.0), seat(1, 0, 1.0)];
    let mut run = Run::new(level(1000.0, 1000), &seats, at(0.0));
    let none = BTreeMap::new();
    run.step(&seats, &none, &none, u64::MAX, at(1.0));
    // Some clients left by themselves, and others came to the second.
    seats = [seat(0, 700, 1.0), seat(1, 300, 1.0)];
    let step = run.step(&seats, &counts(&[(0, 450)]), &none, u64::MAX, at(2.0));
    assert_eq!((step.list, step.unlist), (counts(&[]), counts(&[(0, 300)])));
}

#[test]
fn nothing_is_closed_where_nobody_has_room() {
    let mut full = seat(1, 10, 1.0);
    full.cap = Some(10);
    let mut exhausted = seat(2, 10, 1.0);
    exhausted.open = false;
    let seats = [seat(0, 1000, 1.0), full, exhausted];
    let mut run = Run::new(level(10.0, 1000), &seats, at(0.0));
    let step = run.step(&seats, &BTreeMap::new(), &BTreeMap::new(), u64::MAX, at(1.0));
    assert_eq!(step, Step::default());
}

#[test]
fn a_cap_bounds_what_is_closed() {
    let mut small = seat(1, 0, 1.0);
    small.cap = Some(7);
    assert_eq!(surplus(&[seat(0, 1000, 1.0), small], 0.1, u64::MAX, 0.0), counts(&[(0, 7)]));
}

#[test]
fn a_backend_that_goes_down_ends_a_run_at_once() {
    let mut seats = [seat(0, 1000, 1.0), seat(1, 0, 1.0)];
    let mut run = Run::new(level(10.0, 1000), &seats, at(0.0));
    let none = BTreeMap::new();
    seats[1].down = true;
    let step = run.step(&seats, &counts(&[(0, 5)]), &none, u64::MAX, at(1.0));
    assert_eq!((step.list, step.unlist), (counts(&[]), counts(&[(0, 5)])));
    assert_eq!(run.progress(), &Progress::Stopped("a backend went down".to_owned()));
    seats[1].down = false;
    assert_eq!(run.step(&seats, &none, &none, u64::MAX, at(2.0)), Step::default(), "ended is ended");
}

#[test]
fn a_drain_empties_its_backend_and_waits_for_room() {
    let drained = |live| Seat { draining: true, open: false, balanced: false, ..seat(0, live, 1.0) };
    let mut peer = seat(1, 0, 1.0);
    let order = |force| Order { aim: Aim::Empty { backend: BackendId(0), force }, rate: 5.0, max: 1000 };
    let mut run = Run::new(order(false), &[drained(20), peer.clone()], at(0.0));
    let none = BTreeMap::new();
    let step = run.step(&[drained(20), peer.clone()], &none, &none, u64::MAX, at(1.0));
    assert_eq!(step.list, counts(&[(0, 5)]));
    peer.open = false;
    let step = run.step(&[drained(15), peer.clone()], &none, &counts(&[(0, 5)]), u64::MAX, at(2.0));
    assert_eq!(step, Step::default());
    assert_eq!(run.progress(), &Progress::Waiting("no other backend has room".to_owned()));
    let mut forced = Run::new(order(true), &[drained(20), peer.clone()], at(0.0));
    assert_eq!(forced.step(&[drained(20), peer], &none, &none, u64::MAX, at(1.0)).list, counts(&[(0, 5)]));
    let open = seat(1, 0, 1.0);
    run.step(&[drained(0), open.clone()], &none, &counts(&[(0, 20)]), u64::MAX, at(3.0));
    assert_eq!(run.progress(), &Progress::Done("the backend has no flow left".to_owned()));
    let mut ended = Run::new(order(false), &[drained(20), open.clone()], at(0.0));
    ended.step(&[seat(0, 20, 1.0), open], &none, &none, u64::MAX, at(1.0));
    assert_eq!(ended.progress(), &Progress::Stopped("the drain was ended".to_owned()));
}

#[test]
fn the_most_idle_go_first_and_the_newest_of_those() {
    let flow = |opened, last_seen| Flow {
        state: FlowState::open(BackendId(1), opened),
        last_seen,
        ..Flow::default()
    };
    let mut chooser = Chooser::new(BTreeMap::from([(BackendId(1), 3)]), 100);
    let flows = [(0, flow(5, 90)), (1, flow(5, 50)), (2, flow(60, 50)), (3, flow(99, 99)), (4, flow(7, 70))];
    for (key, flow) in flows {
        chooser.offer(key, flow);
    }
    chooser.offer(5, flow(100, 1));
    let closed = Flow { state: FlowState::open(BackendId(1), 1).with(FlowState::CLOSED), ..flow(1, 1) };
    chooser.offer(6, closed);
    chooser.offer(7, Flow { state: FlowState::open(BackendId(2), 1), ..flow(1, 1) });
    let chosen = chooser.finish();
    assert_eq!(chosen[&BackendId(1)].iter().map(|one| one.key).collect::<Vec<_>>(), [2, 1, 4]);
    assert_eq!(chosen.len(), 1);
}

fn any_seat(id: u16) -> impl Strategy<Value = Seat> {
    let numbers = (0_u64..3000, 1_u32..40, 0.0..1.5_f64, prop::option::of(0_u32..4000));
    (numbers, any::<[bool; 3]>()).prop_map(move |((live, capacity, load, cap), [open, balanced, level])| {
        let seat = seat(id, live, f64::from(capacity) / 10.0);
        // Half of them by telemetry, which need not agree with the count.
        let load = if level { load } else { seat.load };
        Seat { cap, load, open: open || level, balanced: balanced || level, ..seat }
    })
}

fn any_seats() -> impl Strategy<Value = Vec<Seat>> {
    (2_u16..7).prop_flat_map(|n| (0..n).map(any_seat).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn never_more_than_the_surplus_nor_than_there_is_room(seats in any_seats(), tolerance in 0.01..1.0_f64, max in 0_u64..2000) {
        let surplus = surplus(&seats, tolerance, max, 0.0);
        let total: u64 = surplus.values().sum();
        prop_assert!(total <= max);
        let balanced = || seats.iter().filter(|seat| seat.balanced);
        let capacity: f64 = balanced().map(|seat| seat.capacity).sum();
        let mean = balanced().map(|seat| seat.load * seat.capacity).sum::<f64>() / capacity;
        let room: u64 = balanced().filter(|seat| !surplus.contains_key(&seat.id)).map(Seat::room).fold(0, u64::saturating_add);
        prop_assert!(total <= room, "{total} of {room}");
        for seat in &seats {
            let Some(&flows) = surplus.get(&seat.id) else { continue };
            prop_assert!(seat.balanced && flows <= seat.live);
            prop_assert!(seat.load > mean * (1.0 + tolerance));
            let after = seat.load - flows as f64 * (seat.load / seat.live as f64);
            prop_assert!(after >= mean * (1.0 - 1e-6), "{after} is below the share {mean}");
        }
    }

    #[test]
    fn a_run_never_exceeds_what_it_began_with(
        seats in any_seats(), rate in 1.0..500.0_f64, max in 1_u64..500
    ) {
        let mut seats = seats;
        let mut run = Run::new(level(rate, max), &seats, at(0.0));
        let (planned, before) = (run.planned().values().sum::<u64>(), seats.clone());
        let closed = carry_out(&mut run, &mut seats, 2000);
        prop_assert!(closed.values().sum::<u64>() <= max);
        prop_assert!(closed.values().sum::<u64>() <= AGAIN * planned);
        for (before, after) in before.iter().zip(&seats) {
            prop_assert!(after.cap.is_none_or(|cap| after.live <= before.live.max(u64::from(cap))));
        }
    }
}
