use balancer_common::abi::RING_SLOTS;

use super::*;

const B1: BackendId = BackendId(1);

/// One backend that takes new flows.
fn frozen(room: Room, spent: bool, refuses: bool) -> Frozen {
    let mut scores = Box::new(ScoreTable([Score::default(); MAX_BACKENDS]));
    scores.0[1].flags = ScoreFlags::READY;
    Frozen {
        ring: Box::new(Ring([B1; RING_SLOTS])),
        scores,
        live: BTreeMap::new(),
        spent: if spent { BTreeSet::from([B1]) } else { BTreeSet::new() },
        room,
        refuses,
        stateless: false,
    }
}

/// What becomes of a SYN.
fn refusal(frozen: &Frozen) -> Option<Refusal> {
    let mut seen = Vec::new();
    let chosen =
        steer::choose(frozen, ServiceId(0), &Service::default(), 2, 7, |candidate| seen.push(candidate));
    Refusal::of(frozen, chosen, &seen)
}

#[test]
fn room_of_the_service_is_asked_before_its_backends() {
    assert_eq!(refusal(&frozen(Room::Open, false, false)), None);
    let full = refusal(&frozen(Room::Full, false, false)).unwrap();
    assert_eq!(full, Refusal::Full { else_to: Some(B1) });
    assert_eq!(full.told().0, "refused with a RST", "a cap is told at once, whatever becomes of excess");
    let spent = refusal(&frozen(Room::Spent, false, false)).unwrap();
    assert_eq!((spent.else_to(), spent.told().0.starts_with("dropped")), (Some(B1), true));
    let refused = refusal(&frozen(Room::Spent, false, true)).unwrap();
    assert_eq!(refused.told(), ("refused with a RST", SERVICE_SPENT));
}

#[test]
fn budgets_that_are_spent_are_not_no_backend() {
    let spent = refusal(&frozen(Room::Open, true, false)).unwrap();
    assert_eq!(spent, Refusal::BackendsSpent { refuses: false });
    assert!(spent.told().0.starts_with("dropped") && spent.told().1 == BACKENDS_SPENT);
    assert_eq!(refusal(&frozen(Room::Open, true, true)).unwrap().told().0, "refused with a RST");
    let mut nobody = frozen(Room::Open, false, false);
    nobody.scores.0[1].flags = 0;
    assert_eq!(refusal(&nobody), Some(Refusal::NoBackend));
}
