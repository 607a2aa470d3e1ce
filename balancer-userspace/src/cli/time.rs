//! Times as people write and read them: in the time zone of this machine.

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

/// What may be written.
const FORMS: &str = "write it as 14:32, 14:32:05, 2026-01-31T14:32 or 2026-01-31T14:32:05Z";

/// The moment that a text means, in milliseconds since 1970-01-01 00:00 UTC. A time without a date is the last one
/// before `now`, a time without an offset is in the zone of `now`.
pub(super) fn moment(text: &str, now: &Zoned) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    let unclear = |error: jiff::Error| format!("{text:?} is no time here ({error}); {FORMS}");
    // A date has two hyphens; a bare time is not to be taken for a part of one.
    if text.matches('-').count() == 2 {
        let civil: DateTime = text.parse().map_err(unclear)?;
        let zoned = civil.to_zoned(now.time_zone().clone()).map_err(unclear)?;
        return Ok(zoned.timestamp().as_millisecond());
    }
    let time: Time = text.parse().map_err(unclear)?;
    let zoned = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).map_err(unclear)?;
    let zoned = if zoned > *now { zoned.checked_sub(1.day()).map_err(unclear)? } else { zoned };
    Ok(zoned.timestamp().as_millisecond())
}

/// This moment, in the zone of this machine.
pub(super) fn now() -> Zoned {
    Zoned::now()
}

/// A duration from the command line.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 90s, 10m or 2h"))
}

/// An RFC 3339 time as people of this zone read it; as it is, when it is none.
pub(super) fn local(text: &str, zone: &TimeZone) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| text.to_owned(),
        |timestamp| timestamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        "2026-03-01T15:00:00+02:00".parse::<Timestamp>().unwrap().to_zoned(zone)
    }

    fn moment(text: &str) -> Result<String, String> {
        super::moment(text, &now()).map(crate::history::rfc3339)
    }

    #[test]
    fn times_are_local_and_of_the_last_day_that_had_them() {
        for (text, expected) in [
            ("14:32", "2026-03-01T12:32:00.000Z"),
            ("14:32:05", "2026-03-01T12:32:05.000Z"),
            ("15:00", "2026-03-01T13:00:00.000Z"),
            ("15:01", "2026-02-28T13:01:00.000Z"),
            ("2026-02-27 14:32", "2026-02-27T12:32:00.000Z"),
            ("2026-02-27T14:32:05.5", "2026-02-27T12:32:05.500Z"),
            ("2026-02-27T14:32:05Z", "2026-02-27T14:32:05.000Z"),
            ("2026-02-27T14:32:05+01:00", "2026-02-27T13:32:05.000Z"),
        ] {
            assert_eq!(moment(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_how_to_write_one() {
        for text in ["", "25:00", "yesterday", "2026-02-30 10:00", "14h", "-1:00"] {
            let error = moment(text).unwrap_err();
            assert!(error.contains("write it as 14:32"), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_shown_in_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(local("2026-02-27T14:32:05.123Z", &zone), "2026-02-27 16:32:05");
        assert_eq!(local("not a time", &zone), "not a time");
    }
}
