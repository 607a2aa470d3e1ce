use std::collections::BTreeSet;

use super::*;
use crate::fixture::at;

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    let candidate = |(i, &weight): (usize, &u32)| Candidate {
        member: Member { id: BackendId(i as u16), seed: maglev::seed(&[i as u8]), weight },
        configured: 1,
        open: true,
        gone: false,
    };
    weights.iter().enumerate().map(candidate).collect()
}

fn wish(weights: &[u32]) -> Wish {
    Wish { order: Order::Maglev, learnt: true, candidates: candidates(weights) }
}

fn ids(keeper: &RingKeeper) -> Vec<u16> {
    shares(keeper.ring().unwrap()).keys().map(|id| id.0).collect()
}

#[test]
fn small_changes_of_learnt_weights_leave_it_alone() {
    let mut keeper = RingKeeper::default();
    assert!(keeper.update(&wish(&[1000, 1000, 2000]), at(0)));
    // Moves 3.7 % in all.
    assert!(!keeper.update(&wish(&[1000, 1050, 2000]), at(100)));
    assert!(keeper.update(&wish(&[1000, 1200, 2000]), at(100)));
}

#[test]
fn large_ones_wait_ten_seconds() {
    let mut keeper = RingKeeper::default();
    keeper.update(&wish(&[1000, 1000]), at(0));
    assert!(!keeper.update(&wish(&[1000, 2000]), at(9)));
    assert_eq!(keeper.due(), Some(at(10)));
    assert!(keeper.update(&wish(&[1000, 2000]), at(10)));
    assert!((keeper.share(BackendId(1)) - 2.0 / 3.0).abs() < 0.001);
}

#[test]
fn what_is_not_learnt_takes_effect_at_once() {
    let mut keeper = RingKeeper::default();
    keeper.update(&wish(&[100, 100]), at(0));
    let mut wanted = wish(&[100, 101]);
    wanted.learnt = false;
    assert!(keeper.update(&wanted, at(1)));

    let mut wanted = wish(&[100, 102]);
    wanted.candidates[1].configured = 2;
    assert!(keeper.update(&wanted, at(2)), "a configured weight changed");

    wanted.order = Order::Interleaved;
    assert!(keeper.update(&wanted, at(3)), "the policy changed");

    assert!(keeper.update(&wish(&[100, 100, 100]), at(4)), "a backend came");
    assert!(keeper.update(&wish(&[100, 100]), at(5)), "a backend went");
    assert!(!keeper.update(&wish(&[100, 100]), at(6)));
}

#[test]
fn closed_backends_keep_their_slots_until_they_are_gone() {
    let mut keeper = RingKeeper::default();
    let mut wanted = wish(&[1, 1, 1]);
    keeper.update(&wanted, at(0));
    wanted.candidates[1].open = false;
    assert!(!keeper.update(&wanted, at(1)));
    wanted.candidates[1].gone = true;
    assert!(keeper.update(&wanted, at(61)));
    assert_eq!(ids(&keeper), [0, 2]);
}

#[test]
fn when_less_than_half_is_open_the_rest_goes_at_once() {
    let mut keeper = RingKeeper::default();
    let mut wanted = wish(&[1, 1, 1, 1]);
    wanted.candidates[0].open = false;
    wanted.candidates[1].open = false;
    keeper.update(&wanted, at(0));
    assert_eq!(ids(&keeper), [0, 1, 2, 3], "exactly half is enough");
    wanted.candidates[2].open = false;
    assert!(keeper.update(&wanted, at(1)));
    assert_eq!(ids(&keeper), [3]);
    wanted.candidates[1].open = true;
    assert!(keeper.update(&wanted, at(2)));
    assert_eq!(ids(&keeper), [0, 1, 2, 3]);
}

#[test]
fn it_is_never_left_empty() {
    let mut keeper = RingKeeper::default();
    let mut wanted = wish(&[1, 1]);
    for candidate in &mut wanted.candidates {
        (candidate.open, candidate.gone) = (false, true);
    }
    keeper.update(&wanted, at(0));
    assert_eq!(ids(&keeper), [0, 1]);
}

#[test]
fn nobody_makes_an_empty_ring_once() {
    let mut keeper = RingKeeper::default();
    assert!(keeper.update(&wish(&[]), at(0)));
    assert!(!keeper.update(&wish(&[]), at(60)));
}

#[test]
fn an_adopted_ring_with_the_right_members_stays() {
    let old = maglev::maglev(&wish(&[10, 30]).candidates.iter().map(|c| c.member).collect::<Vec<_>>());
    let mut keeper = RingKeeper::default();
    keeper.adopt(old.clone());
    assert!(keeper.update(&wish(&[1000, 3010]), at(0)), "said once");
    assert_eq!(keeper.ring(), Some(&*old));
    assert!(!keeper.update(&wish(&[1000, 3010]), at(60)));
    assert!(keeper.update(&wish(&[1000, 1000]), at(60)));

    let mut keeper = RingKeeper::default();
    keeper.adopt(old.clone());
    keeper.update(&wish(&[10, 30, 10]), at(0));
    assert_eq!(ids(&keeper), [0, 1, 2], "a backend was added while no agent ran");
}

fn found_then(wish: &Wish, ring: &Ring) -> RingChange {
    let mut keeper = RingKeeper::default();
    keeper.adopt(Box::new(*ring));
    keeper.update(wish, at(0));
    assert_eq!(keeper.last_change().1, 1);
    keeper.last_change().0.unwrap().clone()
}

#[test]
fn a_ring_that_was_found_is_what_the_first_is_compared_with() {
    let mut before = RingKeeper::default();
    before.update(&wish(&[10, 30]), at(0));
    let ring = before.ring().unwrap();
    let fixed = |weights: &[u32]| Wish { learnt: false, ..wish(weights) };
    for wanted in [wish(&[1000, 3010]), fixed(&[10, 30])] {
        let change = found_then(&wanted, ring);
        assert_eq!((change.moved, &change.cause), (0, &RingCause::Adopted), "{wanted:?}");
        assert!(change.shares.values().all(|(before, after)| before == after && *before > 0.2), "{change:?}");
    }
    let change = found_then(&fixed(&[10, 30, 10]), ring);
    let joined = BTreeSet::from([BackendId(2)]);
    assert_eq!(change.cause, RingCause::Members { joined, left: BTreeSet::new() });
    assert!((10_000..20_000).contains(&change.moved), "{}", change.moved);
    let change = found_then(&fixed(&[20, 30]), ring);
    assert_eq!(change.cause, RingCause::Readjusted);
    assert!((5_000..20_000).contains(&change.moved), "{}", change.moved);
}
