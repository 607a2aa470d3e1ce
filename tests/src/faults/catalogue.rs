//! The faults: one entry each.

use anyhow::{Context, Result};

use super::{
    agent, backends, interfaces, kernel,
    row::Row,
    stage::{Setting, Stage},
};
use crate::lab::Lab;

/// What is disturbed, with its faults: one file each.
pub(super) const FAMILIES: [(&str, &[Fault]); 4] = [
    ("Agent", agent::FAULTS),
    ("Backends", backends::FAULTS),
    ("Interfaces", interfaces::FAULTS),
    ("Kernel side", kernel::FAULTS),
];

/// Does the fault, ends its cause, and checks what has to hold besides the flows. An error fails the row.
type Strike = fn(&mut Stage<'_>) -> Result<()>;

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Play {
    /// Against live traffic.
    Live(Strike),
    /// By itself, from a seed; short or in full.
    Alone(fn(u64, bool) -> Result<Row>),
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) does: &'static str,
    /// What has to hold, besides that no flow breaks, no message is lost and counts are true.
    pub(crate) holds: &'static str,
    /// What is different from the usual traffic, configuration and agent.
    pub(crate) prepare: fn(&Lab, &mut Setting) -> Result<()>,
    pub(crate) play: Play,
    /// Whether it takes seconds and is part of the default tests.
    pub(crate) short: bool,
    /// Whether it leaves everything as it was, and may strike at random.
    pub(crate) soak: bool,
    /// Whether another agent runs afterwards.
    pub(crate) ends_agent: bool,
}

impl Fault {
    /// A fault that strikes live traffic.
    pub(crate) const fn live(
        name: &'static str,
        does: &'static str,
        holds: &'static str,
        strike: Strike,
    ) -> Self {
        const fn as_usual(_: &Lab, _: &mut Setting) -> Result<()> {
            Ok(())
        }
        let play = Play::Live(strike);
        Self { name, does, holds, prepare: as_usual, play, short: false, soak: false, ends_agent: false }
    }

    /// A fault that needs no live traffic.
    pub(crate) const fn alone(
        name: &'static str,
        does: &'static str,
        holds: &'static str,
        play: fn(u64, bool) -> Result<Row>,
    ) -> Self {
        const fn never(_: &mut Stage<'_>) -> Result<()> {
            Ok(())
        }
        let mut fault = Self::live(name, does, holds, never);
        fault.play = Play::Alone(play);
        fault
    }

    /// With another setting.
    pub(crate) const fn prepared(mut self, prepare: fn(&Lab, &mut Setting) -> Result<()>) -> Self {
        self.prepare = prepare;
        self
    }

    /// It takes seconds, and is played in the default tests.
    pub(crate) const fn in_tests(mut self) -> Self {
        self.short = true;
        self
    }

    /// It may strike at random in a soak.
    pub(crate) const fn in_soak(mut self) -> Self {
        self.soak = true;
        self
    }

    /// Another agent runs afterwards.
    pub(crate) const fn ends_agent(mut self) -> Self {
        self.ends_agent = true;
        self
    }
}

/// All faults, family by family.
pub(crate) fn all() -> Vec<Fault> {
    FAMILIES.iter().flat_map(|(_, faults)| *faults).copied().collect()
}

/// Those that are asked for, in the order of the catalogue; all without names.
pub(super) fn chosen(names: &[String]) -> Result<Vec<Fault>> {
    let all = all();
    for name in names {
        all.iter()
            .find(|fault| fault.name == *name)
            .with_context(|| format!("--only: there is no fault {name:?}; `--list` shows them"))?;
    }
    let is_chosen = |fault: &Fault| names.is_empty() || names.iter().any(|name| name == fault.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_wrong_ones_are_refused() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(chosen(&[]).unwrap().len(), all.len());
        assert_eq!(chosen(&["agent-killed".to_owned()]).unwrap().len(), 1);
        let refusal = chosen(&["nonsense".to_owned()]).unwrap_err().to_string();
        assert!(refusal.contains("\"nonsense\"; `--list` shows"), "{refusal}");
    }
}
