//! Interfaces that go and come back while the agent runs: a driver is loaded again, a modem is plugged in anew. The
//! program goes with the interface, and nobody but the agent puts it back.

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, start};
use crate::config::AttachMode;
use crate::kernel::announcements::Announcements;
use crate::kernel::{Attachment, Error, interface_index};

/// What keeps the program off an interface that it should run on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// For people.
    pub(super) problem: String,
    /// Interfaces that were there when one of them refused the program.
    refused: Vec<(String, u32)>,
}

/// Tells the agent of changes of interfaces as soon as the kernel announces them. Packets that arrive by an interface that
/// was made anew, before the program is there, are the kernel's, which knows none of their connections.
pub(super) async fn follow(mut announcements: Announcements, changed: mpsc::Sender<()>) -> Result<(), Error> {
    while !changed.is_closed() {
        announcements.next().await?;
        // One that waits already stands for this one too.
        let _ = changed.try_send(());
    }
    Ok(())
}

/// How the interfaces that the program should run on compare with those that it runs on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Census {
    /// Those that do not exist.
    gone: Vec<String>,
    /// Those that exist, and their indices.
    here: Vec<(String, u32)>,
    /// Whether the program does not run on some of those: they have been made anew.
    anew: bool,
}

impl Census {
    fn take(wanted: &[String], attached: &[Attachment], index: impl Fn(&str) -> Option<u32>) -> Self {
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

    fn lost(&self) -> Option<Lost> {
        (!self.gone.is_empty()).then(|| {
            let problem = format!(
                "interface {} is gone: nothing is steered there until it is back, or datapath.interfaces is corrected",
                self.gone.join(", ")
            );
            Lost { problem, refused: Vec::new() }
        })
    }

    /// Whether an announcement is a reason to attach. What was refused is tried again with the next tick alone: an attempt
    /// may be announced itself.
    fn is_news(&self, lost: Option<&Lost>) -> bool {
        self.anew && lost.is_none_or(|lost| lost.refused != self.here)
    }
}

impl Agent {
    /// The kernel has announced a change of some interface. One that is not set up yet may refuse what it will not refuse in
    /// a moment, so with `mode = "auto"` it is left to the next tick to give in.
    pub(super) fn interfaces_changed(&mut self) {
        let census = self.census();
        if census.is_news(self.lost.as_ref()) {
            // As with each tick: the link of another interface may have lost its pin, which tells it from somebody else's.
            self.mind_pins();
            let configured = self.config.datapath.mode;
            let is_native = self.datapath.attached().iter().all(|one| one.native);
            let waits = configured == AttachMode::Auto && is_native;
            self.attach_anew(&census, if waits { AttachMode::Native } else { configured });
        } else if !self.is_refused() {
            self.note_lost(census.lost());
        }
    }

    /// Attaches the program again where an interface was made anew under its name.
    pub(super) fn mind_interfaces(&mut self) {
        let census = self.census();
        if census.anew || self.is_refused() {
            self.attach_anew(&census, self.config.datapath.mode);
        } else {
            self.note_lost(census.lost());
        }
    }

    fn is_refused(&self) -> bool {
        self.lost.as_ref().is_some_and(|lost| !lost.refused.is_empty())
    }

    fn census(&self) -> Census {
        Census::take(&self.interfaces, self.datapath.attached(), interface_index)
    }

    fn attach_anew(&mut self, census: &Census, mode: AttachMode) {
        let names: Vec<String> = census.here.iter().map(|(name, _)| name.clone()).collect();
        let lost = match blocking(|| self.attach_again(&names, mode)) {
            Ok(()) => {
                info!("attached again to {}", names.join(", "));
                census.lost()
            }
            Err(error) => {
                let problem = format!("an interface is back, but the program cannot be attached: {error}");
                Some(Lost { problem, refused: census.here.clone() })
            }
        };
        self.note_lost(lost);
    }

    fn note_lost(&mut self, lost: Option<Lost>) {
        if lost != self.lost {
            match &lost {
                Some(Lost { problem, .. }) => warn!("{problem}"),
                None => info!("the program runs on all its interfaces again"),
            }
            self.lost = lost;
        }
    }

    fn attach_again(&mut self, here: &[String], mode: AttachMode) -> Result<(), Error> {
        let notices = self.datapath.attach(here, mode)?;
        notices.iter().for_each(start::log);
        self.steering.sync_devices(&self.datapath.redirect_targets())?;
        // Next hops may lead by another index.
        self.watch();
        Ok(())
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
        Census::take(&["wan0".to_owned(), "lan0".to_owned()], &attached, index)
    }

    #[test]
    fn nothing_has_changed() {
        let census = census(&[("wan0", 4), ("lan0", 5)]);
        assert!(!census.anew);
        assert_eq!(census.lost(), None);
    }

    #[test]
    fn one_is_gone_and_comes_back_as_another() {
        let gone = census(&[("wan0", 4)]);
        assert!(!gone.anew, "there is nothing to attach to");
        assert!(gone.lost().unwrap().problem.starts_with("interface lan0 is gone"));
        let back = census(&[("wan0", 4), ("lan0", 9)]);
        assert!(back.anew && back.here == [("wan0".to_owned(), 4), ("lan0".to_owned(), 9)]);
        assert_eq!(back.lost(), None);
    }

    #[test]
    fn what_was_refused_is_tried_again_when_it_is_another() {
        let (back, other) = (census(&[("wan0", 4), ("lan0", 9)]), census(&[("wan0", 4), ("lan0", 10)]));
        let refused = Lost { problem: "no".to_owned(), refused: back.here.clone() };
        assert!(back.is_news(None) && back.is_news(census(&[("wan0", 4)]).lost().as_ref()));
        assert!(!back.is_news(Some(&refused)) && other.is_news(Some(&refused)));
        assert!(!census(&[("wan0", 4), ("lan0", 5)]).is_news(None), "it runs there");
    }
}
