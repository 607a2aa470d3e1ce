//! The product: the controller that the agent runs, and the decision that the program makes.

use std::sync::Arc;

use balancer_common::abi::{
    BackendId, Draw, MAX_BACKENDS, RING_SLOTS, Ring, Score, ScoreTable, Service, ServiceId,
};
use balancer_common::steer::{Steering, choose, draw_bits};

use super::case::Case;
use super::random::Random;
use super::steer::{Steer, Truth};
use crate::{Command, Controller, Input, Moment};

/// The controller and the maps it writes.
pub(crate) struct Product {
    controller: Controller,
    scores: Arc<ScoreTable>,
    ring: Box<Ring>,
    draw: Draw,
    draws: u8,
    cursor: u64,
}

impl Product {
    pub(crate) fn new(_case: &Case) -> Self {
        Self {
            controller: Controller::new(),
            scores: Arc::new(ScoreTable([Score::default(); MAX_BACKENDS])),
            ring: Box::new(Ring([BackendId::NONE; RING_SLOTS])),
            draw: Draw::Hash,
            draws: 1,
            cursor: 0,
        }
    }
}

/// The maps as the program sees them.
struct Maps<'a> {
    scores: &'a ScoreTable,
    ring: &'a Ring,
    live: &'a [u64],
}

impl Steering for Maps<'_> {
    fn ring(&self, _: ServiceId) -> Option<&Ring> {
        Some(self.ring)
    }

    fn scores(&self) -> Option<&ScoreTable> {
        Some(self.scores)
    }

    fn live(&self, backend: BackendId) -> u64 {
        self.live.get(usize::from(backend.0)).copied().unwrap_or(0)
    }

    /// No broker of the simulation has a budget.
    fn has_budget(&self, _: BackendId) -> bool {
        true
    }
}

impl Steer for Product {
    fn handle(&mut self, input: Input, now: Moment) {
        self.controller.handle(input, now);
    }

    fn tick(&mut self, now: Moment) {
        for command in self.controller.tick(now) {
            match command {
                Command::Paces(_) => {}
                Command::Scores(scores) => self.scores = scores,
                Command::Ring { ring, .. } => self.ring = ring,
                Command::Service { steering, .. } => {
                    (self.draw, self.draws) = (steering.draw, steering.draws)
                }
            }
        }
    }

    fn choose(&mut self, live: &[u64], _: &Truth<'_>, random: &mut Random) -> Option<usize> {
        let (hash, word) = (random.word(), random.word());
        self.cursor += 1;
        let bits = draw_bits(self.draw, hash, || self.cursor, || word);
        let maps = Maps { scores: &self.scores, ring: &self.ring, live };
        choose(&maps, ServiceId(0), &Service::default(), self.draws, bits, |_| {})
            .map(|backend| usize::from(backend.0))
    }
}
