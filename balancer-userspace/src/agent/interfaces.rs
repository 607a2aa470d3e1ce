//! Interfaces that go and come back while the agent runs: a driver is loaded again, a modem is plugged in anew. The
//! program goes with the interface, and nobody but the agent puts it back.

use tracing::{info, warn};

use super::core::Agent;
use super::{blocking, start};
use crate::kernel::{Attachment, Error, interface_index};

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

    /// What is wrong, for people.
    fn problem(&self) -> Option<String> {
        (!self.gone.is_empty()).then(|| {
            format!(
                "interface {} is gone: nothing is steered there until it is back, or datapath.interfaces is corrected",
                self.gone.join(", ")
            )
        })
    }
}

impl Agent {
    /// Attaches the program again where an interface was made anew under its name.
    pub(super) fn mind_interfaces(&mut self) {
        let census = Census::take(&self.interfaces, self.datapath.attached(), interface_index);
        let mut problem = census.problem();
        if census.anew {
            match blocking(|| self.attach_again(&census.here)) {
                Ok(()) => info!("attached again to {}", census.here.join(", ")),
                Err(error) => {
                    problem =
                        Some(format!("an interface is back, but the program cannot be attached: {error}"));
                }
            }
        }
        if problem != self.lost {
            match &problem {
                Some(problem) => warn!("{problem}"),
                None => info!("the program runs on all its interfaces again"),
            }
            self.lost = problem;
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
        assert_eq!(census.problem(), None);
    }

    #[test]
    fn one_is_gone_and_comes_back_as_another() {
        let gone = census(&[("wan0", 4)]);
        assert!(!gone.anew, "there is nothing to attach to");
        assert!(gone.problem().unwrap().starts_with("interface lan0 is gone"));
        let back = census(&[("wan0", 4), ("lan0", 9)]);
        assert!(back.anew && back.here == ["wan0", "lan0"]);
        assert_eq!(back.problem(), None);
    }
}
