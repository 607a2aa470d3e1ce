use std::time::Duration;

use balancer_common::abi::{BackendId, Flow, FlowState};

use super::{Expiry, Timeouts, is_pressed};

const TIMEOUTS: Timeouts = Timeouts { idle: 1000, half_closed: 100, closing: 10 };

fn flow(bits: u64, last_seen: u32) -> Flow {
    let state = FlowState::open(BackendId(7), 0).with(bits);
    let resets = state.any(FlowState::RST_UNPROVEN);
    let state = if resets { state.with_unproven_reset(last_seen) } else { state };
    Flow { state, last_seen, ..Flow::default() }
}

/// The silences around each timeout, for each state, with and without pressure.
#[test]
fn each_state_has_its_timeout() {
    let closed = FlowState::FIN_CLIENT | FlowState::FIN_BACKEND | FlowState::CLOSED;
    let cases = [
        (0, false, 1000, Expiry::Idle),
        (FlowState::FIN_CLIENT, false, 1000, Expiry::Idle),
        (FlowState::SYN_PENDING, false, 1000, Expiry::Idle),
        (FlowState::RST_UNPROVEN, false, 1000, Expiry::Idle),
        (FlowState::RST_UNPROVEN, true, 100, Expiry::UnprovenReset),
        (FlowState::FIN_BACKEND, false, 100, Expiry::HalfClosed),
        (FlowState::FIN_BACKEND, true, 100, Expiry::HalfClosed),
        (closed, false, 10, Expiry::Closed),
        (closed | FlowState::RST_UNPROVEN, true, 10, Expiry::Closed),
    ];
    for (bits, pressed, limit, why) in cases {
        // Also where the clock wraps between the last packet and now.
        for last_seen in [0, 5000, u32::MAX - 5] {
            let flow = flow(bits, last_seen);
            let at = |silence: u32| TIMEOUTS.expiry(&flow, last_seen.wrapping_add(silence), pressed, false);
            assert_eq!(at(limit - 1), None, "{bits:#b} pressed {pressed}, last seen {last_seen}");
            assert_eq!(at(limit), Some(why), "{bits:#b} pressed {pressed}, last seen {last_seen}");
        }
    }
}

/// A flow that goes on after somebody's RST is one of many, and not the first to go.
#[test]
fn an_unproven_reset_is_forgotten_when_the_flow_lives_on() {
    let at = |last_seen: u32, reset: u32| {
        let flow = flow(0, last_seen);
        let flow = Flow { state: flow.state.with_unproven_reset(reset), ..flow };
        TIMEOUTS.expiry(&flow, last_seen.wrapping_add(100), true, false)
    };
    for reset in [0, 64 * 511, 64 * 512, u32::MAX - 5] {
        assert_eq!(at(reset, reset), Some(Expiry::UnprovenReset), "{reset}");
        assert_eq!(
            at(reset.wrapping_add(64), reset),
            Some(Expiry::UnprovenReset),
            "{reset}: what was on its way"
        );
        for later in [128, 1000, 64 * 511] {
            assert_eq!(at(reset.wrapping_add(later), reset), None, "{reset}, {later} later");
        }
    }
    let twice = flow(FlowState::FIN_CLIENT, 0).state.with_unproven_reset(u32::MAX).with_unproven_reset(64);
    assert_eq!(twice.0 & !FlowState::FLAGS & 0xffff, 1 << 7, "the last one's time");
}

#[test]
fn what_a_client_has_ended_ends_when_nobody_can_answer() {
    let at = |bits, silence: u32| TIMEOUTS.expiry(&flow(bits, 5000), 5000 + silence, false, true);
    for bits in [FlowState::FIN_CLIENT, FlowState::RST_UNPROVEN] {
        assert_eq!((at(bits, 99), at(bits, 100)), (None, Some(Expiry::Unanswered)));
    }
    assert_eq!(
        (at(0, 999), at(0, 1000)),
        (None, Some(Expiry::Idle)),
        "others may still be held by both sides"
    );
}

#[test]
fn a_packet_after_the_clock_was_read_is_no_silence() {
    assert_eq!(TIMEOUTS.expiry(&flow(0, 101), 100, true, false), None);
    assert_eq!(TIMEOUTS.expiry(&flow(FlowState::CLOSED, 1), u32::MAX, false, false), None);
}

#[test]
fn timeouts_round_up() {
    let seconds = Duration::from_secs;
    let timeouts = Timeouts::new(seconds(3600), seconds(1), Duration::from_millis(1));
    // 3600 s are 3352.76 units of 2^30 ns.
    assert_eq!(timeouts, Timeouts { idle: 3353, half_closed: 1, closing: 1 });
}

#[test]
fn pressure_starts_above_nine_tenths() {
    assert!(!is_pressed(90, 100));
    assert!(is_pressed(91, 100));
    assert!(is_pressed(u64::from(u32::MAX), u32::MAX));
}
