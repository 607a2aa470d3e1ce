//! What is done when backends fail.

use balancer_control::{EjectionSpec, Protection};

use crate::config::defaults;
use crate::config::file::{EjectionSection, ServiceSection};
use crate::config::problem::{Findings, Place};
use crate::config::value::{RateOrOff, Share, ShareOrOff};

use super::{default, span};

/// The protection of a service.
pub(super) fn protection(section: &ServiceSection, place: &Place, findings: &mut Findings) -> Protection {
    let share = |value: Option<Share>, otherwise| value.unwrap_or_else(|| default(otherwise)).0;
    Protection {
        ejection: ejection(&section.ejection, &place.key("ejection"), findings),
        panic: section.panic.unwrap_or_else(|| default::<ShareOrOff>(defaults::PANIC)).0,
        takeover: share(section.takeover, defaults::TAKEOVER),
        min_ready: section.min_ready.unwrap_or(defaults::MIN_READY),
        alarm_rate: section.alarm_rate.unwrap_or_else(|| default::<RateOrOff>(defaults::ALARM_RATE)).0,
    }
}

fn ejection(section: &EjectionSection, place: &Place, findings: &mut Findings) -> Option<EjectionSpec> {
    let share = |value: Option<Share>, otherwise| value.unwrap_or_else(|| default(otherwise)).0;
    let spec = EjectionSpec {
        window: span(section.window, defaults::EJECTION_WINDOW),
        min_syns: section.min_syns.unwrap_or(defaults::MIN_SYNS),
        failing: share(section.failing, defaults::FAILING),
        time: span(section.time, defaults::EJECTION_TIME),
        max_time: span(section.max_time, defaults::MAX_EJECTION_TIME),
        most: share(section.most, defaults::MOST_EJECTED),
    };
    if spec.max_time < spec.time {
        let (time, max) = (humantime::format_duration(spec.time), humantime::format_duration(spec.max_time));
        findings.error(
            &place.key(if section.max_time.is_some() { "max_time" } else { "time" }),
            format!("the longest ejection (\"{max}\") is shorter than the first (\"{time}\"); write max_time = \"{time}\" or more"),
        );
    }
    section.enabled.unwrap_or(true).then_some(spec)
}
