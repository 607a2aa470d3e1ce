//! Who is a backend, given one answer after another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use balancer_control::Moment;

use super::Entry;

/// The backends of one service that were found.
///
/// ```text
///             a good answer has it                     a good answer, `hold_down` after
///             ┌───────────────────┐                    the first without it, lacks it too
///   (new) ──► Present ──────────► Missing, drained ──────────────────────────────────────► gone
///                  a good answer lacks it
/// ```
///
/// Answers that failed change nothing but [`Roster::problem`].
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: BTreeMap<SocketAddr, Member>,
    /// When the last good answer came.
    answered: Option<Moment>,
    problem: Option<String>,
    /// Why single entries of the last good answer were not taken.
    refused: Vec<String>,
    failures: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Member {
    entry: Entry,
    /// Since when good answers lack it.
    missing: Option<Moment>,
}

impl Roster {
    /// What an earlier agent knew: each backend, and whether good answers lacked it. The time of those begins anew.
    #[must_use]
    pub fn remembered(members: impl IntoIterator<Item = (Entry, bool)>, now: Moment) -> Self {
        let member = |(entry, missing): (Entry, bool)| {
            (entry.address, Member { entry, missing: missing.then_some(now) })
        };
        Self { members: members.into_iter().map(member).collect(), ..Self::default() }
    }

    /// Takes in a good answer. One with fewer than `min` backends is not believed. Returns whether anything changed.
    pub fn answered(
        &mut self,
        (entries, refused): (Vec<Entry>, Vec<String>),
        min: usize,
        hold_down: Duration,
        now: Moment,
    ) -> bool {
        if entries.len() < min {
            let why = if refused.is_empty() { String::new() } else { format!(" ({})", refused.join("; ")) };
            return self.failed(format!(
                "the answer has {} usable backends{why}, and discovery.min asks for {min}; nobody was removed",
                entries.len()
            ));
        }
        let before = self.members.clone();
        (self.answered, self.problem, self.refused) = (Some(now), None, refused);
        let present: BTreeSet<SocketAddr> = entries.iter().map(|entry| entry.address).collect();
        for entry in entries {
            self.members.insert(entry.address, Member { entry, missing: None });
        }
        self.members.retain(|address, member| {
            if present.contains(address) {
                return true;
            }
            let since = *member.missing.get_or_insert(now);
            now.since(since) < hold_down
        });
        self.give_names_up();
        self.members != before
    }

    /// A name is that of who has it in the answer, as of a broker that was started anew elsewhere: one that is missing goes
    /// by its address then.
    fn give_names_up(&mut self) {
        let present = self.members.values().filter(|member| member.missing.is_none());
        let taken: BTreeSet<String> = present.filter_map(|member| member.entry.name.clone()).collect();
        for member in self.members.values_mut().filter(|member| member.missing.is_some()) {
            member.entry.name.take_if(|name| taken.contains(name));
        }
    }

    /// Notes that there is no answer, or none that can be used. Returns `false`: nothing changed.
    pub fn failed(&mut self, why: String) -> bool {
        self.failures += 1;
        self.problem = Some(why);
        false
    }

    /// The backends, and whether each is missing from good answers and so takes no new flows.
    pub fn members(&self) -> impl Iterator<Item = (&Entry, bool)> {
        self.members.values().map(|member| (&member.entry, member.missing.is_some()))
    }

    /// When the last good answer came; `None` before the first since the agent started.
    #[must_use]
    pub const fn last_answer(&self) -> Option<Moment> {
        self.answered
    }

    /// Why the last answer was not used, if it was not.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Why single entries of the last good answer were not taken.
    #[must_use]
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Answers that were not used.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_DOWN: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn entries(last_octets: &[u8]) -> Vec<Entry> {
        last_octets.iter().map(|octet| Entry::new(SocketAddr::from(([10, 0, 0, *octet], 1883)))).collect()
    }

    /// The last octets of the members, negative while drained.
    fn members(roster: &Roster) -> Vec<i16> {
        let octet = |(entry, missing): (&Entry, bool)| {
            let std::net::IpAddr::V4(ip) = entry.address.ip() else { panic!("IPv4") };
            i16::from(ip.octets()[3]) * if missing { -1 } else { 1 }
        };
        roster.members().map(octet).collect()
    }

    fn answer(roster: &mut Roster, octets: &[u8], second: u64) -> bool {
        roster.answered((entries(octets), Vec::new()), 1, HOLD_DOWN, at(second))
    }

    #[test]
    fn who_vanishes_is_drained_and_leaves_later() {
        let mut roster = Roster::default();
        assert!(answer(&mut roster, &[1, 2, 3], 0));
        assert!(!answer(&mut roster, &[3, 2, 1], 10), "the order means nothing");
        assert!(answer(&mut roster, &[1, 3], 20));
        assert_eq!(members(&roster), [1, -2, 3]);
        assert!(!answer(&mut roster, &[1, 3], 49));
        assert!(answer(&mut roster, &[1, 3], 50));
        assert_eq!(members(&roster), [1, 3]);
    }

    #[test]
    fn who_comes_back_in_time_is_taken_back() {
        let mut roster = Roster::default();
        answer(&mut roster, &[1, 2], 0);
        answer(&mut roster, &[1], 10);
        assert!(answer(&mut roster, &[1, 2], 20));
        assert_eq!(members(&roster), [1, 2]);
        // The time begins anew.
        answer(&mut roster, &[1], 45);
        answer(&mut roster, &[1], 60);
        assert_eq!(members(&roster), [1, -2]);
    }

    #[test]
    fn a_name_goes_to_who_has_it_in_the_answer() {
        let named =
            |octet: u8, name: &str| Entry { name: Some(name.to_owned()), ..entries(&[octet]).remove(0) };
        let mut roster = Roster::default();
        let mut answer = |entries, second| {
            roster.answered((entries, Vec::new()), 1, HOLD_DOWN, at(second));
            let told = roster.members().map(|(entry, missing)| {
                let name = entry.name.as_deref().unwrap_or("-");
                format!("{} {name}{}", entry.address.ip(), if missing { " missing" } else { "" })
            });
            told.collect::<Vec<_>>()
        };
        answer(vec![named(1, "a"), named(2, "b")], 0);
        assert_eq!(
            answer(vec![named(3, "a"), named(2, "b")], 10),
            ["10.0.0.1 - missing", "10.0.0.2 b", "10.0.0.3 a"]
        );
        assert_eq!(
            answer(vec![named(3, "a")], 20),
            ["10.0.0.1 - missing", "10.0.0.2 b missing", "10.0.0.3 a"],
            "nobody else has its name"
        );
        assert_eq!(
            answer(vec![named(1, "a")], 30),
            ["10.0.0.1 a", "10.0.0.2 b missing", "10.0.0.3 - missing"]
        );
    }

    #[test]
    fn failures_remove_nobody_however_long_they_last() {
        let mut roster = Roster::default();
        answer(&mut roster, &[1, 2], 0);
        answer(&mut roster, &[1], 10);
        for _ in 0..1000 {
            assert!(!roster.failed("no answer".to_owned()));
        }
        assert_eq!((members(&roster), roster.problem()), (vec![1, -2], Some("no answer")));
        assert_eq!(roster.last_answer(), Some(at(10)));
        answer(&mut roster, &[1, 2], 5000);
        assert_eq!((members(&roster), roster.problem()), (vec![1, 2], None));
    }

    #[test]
    fn too_few_are_not_believed() {
        let mut roster = Roster::default();
        answer(&mut roster, &[1, 2, 3], 0);
        assert!(!roster.answered((entries(&[1]), vec!["x is on a VIP".to_owned()]), 2, HOLD_DOWN, at(10)));
        assert_eq!(members(&roster), [1, 2, 3]);
        let problem = roster.problem().unwrap();
        assert!(
            problem.contains("1 usable backends (x is on a VIP)") && problem.contains("min asks for 2"),
            "{problem}"
        );
    }

    #[test]
    fn what_an_earlier_agent_knew_holds_until_an_answer() {
        let known = entries(&[1, 2, 4])
            .into_iter()
            .map(|entry| (entry.clone(), entry.address.ip().to_string() == "10.0.0.4"));
        let mut roster = Roster::remembered(known, at(0));
        roster.failed("no answer".to_owned());
        assert_eq!((members(&roster), roster.last_answer()), (vec![1, 2, -4], None));
        answer(&mut roster, &[2, 3], 10);
        assert_eq!(members(&roster), [-1, 2, 3, -4]);
        answer(&mut roster, &[2, 3], 30);
        assert_eq!(members(&roster), [-1, 2, 3], "it had been missing since the start");
    }
}
