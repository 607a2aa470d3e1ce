//! Who is ejected for what its SYNs show.

use super::*;

/// Backends without probes, all of which answered 100 SYNs until second 1.
fn answering(policy: Policy, n: u16) -> Bench {
    let mut bench = Bench::new(policy, (0..n).map(backend).collect());
    bench.syns(&vec![(100, 100, 0); usize::from(n)], 1);
    bench
}

fn open(bench: &Bench, n: u16) -> Vec<u16> {
    (0..n).filter(|id| bench.open(*id)).collect()
}

#[test]
fn a_backend_that_refuses_is_ejected_at_the_next_count_and_comes_back_on_trial() {
    let mut bench = answering(Policy::Adaptive, 3);
    assert_eq!(bench.syns(&[(130, 130, 0), (130, 100, 30), (130, 130, 0)], 2), "scores");
    assert_eq!(open(&bench, 3), [0, 2]);
    assert_eq!(bench.score(1).flags, ScoreFlags::READY | ScoreFlags::EJECTED);
    let seen = bench.seen(1, 2);
    assert_eq!((seen.state, seen.since, seen.ejections), (BackendState::Ejected, at(2), 1));
    assert!(
        seen.reason.contains("30 refused with a RST") && seen.reason.contains("for 10s"),
        "{}",
        seen.reason
    );
    assert_eq!(bench.controller.next_deadline(at(3)), Some(at(12)));
    assert_eq!(bench.tick(11), "");

    assert_eq!(bench.syns(&[(180, 180, 0), (130, 100, 30), (180, 180, 0)], 12), "scores");
    let seen = bench.seen(1, 12);
    assert!(seen.trial && seen.open && seen.state == BackendState::Up);
    let others = bench.score(0).predict(1_000);
    assert!(bench.score(1).predict(0) > others, "the last choice of every draw");

    bench.syns(&[(200, 200, 0), (136, 106, 30), (200, 200, 0)], 13);
    let seen = bench.seen(1, 13);
    assert!(!seen.trial && seen.state == BackendState::Up, "{seen:?}");
    assert!(bench.score(1).predict(0) <= bench.score(0).predict(0));
}

#[test]
fn a_host_that_drops_syns_is_ejected_once_they_are_too_old_to_be_answered() {
    let mut bench = answering(Policy::LeastConn, 3);
    bench.syns(&[(130, 130, 0), (130, 100, 0), (130, 130, 0)], 2);
    assert_eq!(open(&bench, 3), [0, 1, 2], "they may still be answered");
    bench.syns(&[(160, 160, 0), (160, 100, 0), (160, 160, 0)], 3);
    assert_eq!(open(&bench, 3), [0, 2]);
    assert!(bench.seen(1, 3).reason.contains("30 not answered"), "{}", bench.seen(1, 3).reason);
}

#[test]
fn a_trial_that_fails_is_a_longer_ejection() {
    let mut bench = answering(Policy::Adaptive, 3);
    bench.syns(&[(130, 130, 0), (130, 100, 30), (130, 130, 0)], 2);
    bench.syns(&[(190, 190, 0), (130, 100, 30), (190, 190, 0)], 12);
    bench.syns(&[(200, 200, 0), (134, 100, 34), (200, 200, 0)], 13);
    assert!(bench.open(1), "four SYNs do not decide yet");
    bench.syns(&[(210, 210, 0), (135, 100, 35), (210, 210, 0)], 14);
    assert!(!bench.open(1));
    assert!(
        bench.seen(1, 14).reason.contains("ejection 2 in a row, for 20s"),
        "{}",
        bench.seen(1, 14).reason
    );
    // Nothing is steered to it during the next trial: nothing speaks against it then.
    bench.syns(&[(900, 900, 0), (135, 100, 35), (900, 900, 0)], 34);
    assert!(bench.seen(1, 34).trial);
    bench.tick(44);
    assert!(!bench.seen(1, 44).trial && bench.open(1));
}

#[test]
fn a_few_failures_and_a_failing_minority_eject_nobody() {
    let mut bench = answering(Policy::Adaptive, 3);
    bench.syns(&[(130, 130, 0), (109, 100, 9), (130, 130, 0)], 2);
    assert_eq!(open(&bench, 3), [0, 1, 2], "nine are fewer than min_syns");
    bench.syns(&[(230, 230, 0), (229, 180, 49), (230, 230, 0)], 3);
    assert_eq!(open(&bench, 3), [0, 1, 2], "less than half of them fail");
}

/// Spoofed SYNs get a SYN-ACK like any other, and nobody completes the handshake; a flood that fills the backlogs need
/// not do so at all backends.
#[test]
fn floods_eject_nobody() {
    let mut bench = answering(Policy::Adaptive, 3);
    let mut flood = |syns: [(u64, u64); 3], second| {
        let counts = syns.map(|(syns, answered)| Counts { syns, answered, opened: 100, ..Counts::default() });
        bench.counters(&counts, second);
        assert_eq!(open(&bench, 3), [0, 1, 2], "{second} s");
    };
    flood([(9100, 9100); 3], 2);
    flood([(90_100, 9200), (80_100, 9200), (85_100, 9200)], 4);
    flood([(199_100, 9300), (98_100, 98_000), (97_100, 97_000)], 6);
    // The first has answered nobody of late, and looks dead; the others answer one of a hundred.
    flood([(249_100, 9300), (148_100, 98_500), (147_100, 97_500)], 20);
    flood([(299_100, 9300), (198_100, 99_000), (197_100, 98_000)], 22);
}

#[test]
fn what_all_of_them_do_is_nobodys_fault() {
    let mut bench = answering(Policy::Adaptive, 3);
    bench.syns(&[(9100, 200, 0), (8100, 200, 0), (8500, 200, 0)], 4);
    bench.syns(&[(9900, 300, 0), (9800, 300, 0), (9700, 300, 0)], 6);
    assert_eq!(open(&bench, 3), [0, 1, 2]);
}

#[test]
fn no_more_than_the_configured_share_is_ejected_the_worst_first() {
    for (n, most) in [(2_u16, 1), (3, 1), (5, 1), (6, 2), (9, 3)] {
        let mut bench = answering(Policy::Adaptive, n);
        // All but two fail, or all but one of two; the last of them worst.
        let failing = n - if n == 2 { 1 } else { 2 };
        let syns = |id: u16| {
            let bad = 60 + u64::from(id);
            if id < failing { (200, 200 - bad, bad) } else { (200, 200, 0) }
        };
        bench.syns(&(0..n).map(syns).collect::<Vec<_>>(), 2);
        let ejected: Vec<u16> = (0..n).filter(|id| !bench.open(*id)).collect();
        assert_eq!(ejected.len(), most, "{n} backends: {ejected:?}");
        assert!(ejected.contains(&(failing - 1)), "the worst of {n}: {ejected:?}");
    }
}

#[test]
fn a_lone_backend_is_never_ejected_and_neither_is_the_last() {
    let mut bench = answering(Policy::Adaptive, 1);
    bench.syns(&[(200, 100, 100)], 2);
    assert!(bench.open(0));

    let mut bench = answering(Policy::Adaptive, 3);
    bench.give(Input::Drain { backend: BackendId(0), drain: true }, 2);
    bench.give(Input::Drain { backend: BackendId(2), drain: true }, 2);
    bench.syns(&[(100, 100, 0), (200, 100, 100), (100, 100, 0)], 3);
    assert!(bench.open(1), "there is nobody else");
    bench.give(Input::Drain { backend: BackendId(2), drain: false }, 4);
    assert!(!bench.open(1) && bench.open(2));
    bench.give(Input::Drain { backend: BackendId(2), drain: true }, 5);
    assert!(bench.open(1), "whoever is left is taken back");
}

#[test]
fn the_ejected_is_no_relief_for_the_exhausted() {
    let mut bench = answering(Policy::Adaptive, 2);
    bench.syns(&[(200, 100, 100), (200, 200, 0)], 2);
    assert_eq!(open(&bench, 2), [1]);
    bench.sample(1, 3, memory(0.99));
    assert_eq!(open(&bench, 2), [1], "spared");
    bench.syns(&[(200, 100, 100), (260, 260, 0)], 5);
    assert_eq!(open(&bench, 2), [1]);
}

#[test]
fn probes_that_see_it_come_back_end_an_ejection() {
    let mut bench = Bench::new(Policy::Adaptive, (0..3).map(probed).collect());
    for id in 0..3 {
        bench.probe(id, ProbeResult::Up, 1);
        bench.probe(id, ProbeResult::Up, 1);
    }
    bench.syns(&[(100, 100, 0); 3], 1);
    bench.syns(&[(130, 130, 0), (130, 100, 30), (130, 130, 0)], 2);
    assert_eq!(bench.seen(1, 2).state, BackendState::Ejected);
    bench.probe(1, ProbeResult::Up, 3);
    assert!(!bench.open(1), "that its probe is answered was known");
    for second in 4..7 {
        bench.probe(1, down(), second);
    }
    assert_eq!(bench.seen(1, 6).state, BackendState::Down);
    bench.probe(1, ProbeResult::Up, 7);
    bench.probe(1, ProbeResult::Up, 8);
    let seen = bench.seen(1, 8);
    assert!(seen.open && !seen.trial && seen.state == BackendState::Up, "{seen:?}");
    bench.syns(&[(140, 140, 0), (140, 110, 30), (140, 140, 0)], 9);
    assert!(bench.open(1), "what it refused before does not count");
}

#[test]
fn the_configuration_can_turn_it_off_and_that_takes_back() {
    let spec = |ejection| {
        let mut spec = service(Policy::Adaptive, (0..3).map(backend).collect());
        spec.protection.ejection = ejection;
        model(spec)
    };
    let mut bench = answering(Policy::Adaptive, 3);
    bench.syns(&[(130, 130, 0), (130, 100, 30), (130, 130, 0)], 2);
    assert!(!bench.open(1));
    bench.give(spec(None), 3);
    assert!(bench.open(1));
    bench.syns(&[(160, 160, 0), (160, 100, 60), (160, 160, 0)], 4);
    assert!(bench.open(1));
}

#[test]
fn an_agent_that_starts_again_tries_what_it_finds_ejected() {
    let mut old = answering(Policy::Adaptive, 3);
    old.syns(&[(130, 130, 0), (130, 100, 30), (130, 130, 0)], 2);
    let mut new = Bench::default();
    new.controller.handle(model(service(Policy::Adaptive, (0..3).map(backend).collect())), at(0));
    let adopt = Input::Adopt { scores: old.scores.clone().unwrap(), rings: Vec::new() };
    new.controller.handle(adopt, at(0));
    new.syns(&[(130, 130, 0), (130, 100, 30), (130, 130, 0)], 0);
    assert!(new.seen(1, 0).trial && !new.seen(0, 0).trial);
    new.syns(&[(140, 140, 0), (135, 100, 35), (140, 140, 0)], 1);
    assert_eq!(new.seen(1, 1).state, BackendState::Ejected);
}
