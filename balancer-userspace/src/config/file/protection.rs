//! The part of the file about backends that fail.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::defaults;
use super::super::value::{Share, Span};

/// `[service.ejection]`. What clients' own connections show of a backend, whatever its probes say: a SYN that is answered
/// with a RST has failed, and one that is not answered within a second.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionSection {
    /// Whether backends are ejected at all.
    #[schemars(extend("default" = true))]
    pub enabled: Option<bool>,
    /// How far back SYNs are looked at, and how long a trial lasts at most.
    #[schemars(extend("default" = defaults::EJECTION_WINDOW, "x-min" = "2s", "x-max" = "1m"))]
    pub window: Option<Span>,
    /// Fewer SYNs than this in a window eject nobody.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = defaults::MIN_SYNS))]
    pub min_syns: Option<u32>,
    /// Share of failing SYNs from which on a backend is ejected, if it is 25 % above that of the better half of the
    /// others as well.
    #[schemars(extend("default" = defaults::FAILING))]
    pub failing: Option<Share>,
    /// How long the first ejection lasts; each further one in a row lasts twice as long.
    #[schemars(extend("default" = defaults::EJECTION_TIME, "x-min" = "1s", "x-max" = "1h"))]
    pub time: Option<Span>,
    /// The longest ejection. A backend that stays in rotation for as long begins anew with `time`.
    #[schemars(extend("default" = defaults::MAX_EJECTION_TIME, "x-min" = "1s", "x-max" = "1day"))]
    pub max_time: Option<Span>,
    /// Most of the service's backends that are ejected at once, rounded down; one may always be, unless it is the last
    /// that takes new flows.
    #[schemars(extend("default" = defaults::MOST_EJECTED))]
    pub most: Option<Share>,
}
