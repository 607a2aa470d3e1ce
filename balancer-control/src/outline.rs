//! What may have changed since the last tick, in outline.
//!
//! The decision log looks at it with every tick. It borrows from the controller: what is told of is copied, and the rest
//! is not.

use std::borrow::Cow;
use std::fmt;

use balancer_common::abi::{BackendId, ServiceId};

use crate::Moment;
use crate::snapshot::{BackendState, Condition};

/// One service.
#[derive(Debug)]
pub struct ServiceOutline<'a> {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: &'a str,
    /// What holds of it as a whole.
    pub conditions: Vec<ConditionOutline<'a>>,
    /// How many times its ring has changed.
    pub ring_changes: u64,
    /// That of the model it is from: while it is the same, so are its backends and their names.
    pub revision: u64,
    /// Its backends in the order of the model.
    pub backends: Vec<BackendOutline<'a>>,
}

/// One backend.
#[derive(Debug)]
pub struct BackendOutline<'a> {
    /// Its id.
    pub id: BackendId,
    /// Its seed, which tells it from another one that has the id after it.
    pub seed: u64,
    /// Its name.
    pub name: &'a str,
    /// Whether it takes new flows.
    pub state: BackendState,
    /// Why it is in that state, in words.
    pub reason: Cow<'a, str>,
    /// What holds of it besides its state.
    pub conditions: Vec<ConditionOutline<'a>>,
}

/// Why something holds, to be put into words when somebody wants to read it: what goes on holding is told once.
pub type Reason<'a> = Box<dyn Fn() -> String + 'a>;

/// A condition whose reason is put into words when somebody wants to read it.
pub struct ConditionOutline<'a> {
    /// Its name for programs, in `kebab-case`.
    pub word: &'static str,
    /// Since when, where the controller keeps that.
    pub since: Option<Moment>,
    /// Whether it alone keeps new flows away.
    pub closes: bool,
    /// Why, in words.
    pub reason: Reason<'a>,
}

impl From<ConditionOutline<'_>> for Condition {
    fn from(outline: ConditionOutline<'_>) -> Self {
        let ConditionOutline { word, since, closes, reason } = outline;
        Self { word, reason: reason(), since, closes }
    }
}

impl fmt::Debug for ConditionOutline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionOutline")
            .field("word", &self.word)
            .field("reason", &(self.reason)())
            .finish_non_exhaustive()
    }
}
