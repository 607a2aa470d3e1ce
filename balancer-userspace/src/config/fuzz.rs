//! Configuration files.

use std::time::Duration;

use balancer_common::abi::{BackendId, ServiceId};
use balancer_control::controller::Controller;
use balancer_control::{Input, Moment};

use super::{Config, check};

/// A file. Whatever passes is steered by.
pub(crate) fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match check(text) {
        Ok(checked) => {
            assert_eq!(checked.text, text);
            steer(&checked.config, data.len().is_multiple_of(16));
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(!problem.message.is_empty());
                assert!(problem.line.is_none_or(|line| line >= 1 && line <= 1 + text.lines().count()));
            }
        }
    }
}

/// Has the controller take it. Filling rings takes a millisecond each and is done for some alone.
fn steer(config: &Config, tick: bool) {
    let mut names: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|one, next| one < next), "a service twice: {names:?}");
    let place = |name: &str| names.iter().position(|known| *known == name).unwrap_or_default() as u16;
    let before = |name: &str| {
        let earlier = config.services.iter().take_while(|service| service.name != name);
        earlier.map(|service| service.backends.len()).sum::<usize>() as u16
    };
    let model = config.model(
        |service| ServiceId(place(&service.name)),
        |service, backend| {
            let own = service.backends.iter().position(|known| known.name == backend.name);
            BackendId(before(&service.name) + own.unwrap_or_default() as u16)
        },
    );
    if tick && config.services.len() < 4 {
        let mut controller = Controller::new();
        controller.handle(Input::Model(model), Moment(Duration::ZERO));
        for second in 1..4 {
            controller.tick(Moment(Duration::from_secs(second)));
        }
        let _ = controller.snapshot(Moment(Duration::from_secs(4)));
    }
}
