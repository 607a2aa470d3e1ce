//! What is known of the topics of one broker.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_control::Moment;

/// Most topics that are kept; brokers publish some sixty.
const TOPICS: usize = 1000;

/// Longest name of a topic that is kept, in bytes.
const TOPIC_BYTES: usize = 256;

/// What the session told the source.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) status: Status,
    /// The last complete burst.
    pub(super) burst: Option<Burst>,
    /// Time between the last two heartbeats.
    pub(super) interval: Option<Duration>,
}

/// How the session is.
#[derive(Clone, Debug, Default)]
pub(super) enum Status {
    /// Never connected yet.
    #[default]
    Connecting,
    /// Subscribed, since then.
    Subscribed(Moment),
    /// The last attempt, or the last session, ended for this reason.
    Failed(String),
}

/// All topics as they were behind one heartbeat.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    /// When the heartbeat arrived.
    pub(super) at: Moment,
    pub(super) values: BTreeMap<String, f64>,
    /// Sessions the agent had with the broker.
    pub(super) own: u64,
}

/// Topics and their values while a session lasts.
#[derive(Debug, Default)]
pub(super) struct Topics(BTreeMap<String, f64>);

impl Topics {
    /// Keeps a value. Payloads without a number in front (`mosquitto version 2.0.11`) are no values.
    pub(super) fn put(&mut self, topic: String, payload: &[u8]) {
        let Some(value) = leading_number(payload) else { return };
        if topic.len() <= TOPIC_BYTES && (self.0.len() < TOPICS || self.0.contains_key(&topic)) {
            self.0.insert(topic, value);
        }
    }

    pub(super) fn snapshot(&self) -> BTreeMap<String, f64> {
        self.0.clone()
    }
}

/// The number a payload starts with: `17`, `0.25`, `4 seconds`.
fn leading_number(payload: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(payload).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_front_are_values() {
        assert_eq!(leading_number(b"17"), Some(17.0));
        assert_eq!(leading_number(b"4 seconds"), Some(4.0));
        assert_eq!(leading_number(b"0.25\n"), Some(0.25));
        assert_eq!(leading_number(b"mosquitto version 2.0.11"), None);
        assert_eq!(leading_number(b""), None);
        assert_eq!(leading_number(&[0xff, 0xfe]), None);
    }

    #[test]
    fn a_flood_of_topics_is_not_kept() {
        let mut topics = Topics::default();
        for i in 0..TOPICS + 10 {
            topics.put(format!("{i:05}"), b"1");
        }
        topics.put("00000".to_owned(), b"2");
        assert_eq!(topics.snapshot().len(), TOPICS);
        assert_eq!(topics.snapshot()["00000"], 2.0);

        let mut topics = Topics::default();
        topics.put("t".repeat(TOPIC_BYTES), b"1");
        topics.put("t".repeat(TOPIC_BYTES + 1), b"1");
        assert_eq!(topics.snapshot().len(), 1);
    }
}
