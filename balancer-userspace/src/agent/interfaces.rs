//! Interfaces that go and come back while the agent runs: a driver is loaded again, a modem is plugged in anew, somebody
//! takes the program off. Nobody but the agent puts it back.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use balancer_control::Moment;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, clock, start};
use crate::config::AttachMode;
use crate::kernel::announcements::Announcements;
use crate::kernel::{Attachment, Error, Notice, interface_index};

/// Time for which a driver may refuse the program before the network stack runs it: an interface that is being set up may
/// refuse what it does not refuse in a moment.
const GRACE: Duration = Duration::from_secs(1);

/// What keeps the program off interfaces that it should run on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Interfaces that do not exist.
    gone: Vec<String>,
    refusal: Option<Refusal>,
}

/// An interface that is there does not take the program.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    /// For people.
    problem: String,
    /// The interfaces that were there.
    here: Vec<(String, u32)>,
    /// When these first refused.
    since: Moment,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.gone.is_empty() {
            write!(
                f,
                "interface {} is gone: nothing is steered there until it is back, or datapath.interfaces is corrected",
                self.gone.join(", ")
            )?;
        }
        if let Some(refusal) = &self.refusal {
            let and = if self.gone.is_empty() { "" } else { "; " };
            write!(f, "{and}the program cannot be attached again: {}", refusal.problem)?;
        }
        Ok(())
    }
}

/// Tells the agent of changes of interfaces as soon as the kernel announces them. Packets that arrive by an interface that
/// was made anew, before the program is there, are the kernel's, which knows none of their connections.
pub(super) async fn follow(mut announcements: Announcements, changed: mpsc::Sender<()>) -> Result<(), Error> {
    while !changed.is_closed() {
        announcements.any().await?;
        // One that waits already stands for this one too.
        let _ = changed.try_send(());
    }
    Ok(())
}

/// Why interfaces are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The kernel has announced a change of some interface.
    Announcement,
    /// It is time.
    Tick,
}

/// How the interfaces that the program should run on compare with those that it runs on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Census {
    /// Those that do not exist.
    gone: Vec<String>,
    /// Those that exist, and their indices.
    here: Vec<(String, u32)>,
    /// Whether the program does not run on some of those: they have been made anew, or somebody has taken it off.
    anew: bool,
}

impl Census {
    /// `attached` are those that the program runs on.
    fn take(wanted: &[String], attached: &[&Attachment], index: impl Fn(&str) -> Option<u32>) -> Self {
        let mut census = Self::default();
        for name in wanted {
            let Some(index) = index(name) else {
                census.gone.push(name.clone());
                continue;
            };
            census.anew |= !attached.iter().any(|one| one.interface == *name && one.ifindex == index);
            census.here.push((name.clone(), index));
        }
        census
    }

    /// What is lost when `refusal` keeps the program off some of those that exist.
    fn lost(&self, refusal: Option<Refusal>) -> Option<Lost> {
        let lost = Lost { gone: self.gone.clone(), refusal };
        (lost != Lost::default()).then_some(lost)
    }

    /// Whether to attach. What was refused is tried again with the next tick alone: an attempt may be announced itself.
    fn is_reason(&self, occasion: Occasion, refused: Option<&Refusal>) -> bool {
        match occasion {
            Occasion::Announcement => self.anew && refused.is_none_or(|refused| refused.here != self.here),
            Occasion::Tick => self.anew || refused.is_some(),
        }
    }

    /// Since when these refuse, if they refuse now.
    fn refused_since(&self, refused: Option<&Refusal>, now: Moment) -> Moment {
        refused.filter(|refused| refused.here == self.here).map_or(now, |refused| refused.since)
    }
}

/// Gives interfaces their names of now, by those before. A name that has changed hands is there once.
fn rename(interfaces: &mut Vec<String>, renamed: &[(String, String)]) {
    for name in &mut *interfaces {
        if let Some((_, now)) = renamed.iter().find(|(before, _)| before == name) {
            name.clone_from(now);
        }
    }
    let mut seen = BTreeSet::new();
    interfaces.retain(|name| seen.insert(name.clone()));
}

impl Agent {
    /// Attaches the program again where an interface was made anew under its name, or somebody took it off.
    pub(super) fn mind_interfaces(&mut self, occasion: Occasion) {
        if self.config.datapath.interfaces.is_empty() {
            self.follow_names();
        }
        let attached = self.datapath.attached().iter().filter(|one| self.datapath.still_runs(one));
        let census = Census::take(&self.interfaces, &attached.collect::<Vec<_>>(), interface_index);
        let refused = self.lost.as_ref().and_then(|lost| lost.refusal.as_ref());
        if census.is_reason(occasion, refused) {
            self.attach_anew(&census);
        } else if refused.is_none() {
            self.note_lost(census.lost(None));
        }
    }

    /// What was found out to lead to services is an interface, and not its name.
    fn follow_names(&mut self) {
        let renamed = self.datapath.follow_names();
        for (before, name) in &renamed {
            info!("interface {before} is called {name} now; the program has stayed on it");
        }
        rename(&mut self.interfaces, &renamed);
    }

    fn attach_anew(&mut self, census: &Census) {
        let now = clock::now();
        let refused = self.lost.as_ref().and_then(|lost| lost.refusal.as_ref());
        let since = census.refused_since(refused, now);
        let configured = self.config.datapath.mode;
        let mode =
            if now.0.saturating_sub(since.0) < GRACE { self.without_swap(configured) } else { configured };
        let names: Vec<String> = census.here.iter().map(|(name, _)| name.clone()).collect();
        let refusal = match self.run_on(&names, mode) {
            Ok(()) => {
                info!("attached again to {}", names.join(", "));
                None
            }
            Err(error) => {
                let problem = format!("{:#}", anyhow::Error::from(error));
                Some(Refusal { problem, here: census.here.clone(), since })
            }
        };
        self.note_lost(census.lost(refusal));
    }

    fn note_lost(&mut self, lost: Option<Lost>) {
        if lost != self.lost {
            match &lost {
                Some(lost) => warn!("{lost}"),
                None => info!("the program runs on all its interfaces again"),
            }
            self.lost = lost;
        }
    }

    /// Makes the program run on exactly these interfaces, and has packets leave by those that it runs on, whether or not
    /// one of them refuses.
    pub(super) fn run_on(&mut self, names: &[String], mode: AttachMode) -> Result<(), Error> {
        let mut notices = Vec::new();
        let before = self.datapath.attached().to_vec();
        let attached = blocking(|| self.datapath.attach(names, mode, &mut notices));
        // What stays as it is, is no news with every attempt.
        let news = |notice: &&Notice| attached.is_ok() || !matches!(notice, Notice::Kept { .. });
        notices.iter().filter(news).for_each(start::log);
        let targets = self.datapath.redirect_targets();
        let synced = blocking(|| self.steering.sync_devices(&targets));
        if self.datapath.attached() != before {
            // Next hops may lead by another index.
            self.watch();
        }
        attached.and(synced)
    }

    /// The mode in which no driver loses the program to the network stack because another one refuses it.
    pub(super) fn without_swap(&self, mode: AttachMode) -> AttachMode {
        let attached = self.datapath.attached();
        let is_native = !attached.is_empty() && attached.iter().all(|one| one.native);
        if mode == AttachMode::Auto && is_native { AttachMode::Native } else { mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(now: &[(&str, u32)]) -> Census {
        let attached = [("wan0", 4), ("lan0", 5)];
        let attached =
            attached.map(|(name, ifindex)| Attachment { ifindex, interface: name.to_owned(), native: true });
        let index = |name: &str| now.iter().find(|(other, _)| *other == name).map(|(_, index)| *index);
        Census::take(&["wan0".to_owned(), "lan0".to_owned()], &attached.each_ref(), index)
    }

    #[test]
    fn interfaces_are_followed_to_their_names_of_now() {
        let followed = |renamed: &[(&str, &str)]| {
            let mut interfaces = vec!["wan0".to_owned(), "lan0".to_owned()];
            let renamed: Vec<_> =
                renamed.iter().map(|(before, now)| ((*before).to_owned(), (*now).to_owned())).collect();
            rename(&mut interfaces, &renamed);
            interfaces.join(" ")
        };
        assert_eq!(followed(&[]), "wan0 lan0");
        assert_eq!(followed(&[("lan0", "lan9"), ("other", "lan0")]), "wan0 lan9");
        assert_eq!(followed(&[("lan0", "wan0"), ("wan0", "lan0")]), "lan0 wan0", "they have changed names");
        assert_eq!(followed(&[("wan0", "lan0")]), "lan0", "the one that had the name is gone");
    }

    #[test]
    fn nothing_has_changed() {
        let census = census(&[("wan0", 4), ("lan0", 5)]);
        assert!(!census.is_reason(Occasion::Announcement, None) && !census.is_reason(Occasion::Tick, None));
        assert_eq!(census.lost(None), None);
    }

    #[test]
    fn one_is_gone_and_comes_back_as_another() {
        let gone = census(&[("wan0", 4)]);
        assert!(!gone.is_reason(Occasion::Tick, None), "there is nothing to attach to");
        assert!(gone.lost(None).unwrap().to_string().starts_with("interface lan0 is gone"));
        let back = census(&[("wan0", 4), ("lan0", 9)]);
        assert!(back.is_reason(Occasion::Announcement, None) && back.is_reason(Occasion::Tick, None));
        assert_eq!(back.here, [("wan0".to_owned(), 4), ("lan0".to_owned(), 9)]);
        assert_eq!(back.lost(None), None);
    }

    #[test]
    fn what_was_refused_is_tried_again_with_ticks_or_when_it_is_another() {
        let (back, other) = (census(&[("wan0", 4), ("lan0", 9)]), census(&[("wan0", 4), ("lan0", 10)]));
        let since = Moment(Duration::from_secs(5));
        let refused = Refusal { problem: "no".to_owned(), here: back.here.clone(), since };
        let refused = Some(&refused);
        assert!(!back.is_reason(Occasion::Announcement, refused) && back.is_reason(Occasion::Tick, refused));
        assert!(other.is_reason(Occasion::Announcement, refused));
        let now = Moment(Duration::from_secs(7));
        assert_eq!(back.refused_since(refused, now), since);
        assert_eq!(other.refused_since(refused, now), now, "another one has its own time");
        assert_eq!(back.refused_since(None, now), now);
    }

    #[test]
    fn what_is_lost_is_told_whole() {
        let gone = census(&[("wan0", 4)]);
        let refusal =
            Refusal { problem: "busy".to_owned(), here: gone.here.clone(), since: Moment::default() };
        let told = gone.lost(Some(refusal)).unwrap().to_string();
        assert!(
            told.contains("lan0 is gone") && told.ends_with("; the program cannot be attached again: busy")
        );
    }
}
