//! Moments at which the agent turns to its backends.
//!
//! With hundreds of backends something is due every few milliseconds. Done together, ten times as seldom, the same work
//! costs a good part less: one wake-up serves all, the code is in the caches for all but the first, and what they answer is
//! taken in together.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Time from beat to beat: no more than half of the shortest interval, and a fortieth of the usual one.
pub(crate) const BEAT: Duration = Duration::from_millis(50);

/// Waits until the first beat that is not before `due`.
pub(crate) async fn wait(due: Instant) {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    sleep_until(*FIRST + beats(due.saturating_duration_since(*FIRST))).await;
}

/// `time`, rounded up to whole beats.
fn beats(time: Duration) -> Duration {
    let nanos = time.as_nanos().next_multiple_of(BEAT.as_nanos());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        let millis = Duration::from_millis;
        assert_eq!(beats(Duration::ZERO), Duration::ZERO);
        assert_eq!(beats(Duration::from_nanos(1)), BEAT);
        assert_eq!(beats(BEAT), BEAT);
        assert_eq!(beats(millis(2001)), millis(2050));
        // Twenty years after the start.
        assert_eq!(beats(millis(630_720_000_010)), millis(630_720_000_050));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_due_together_go_together() {
        let start = Instant::now();
        wait(start).await;
        let first = Instant::now();
        assert!(first - start <= BEAT);
        let due = [1, 7, 49].map(|millis| wait(first + Duration::from_millis(millis)));
        futures_util::future::join_all(due).await;
        // The clock of tests goes by whole milliseconds.
        assert!((first.elapsed()).abs_diff(BEAT) <= Duration::from_millis(2), "{:?}", first.elapsed());
    }
}
