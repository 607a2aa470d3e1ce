//! The recent past of backends' counts.

use std::collections::VecDeque;

use crate::{Counts, Moment};

/// Readings kept. At one every two seconds they reach back two minutes, ten times as far as telemetry is used.
const READINGS: usize = 64;

/// What the backends of a service had counted at each reading.
///
/// They are read together, and kept together: a tick looks for the same few moments at one backend after the other, and
/// finds them next to what it has just read. A past of each backend by itself would be in no cache by the next tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(VecDeque<(Moment, Vec<Counts>)>);

impl Past {
    /// Takes in a reading of all backends, in their order. One that is not later than the last replaces it.
    pub(crate) fn record(&mut self, counts: impl Iterator<Item = Counts>, now: Moment) {
        let mut room = Vec::new();
        while let Some((_, counts)) = self.0.pop_back_if(|(at, _)| *at >= now) {
            room = counts;
        }
        if self.0.len() == READINGS {
            room = self.0.pop_front().map_or(room, |(_, counts)| counts);
        }
        room.clear();
        room.extend(counts);
        self.0.push_back((now, room));
    }

    /// Follows backends that have other places: for each of them the one that it had, if it was there before.
    pub(crate) fn rearrange(&mut self, places: &[Option<usize>]) {
        for (_, counts) in &mut self.0 {
            let of = |place: &Option<usize>| place.and_then(|place| counts.get(place).copied());
            *counts = places.iter().map(|place| of(place).unwrap_or_default()).collect();
        }
    }

    /// The past of the backend in one place, which was first counted at `first`.
    pub(crate) const fn of(&self, place: usize, first: Option<Moment>) -> History<'_> {
        History { past: self, place, first }
    }
}

/// Counts of one backend over time, straight lines between readings: what telemetry says of a moment is compared with the
/// connections of that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History<'a> {
    past: &'a Past,
    place: usize,
    first: Option<Moment>,
}

impl History<'_> {
    /// When the counts were last read.
    pub(crate) fn last(self) -> Option<Moment> {
        self.first.and(self.past.0.back()).map(|(at, _)| *at)
    }

    /// Live connections at a moment. Before the first and after the last reading they are taken for constant.
    pub(crate) fn live_at(self, moment: Moment) -> f64 {
        self.at(moment).live
    }

    /// Mean of the live connections from one moment to another.
    pub(crate) fn mean_live(self, from: Moment, to: Moment) -> f64 {
        let span = to.since(from).as_secs_f64();
        if span <= 0.0 {
            return self.live_at(to);
        }
        let inner = self.past.0.range(self.until(from)..self.until(to));
        let inner = inner.filter(|(at, _)| self.first.is_some_and(|first| *at >= first));
        let inner = inner.map(|reading| (reading.0, self.of(reading).live));
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
    pub(crate) fn at(self, moment: Moment) -> Point {
        let Some(first) = self.first else { return Point::default() };
        let moment = moment.max(first);
        let after = self.until(moment);
        match (after.checked_sub(1).and_then(|before| self.past.0.get(before)), self.past.0.get(after)) {
            (None, None) => Point::default(),
            (None, Some(only)) | (Some(only), None) => self.of(only),
            (Some(before), Some(after)) => {
                let part = moment.since(before.0).as_secs_f64() / after.0.since(before.0).as_secs_f64();
                self.of(before).towards(&self.of(after), part)
            }
        }
    }

    fn of(self, (_, counts): &(Moment, Vec<Counts>)) -> Point {
        counts.get(self.place).map(Point::of).unwrap_or_default()
    }

    /// How many readings are not later than a moment.
    ///
    /// They come at regular intervals, so where one should be is nearly where it is.
    fn until(self, moment: Moment) -> usize {
        let past = &self.past.0;
        let (Some((first, _)), Some((last, _))) = (past.front(), past.back()) else { return 0 };
        if *last <= moment {
            return past.len();
        }
        let part = moment.since(*first).as_secs_f64() / last.since(*first).as_secs_f64();
        let mut until = (part * past.len() as f64) as usize;
        let is_later = |index: usize| past.get(index).is_none_or(|(at, _)| *at > moment);
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
pub(crate) mod alone {
    use super::*;

    /// The past of a service with one backend.
    #[derive(Debug, Default)]
    pub(crate) struct Alone {
        past: Past,
        first: Option<Moment>,
    }

    impl Alone {
        pub(crate) fn record(&mut self, counts: Counts, now: Moment) {
            self.first.get_or_insert(now);
            self.past.record([counts].into_iter(), now);
        }

        pub(crate) const fn history(&self) -> History<'_> {
            self.past.of(0, self.first)
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::alone::Alone;
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    const fn live(live: u64) -> Counts {
        Counts { live, opened: 10 * live, syns: 0, refused: 0, answered: 0 }
    }

    fn alone(readings: &[(u64, u64)]) -> Alone {
        let mut alone = Alone::default();
        for &(millis, count) in readings {
            alone.record(live(count), at(millis));
        }
        alone
    }

    #[test]
    fn counts_are_interpolated_and_constant_beyond_the_ends() {
        let alone = alone(&[(1000, 10), (3000, 30)]);
        let history = alone.history();
        for (millis, live) in [(0, 10.0), (1000, 10.0), (1500, 15.0), (3000, 30.0), (9000, 30.0)] {
            assert_eq!(history.live_at(at(millis)), live, "{millis} ms");
            assert_eq!(history.at(at(millis)).opened, 10.0 * live, "{millis} ms");
        }
        assert_eq!(history.last(), Some(at(3000)));
    }

    #[test]
    fn readings_are_found_however_they_are_spread() {
        let times = [10, 11, 12, 13, 500, 900, 901, 2000, 2001];
        let alone = alone(&times.map(|millis| (millis, millis)));
        for millis in (0..2100).step_by(7).chain(times) {
            let expected = times.iter().filter(|time| **time <= millis).count();
            assert_eq!(alone.history().until(at(millis)), expected, "{millis} ms");
        }
        assert_eq!(Alone::default().history().until(at(1)), 0);
    }

    #[test]
    fn the_mean_is_the_area_under_the_line() {
        let alone = alone(&[(0, 0), (1000, 10), (2000, 10)]);
        for (from, to, mean) in [(0, 2000, 7.5), (500, 1000, 7.5), (2000, 4000, 10.0), (500, 500, 5.0)] {
            assert_eq!(alone.history().mean_live(at(from), at(to)), mean, "{from} to {to} ms");
        }
    }

    #[test]
    fn nothing_read_is_nothing_live() {
        let alone = Alone::default();
        let history = alone.history();
        assert_eq!(
            (history.last(), history.live_at(at(5)), history.mean_live(at(1), at(5))),
            (None, 0.0, 0.0)
        );
    }

    #[test]
    fn who_comes_later_was_before_as_it_was_first() {
        let mut past = Past::default();
        past.record([live(1), Counts::default()].into_iter(), at(1000));
        past.record([live(2), live(40)].into_iter(), at(2000));
        past.record([live(3), live(60)].into_iter(), at(3000));
        let late = past.of(1, Some(at(2000)));
        assert_eq!(
            (late.live_at(at(500)), late.live_at(at(1500)), late.live_at(at(2500))),
            (40.0, 40.0, 50.0)
        );
        assert_eq!(late.mean_live(at(0), at(3000)), 40.0 + 10.0 / 3.0);
        assert_eq!(past.of(1, None).at(at(3000)), Point::default(), "never read");
        assert_eq!(past.of(0, Some(at(1000))).live_at(at(1500)), 1.5);
    }

    #[test]
    fn who_moves_takes_its_past_along() {
        let mut past = Past::default();
        past.record([live(1), live(2), live(3)].into_iter(), at(1000));
        past.rearrange(&[Some(2), None, Some(0)]);
        past.record([live(30), live(7), live(10)].into_iter(), at(2000));
        for (place, first, before, now) in [(0, 1000, 3.0, 30.0), (1, 2000, 7.0, 7.0), (2, 1000, 1.0, 10.0)] {
            let history = past.of(place, Some(at(first)));
            assert_eq!((history.live_at(at(1000)), history.live_at(at(2000))), (before, now), "{place}");
        }
    }

    #[test]
    fn the_past_is_bounded_and_in_order() {
        let mut alone = alone(&[(1000, 1), (2000, 2), (1500, 9)]);
        assert_eq!(alone.history().live_at(at(1500)), 9.0);
        for second in 2..1000 {
            alone.record(Counts::default(), at(second * 1000));
        }
        assert_eq!(alone.history().past.0.len(), READINGS);
    }
}
