//! What may have changed since the last tick, in outline.
//!
//! The decision log looks at it with every tick. It borrows from the controller: what is told of is copied, and the rest
//! is not.

use std::borrow::Cow;

use balancer_common::abi::{BackendId, ServiceId};

use crate::snapshot::{BackendState, Condition};

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceOutline<'a> {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: &'a str,
    /// What holds of it as a whole.
    pub conditions: Vec<Condition>,
    /// How many times its ring has changed.
    pub ring_changes: u64,
    /// Its backends in the order of the model.
    pub backends: Vec<BackendOutline<'a>>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendOutline<'a> {
    /// Its id.
    pub id: BackendId,
    /// Its name.
    pub name: &'a str,
    /// Whether it takes new flows.
    pub state: BackendState,
    /// Why it is in that state, in words.
    pub reason: Cow<'a, str>,
    /// What holds of it besides its state.
    pub conditions: Vec<Condition>,
}
