//! What becomes of SYNs for a while: steered without state, or sent away for want of budget.
//!
//! The program counts both and keeps no record of when. Looked at with every tick, the counts tell since when it goes
//! on, and when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_common::abi::ServiceId;
use balancer_common::outcome::Outcome;
use balancer_control::Moment;
use balancer_control::outline::ConditionOutline;

use super::core::{Agent, high};
use crate::kernel::Error;

/// A spell is over after this long without another SYN. Clients send theirs again after 1, 3 and 7 seconds, so a storm
/// goes on in between.
const QUIET: Duration = Duration::from_secs(10);

/// What may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The ring alone steers.
    RingAlone,
    /// SYNs beyond a budget are dropped.
    Dropping,
    /// SYNs beyond a budget are refused.
    Refusing,
}

impl Kind {
    const ALL: [Self; 3] = [Self::RingAlone, Self::Dropping, Self::Refusing];

    /// What the program counts.
    const fn outcome(self) -> Outcome {
        match self {
            Self::RingAlone => Outcome::ForwardSynStateless,
            Self::Dropping => Outcome::DropOverBudget,
            Self::Refusing => Outcome::ResetOverBudget,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::RingAlone => "ring-alone",
            Self::Dropping => "dropping",
            Self::Refusing => "refusing",
        }
    }
}

/// What goes on, by service.
#[derive(Debug, Default)]
pub(super) struct Spells(BTreeMap<(ServiceId, Kind), Spell>);

#[derive(Clone, Copy, Debug)]
struct Spell {
    /// SYNs counted at the last look.
    syns: u64,
    /// The look that found the first SYN, and the one that found the last.
    span: Option<(Moment, Moment)>,
}

impl Spells {
    /// Takes note of a count.
    fn look(&mut self, service: ServiceId, kind: Kind, syns: u64, now: Moment) {
        // What was counted before the first look is of no known time.
        let spell = self.0.entry((service, kind)).or_insert(Spell { syns, span: None });
        let over = spell.span.filter(|(_, last)| now.since(*last) < QUIET);
        spell.span =
            if syns == spell.syns { over } else { Some((over.map_or(now, |(first, _)| first), now)) };
        spell.syns = syns;
    }

    /// Forgets services that are gone.
    fn keep(&mut self, is_kept: impl Fn(ServiceId) -> bool) {
        self.0.retain(|(service, _), _| is_kept(*service));
    }

    /// Since when something goes on.
    pub(super) fn since(&self, service: ServiceId, kind: Kind) -> Option<Moment> {
        self.0.get(&(service, kind))?.span.map(|(first, _)| first)
    }
}

impl Agent {
    /// Looks at what the program has counted since the last tick.
    pub(super) fn look_at_spells(&mut self, now: Moment) -> Result<(), Error> {
        let services: Vec<ServiceId> = self.registry.services().map(|(_, id)| id).collect();
        for &service in &services {
            for kind in Kind::ALL {
                let syns = self.counters.outcome(service, kind.outcome())?;
                self.spells.look(service, kind, syns, now);
            }
        }
        self.spells.keep(|service| services.contains(&service));
        Ok(())
    }

    /// What goes on at a service, as conditions of it.
    pub(super) fn spells_of(&self, service: ServiceId) -> impl Iterator<Item = ConditionOutline<'_>> {
        Kind::ALL.into_iter().filter_map(move |kind| {
            let since = self.spells.since(service, kind)?;
            let reason = Box::new(move || self.reason_of(kind));
            Some(ConditionOutline { word: kind.word(), since: Some(since), closes: false, reason })
        })
    }

    fn reason_of(&self, kind: Kind) -> String {
        match kind {
            Kind::RingAlone => format!(
                "{}: SYNs go where the ring puts them, without draws, scores and budgets of backends, and leave no state",
                self.why_ring_alone()
            ),
            Kind::Dropping => {
                "SYNs beyond a budget of new connections are dropped, and sent again by their clients"
                    .to_owned()
            }
            Kind::Refusing => "SYNs beyond a budget of new connections are refused with a RST".to_owned(),
        }
    }

    fn why_ring_alone(&self) -> String {
        let capacities = [self.flows.v4.capacity(), self.flows.v6.capacity()];
        let tables = self.counters.tables().unwrap_or_default();
        let mut full =
            tables.iter().zip(capacities).filter(|(table, all)| table.used() >= u64::from(high(*all)));
        if let Some((table, capacity)) = full.next() {
            return format!("a flow table is nearly full ({} of {capacity})", table.used());
        }
        format!(
            "more than flood_syns = {} new flows a second and CPU arrived",
            self.config.datapath.flood_syns
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: ServiceId = ServiceId(3);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn a_spell_lasts_until_ten_seconds_bring_no_syn() {
        let mut spells = Spells::default();
        let mut look = |syns, second| {
            spells.look(SERVICE, Kind::Dropping, syns, at(second));
            spells.since(SERVICE, Kind::Dropping).map(|since| since.0.as_secs())
        };
        assert_eq!(look(70, 1), None, "counted before anybody looked");
        assert_eq!(look(70, 2), None);
        assert_eq!([look(71, 3), look(71, 4), look(80, 12), look(80, 21)], [Some(3); 4]);
        assert_eq!(look(80, 22), None);
        assert_eq!(look(81, 40), Some(40), "another one");
        assert_eq!(look(0, 41), Some(40), "new maps count from the start");
    }

    #[test]
    fn services_and_kinds_are_apart_and_forgotten() {
        let mut spells = Spells::default();
        for syns in [0, 5] {
            spells.look(SERVICE, Kind::RingAlone, syns, at(syns));
            spells.look(ServiceId(4), Kind::RingAlone, 0, at(syns));
        }
        assert_eq!(spells.since(SERVICE, Kind::RingAlone), Some(at(5)));
        assert_eq!(spells.since(ServiceId(4), Kind::RingAlone), None);
        assert_eq!(spells.since(SERVICE, Kind::Refusing), None);
        spells.keep(|service| service != SERVICE);
        assert_eq!(spells.since(SERVICE, Kind::RingAlone), None);
    }
}
