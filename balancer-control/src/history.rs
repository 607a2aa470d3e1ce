//! The recent past of a backend's counts.

use std::collections::VecDeque;

use crate::{Counts, Moment};

/// Readings kept. At one every two seconds they reach back two minutes, ten times as far as telemetry is used.
const READINGS: usize = 64;

/// Counts over time, straight lines between readings: what telemetry says of a moment is compared with the connections
/// of that moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(VecDeque<(Moment, Counts)>);

impl History {
    /// Takes in a reading. One that is not later than the last replaces it.
    pub(crate) fn record(&mut self, counts: Counts, now: Moment) {
        while self.0.back().is_some_and(|(at, _)| *at >= now) {
            self.0.pop_back();
        }
        if self.0.len() == READINGS {
            self.0.pop_front();
        }
        self.0.push_back((now, counts));
    }

    /// Live connections at the last reading; zero before the first.
    pub(crate) fn live(&self) -> u64 {
        self.0.back().map_or(0, |(_, counts)| counts.live)
    }

    /// When the counts were last read.
    pub(crate) fn last(&self) -> Option<Moment> {
        self.0.back().map(|(at, _)| *at)
    }

    /// Live connections at a moment. Before the first and after the last reading they are taken for constant.
    pub(crate) fn live_at(&self, moment: Moment) -> f64 {
        self.at(moment).live
    }

    /// Mean of the live connections from one moment to another.
    pub(crate) fn mean_live(&self, from: Moment, to: Moment) -> f64 {
        let span = to.since(from).as_secs_f64();
        if span <= 0.0 {
            return self.live_at(to);
        }
        let inner = self.0.range(self.until(from)..self.until(to));
        let inner = inner.map(|(at, counts)| (*at, counts.live as f64));
        let points =
            core::iter::once((from, self.live_at(from))).chain(inner).chain([(to, self.live_at(to))]);
        let mut area = 0.0;
        let mut last: Option<(Moment, f64)> = None;
        for (at, live) in points {
            if let Some((before, was)) = last {
                area += at.since(before).as_secs_f64() * (was + live) / 2.0;
            }
            last = Some((at, live));
        }
        area / span
    }

    /// All counts at a moment, as those of [`History::live_at`].
    pub(crate) fn at(&self, moment: Moment) -> Point {
        let after = self.until(moment);
        match (after.checked_sub(1).and_then(|before| self.0.get(before)), self.0.get(after)) {
            (None, None) => Point::default(),
            (None, Some((_, only))) | (Some((_, only)), None) => Point::of(only),
            (Some((from, before)), Some((to, after))) => {
                let part = moment.since(*from).as_secs_f64() / to.since(*from).as_secs_f64();
                Point::of(before).towards(&Point::of(after), part)
            }
        }
    }

    /// How many readings are not later than a moment.
    ///
    /// They come at regular intervals, so where one should be is nearly where it is. A search by halves would touch memory
    /// all over, which no cache holds any more by the next tick.
    fn until(&self, moment: Moment) -> usize {
        let (Some((first, _)), Some((last, _))) = (self.0.front(), self.0.back()) else { return 0 };
        if *last <= moment {
            return self.0.len();
        }
        let part = moment.since(*first).as_secs_f64() / last.since(*first).as_secs_f64();
        let mut until = (part * self.0.len() as f64) as usize;
        let is_later = |index: usize| self.0.get(index).is_none_or(|(at, _)| *at > moment);
        while until > 0 && is_later(until - 1) {
            until -= 1;
        }
        while !is_later(until) {
            until += 1;
        }
        until
    }
}

/// Counts at a moment, between two readings too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) live: f64,
    pub(crate) opened: f64,
    pub(crate) syns: f64,
    pub(crate) refused: f64,
    pub(crate) answered: f64,
}

impl Point {
    const fn of(counts: &Counts) -> Self {
        let Counts { live, opened, syns, refused, answered } = *counts;
        Self {
            live: live as f64,
            opened: opened as f64,
            syns: syns as f64,
            refused: refused as f64,
            answered: answered as f64,
        }
    }

    /// By how much each count grew since an earlier moment; zero where it went back.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, |now, then| (now - then).max(0.0))
    }

    /// The point that is `part` of the way to another.
    fn towards(&self, to: &Self, part: f64) -> Self {
        self.with(to, |from, to| from + part * (to - from))
    }

    fn with(&self, other: &Self, each: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            live: each(self.live, other.live),
            opened: each(self.opened, other.opened),
            syns: each(self.syns, other.syns),
            refused: each(self.refused, other.refused),
            answered: each(self.answered, other.answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn history(readings: &[(u64, u64)]) -> History {
        let mut history = History::default();
        for &(millis, live) in readings {
            history.record(Counts { live, opened: 10 * live, ..Counts::default() }, at(millis));
        }
        history
    }

    #[test]
    fn counts_are_interpolated_and_constant_beyond_the_ends() {
        let history = history(&[(1000, 10), (3000, 30)]);
        for (millis, live) in [(0, 10.0), (1000, 10.0), (1500, 15.0), (3000, 30.0), (9000, 30.0)] {
            assert_eq!(history.live_at(at(millis)), live, "{millis} ms");
            assert_eq!(history.at(at(millis)).opened, 10.0 * live, "{millis} ms");
        }
        assert_eq!(history.live(), 30);
    }

    #[test]
    fn readings_are_found_however_they_are_spread() {
        let times = [10, 11, 12, 13, 500, 900, 901, 2000, 2001];
        let history = history(&times.map(|millis| (millis, millis)));
        for millis in (0..2100).step_by(7).chain(times) {
            let expected = times.iter().filter(|time| **time <= millis).count();
            assert_eq!(history.until(at(millis)), expected, "{millis} ms");
        }
        assert_eq!(History::default().until(at(1)), 0);
    }

    #[test]
    fn the_mean_is_the_area_under_the_line() {
        let history = history(&[(0, 0), (1000, 10), (2000, 10)]);
        assert_eq!(history.mean_live(at(0), at(2000)), 7.5);
        assert_eq!(history.mean_live(at(500), at(1000)), 7.5);
        assert_eq!(history.mean_live(at(2000), at(4000)), 10.0);
        assert_eq!(history.mean_live(at(500), at(500)), 5.0);
    }

    #[test]
    fn nothing_read_is_nothing_live() {
        let history = History::default();
        assert_eq!((history.live(), history.live_at(at(5)), history.mean_live(at(1), at(5))), (0, 0.0, 0.0));
    }

    #[test]
    fn the_past_is_bounded_and_in_order() {
        let mut history = history(&[(1000, 1), (2000, 2), (1500, 9)]);
        assert_eq!(history.live_at(at(1500)), 9.0);
        for second in 2..1000 {
            history.record(Counts::default(), at(second * 1000));
        }
        assert_eq!(history.0.len(), READINGS);
    }
}
