use super::*;
use crate::Counts;
use crate::fixture::at;
use crate::history::alone::Alone;

/// `(second, steered, answered, refused)`. Who is answered completes the handshake.
fn evidence(readings: &[(u64, u64, u64, u64)], from: u64) -> Evidence {
    let mut alone = Alone::default();
    for &(second, syns, answered, refused) in readings {
        alone.record(Counts { syns, answered, refused, opened: answered, ..Counts::default() }, at(second));
    }
    Evidence::since(alone.history(), at(from))
}

#[test]
fn a_syn_without_an_answer_fails_after_a_second_and_a_refused_one_at_once() {
    let silent = evidence(&[(10, 0, 0, 0), (11, 100, 0, 0)], 0);
    assert_eq!(silent.settled(), 0.0, "they may still be answered");
    let silent = evidence(&[(10, 0, 0, 0), (11, 100, 0, 0), (12, 200, 0, 0)], 0);
    assert_eq!(silent, Evidence { unanswered: 100.0, ..Evidence::default() });
    let refused = evidence(&[(10, 0, 0, 0), (11, 100, 0, 90)], 0);
    assert_eq!((refused.refused, refused.share()), (90.0, 1.0));
}

#[test]
fn only_what_came_since_counts() {
    let later = evidence(&[(10, 500, 0, 500), (11, 600, 100, 500)], 10);
    assert_eq!(later, Evidence { answered: 100.0, ..Evidence::default() });
    assert_eq!(evidence(&[], 0), Evidence::default());
    assert_eq!(Evidence::default().share(), 0.0);
}

#[test]
fn counters_that_go_back_and_answers_without_a_question_say_nothing() {
    let back = evidence(&[(10, 900, 900, 0), (11, 5, 0, 0), (12, 5, 0, 0)], 0);
    assert_eq!(back.failed(), 0.0);
    let odd = evidence(&[(10, 0, 0, 0), (11, 10, 500, 0), (12, 20, 900, 0)], 0);
    assert_eq!(odd.share(), 0.0);
}

#[test]
fn what_a_flood_leaves_unanswered_is_not_the_backends_fault() {
    let after = |answered, opened, refused| {
        let mut alone = Alone::default();
        alone.record(Counts::default(), at(10));
        for second in [12, 14] {
            alone.record(Counts { syns: 1000, answered, opened, refused, ..Counts::default() }, at(second));
        }
        Evidence::since(alone.history(), at(0))
    };
    assert_eq!(after(100, 10, 0).failed(), 0.0, "few of those that it answers are clients");
    assert_eq!(after(100, 10, 300).failed(), 300.0, "it refuses, whoever asks");
    assert_eq!(after(100, 90, 0).failed(), 900.0, "clients complete the handshake: these were some");
    assert_eq!(after(0, 0, 0).failed(), 1000.0, "a dead backend answers nobody");
    assert_eq!(after(100, 10, 0).failing_share(), 0.9, "others are compared with all of it");
}

#[test]
fn an_opened_flow_was_answered() {
    let mut alone = Alone::default();
    alone.record(Counts::default(), at(10));
    alone.record(Counts { syns: 50, opened: 50, ..Counts::default() }, at(13));
    assert_eq!(Evidence::since(alone.history(), at(0)).share(), 0.0);
}

#[test]
fn ejections_in_a_row_last_twice_as_long_up_to_the_longest() {
    let spec = EjectionSpec::default();
    let mut ejection = Ejection::new(at(0));
    let mut now = at(1000);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        ejection.eject("SYNs failed", &spec, now);
        assert_eq!(ejection.deadline(), Some(now.plus(Duration::from_secs(seconds))));
        now = now.plus(Duration::from_secs(seconds));
        assert!(!ejection.settle(&spec, Moment(now.0 - Duration::from_nanos(1))));
        assert!(ejection.is_out() && ejection.settle(&spec, now) && ejection.is_on_trial());
    }
    assert_eq!(ejection.total(), 7);
    // Back for as long as the longest lasts, it begins anew.
    ejection.clear(now);
    now = now.plus(Duration::from_secs(300));
    ejection.eject("SYNs failed", &spec, now);
    assert_eq!(ejection.deadline(), Some(now.plus(Duration::from_secs(10))));
}

#[test]
fn a_short_peace_does_not_forgive() {
    let spec = EjectionSpec::default();
    let mut ejection = Ejection::new(at(0));
    ejection.eject("SYNs failed", &spec, at(400));
    ejection.settle(&spec, at(410));
    ejection.clear(at(411));
    ejection.eject("SYNs failed", &spec, at(500));
    assert_eq!(ejection.deadline(), Some(at(520)));
    assert_eq!(ejection.since(), Some(at(500)));
    let reason = ejection.reason();
    assert!(reason.contains("ejection 2 in a row, for 20s"), "{reason}");
}

#[test]
fn a_trial_is_decided_by_a_few_syns_or_by_its_end() {
    let spec = EjectionSpec::default();
    let mut ejection = Ejection::new(at(0));
    ejection.eject("SYNs failed", &spec, at(10));
    ejection.settle(&spec, at(20));
    let few = Evidence { answered: 4.0, ..Evidence::default() };
    assert!(!ejection.is_decided(&few, at(29)) && ejection.is_decided(&few, at(30)));
    assert!(ejection.is_decided(&Evidence { answered: 5.0, ..few }, at(21)));
    assert_eq!(ejection.deadline(), Some(at(30)));
    ejection.clear(at(30));
    assert_eq!((ejection.deadline(), ejection.since()), (None, None));
}
