//! The table.

mod budget;
mod choice;
mod closing;
mod connection;
mod ending;
mod headers;
mod link;
mod passing;
mod refusal;
mod shield;
mod spoofing;
mod stateless;
mod too_big;

use super::{Scenario, World};

/// Something that the agent changes, and what to call it.
type Change = (&'static str, fn(&mut World));

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let parts = [
        connection::scenarios(),
        ending::scenarios(),
        closing::scenarios(),
        spoofing::scenarios(),
        link::scenarios(),
        headers::scenarios(),
        passing::scenarios(),
        refusal::scenarios(),
        shield::scenarios(),
        choice::scenarios(),
        budget::scenarios(),
        stateless::scenarios(),
        too_big::scenarios(),
    ];
    parts.into_iter().flatten().collect()
}
