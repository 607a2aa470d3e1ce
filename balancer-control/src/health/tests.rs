use super::*;
use crate::fixture::at;

const RISE: u32 = 2;
const FALL: u32 = 3;

/// Plays probes, one a second: `+` succeeds, `-` fails, `d` asks for no new connections, `?`
/// tells nothing, `0` was not sent. Returns the state after each,
/// as its first letter.
fn play(health: &mut Health, probes: &str) -> String {
    let letter = |(second, probe): (usize, char)| {
        let result = match probe {
            '+' => ProbeResult::Up,
            '?' => ProbeResult::Unknown("404".to_owned()),
            '0' => ProbeResult::Untried("too many open files".to_owned()),
            'd' => ProbeResult::Draining("maintenance".to_owned()),
            _ => ProbeResult::Down("connection refused".to_owned()),
        };
        health.probed(&result, RISE, FALL, at(second as u64 + 1));
        match health.state() {
            HealthState::Starting => 'S',
            HealthState::Up => 'U',
            HealthState::Down => 'D',
        }
    };
    probes.chars().enumerate().map(letter).collect()
}

#[test]
fn transitions() {
    for (probes, states) in [
        ("++", "SU"),
        ("+-++", "SSSU"),
        ("---", "SSD"),
        ("-+-+-++", "SSSSSSU"),
        ("++--+---", "SUUUUUUD"),
        ("++---+++", "SUUUDDUU"),
        ("++---+-++", "SUUUDDDDU"),
        ("dd", "SU"),
        ("++ddd", "SUUUU"),
        ("??", "SU"),
        ("++-?-?-", "SUUUUUD"),
        ("---??", "SSDDU"),
        ("+000+", "SSSSU"),
        ("000000", "SSSSSS"),
        ("++-0-0-0", "SUUUUUDD"),
        ("---000+0+", "SSDDDDDDU"),
    ] {
        assert_eq!(play(&mut Health::new(true, at(0)), probes), states, "{probes}");
    }
}

#[test]
fn a_state_is_as_old_as_its_first_probe() {
    let mut health = Health::new(true, at(0));
    play(&mut health, "+++");
    assert_eq!(health.since(), at(2));
    assert!(health.reason().contains('2'), "{}", health.reason());
}

#[test]
fn the_reason_names_the_failure() {
    let mut health = Health::new(true, at(0));
    play(&mut health, "-");
    assert_eq!(health.reason(), "failed probe 1 of 3: connection refused");
    play(&mut health, "--");
    assert_eq!(health.reason(), "failed probes in a row: 3, the last: connection refused");
}

#[test]
fn without_a_probe_it_is_up() {
    assert!(Health::new(false, at(0)).is_up());
}

#[test]
fn a_probe_added_to_a_backend_in_rotation_does_not_take_it_out() {
    let mut health = Health::new(false, at(0));
    health.set_probed(true, at(1));
    assert!(health.is_up());
    assert_eq!(play(&mut health, "---"), "UUD");
    health.set_probed(false, at(5));
    assert!(health.is_up());
}

#[test]
fn adopted_states_hold_until_probes_say_otherwise() {
    let mut health = Health::new(true, at(0));
    health.adopt(HealthState::Up, at(0));
    assert_eq!(play(&mut health, "--+---"), "UUUUUD");
}

#[test]
fn zero_thresholds_mean_one() {
    let mut health = Health::new(true, at(0));
    assert!(health.probed(&ProbeResult::Up, 0, 0, at(1)));
    health.probed(&ProbeResult::Down("refused".to_owned()), 0, 0, at(2));
    assert_eq!(health.state(), HealthState::Down);
}
