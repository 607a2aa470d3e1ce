//! Interfaces that go and come back while the agent runs: a driver is loaded again, a modem is plugged in anew. The
//! program goes with the interface, and nobody but the agent puts it back.

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, start};
use crate::kernel::announcements::Announcements;
use crate::kernel::{Attachment, Error, interface_index};

/// What keeps the program off an interface that it should run on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// For people.
    pub(super) problem: String,
    /// The interface is there, and refused the program.
    refused: bool,
}

/// Tells the agent of changes of interfaces, as soon as the kernel announces them: an interface that is made anew is
/// announced before it is switched on, and packets that arrive before the program is there are answered by the kernel,
/// which knows none of their connections.
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
    /// Those that exist.
    here: Vec<String>,
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
            census.here.push(name.clone());
        }
        census
    }

    fn lost(&self) -> Option<Lost> {
        (!self.gone.is_empty()).then(|| {
            let problem = format!(
                "interface {} is gone: nothing is steered there until it is back, or datapath.interfaces is corrected",
                self.gone.join(", ")
            );
            Lost { problem, refused: false }
        })
    }
}

impl Agent {
    /// The kernel has announced a change of some interface.
    pub(super) fn interfaces_changed(&mut self) {
        // What was refused is tried again with the next tick: an attempt may be announced itself.
        if !self.lost.as_ref().is_some_and(|lost| lost.refused) {
            self.mind_interfaces();
        }
    }

    /// Attaches the program again where an interface was made anew under its name.
    pub(super) fn mind_interfaces(&mut self) {
        let census = Census::take(&self.interfaces, self.datapath.attached(), interface_index);
        let mut lost = census.lost();
        if census.anew {
            match blocking(|| self.attach_again(&census.here)) {
                Ok(()) => info!("attached again to {}", census.here.join(", ")),
                Err(error) => {
                    let problem =
                        format!("an interface is back, but the program cannot be attached: {error}");
                    lost = Some(Lost { problem, refused: true });
                }
            }
        }
        if lost != self.lost {
            match &lost {
                Some(Lost { problem, .. }) => warn!("{problem}"),
                None => info!("the program runs on all its interfaces again"),
            }
            self.lost = lost;
        }
    }

    fn attach_again(&mut self, here: &[String]) -> Result<(), Error> {
        let notices = self.datapath.attach(here, self.config.datapath.mode)?;
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
        assert!(back.anew && back.here == ["wan0", "lan0"]);
        assert_eq!(back.lost(), None);
    }
}
