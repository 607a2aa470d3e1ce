//! Upgrades that are cut short, and what the next start makes of them.

use balancer_common::abi::{Pace, ServiceId, names};

use super::super::{Site, attach, chain, in_namespace};
use super::{flow, flows, key, one};
use crate::config::AttachMode;
use crate::kernel::pins::Pins;
use crate::kernel::records::Records;
use crate::kernel::upgrade::Upgrade;
use crate::kernel::{Datapath, Notice, Options, Sizes, Steering, plan, sys};

/// Options that ask for a larger table.
fn larger(site: &Site) -> Options {
    let mut options = site.options();
    options.upgrade = true;
    options.sizes.flows4 *= 2;
    options
}

/// A program that runs, with a flow, and an upgrade of it that was killed before the directories changed places.
fn interrupted() -> (Site, Options) {
    let site = Site::new();
    let mut old = site.open();
    attach(&mut old, &one(), AttachMode::Native).unwrap();
    old.maps.flows.v4.insert(&key(1), &flow(3)).unwrap();
    drop(old);
    let options = larger(&site);
    drop(Datapath::open(&options).unwrap());
    (site, options)
}

fn change_places(pins: &Pins) {
    std::fs::rename(pins.setup().dir(), pins.next().dir()).unwrap();
    sys::bytes::exchange(pins.next().dir(), pins.dir()).unwrap();
}

/// Killed before the directories changed places, and after.
#[test]
#[ignore = "needs root and BPF"]
fn an_interrupted_upgrade_is_begun_anew_or_completed() {
    in_namespace(|| {
        let (site, options) = interrupted();
        let pins = Pins::new(&site.pin_dir);
        assert!(pins.setup().dir().exists());

        let late = crate::kernel::Flows::open(&site.pin_dir).unwrap();
        drop(Datapath::open(&options).unwrap());
        late.v4.insert(&key(2), &flow(4)).unwrap();
        change_places(&pins);
        let mut new = Datapath::open(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let notices = attach(&mut new, &one(), AttachMode::Native).unwrap();
        assert_eq!(notices, [Notice::Replaced { interface: "one".to_owned() }]);
        assert_eq!(flows(&mut new), [(key(1), flow(3)), (key(2), flow(4))]);
        assert!(!pins.next().dir().exists());
    });
}

/// The directories have changed places, and then a link refused: the old program still runs, on the old maps.
#[test]
#[ignore = "needs root and BPF"]
fn who_goes_back_after_a_refused_link_has_the_flows_of_now() {
    in_namespace(|| {
        let (site, larger) = interrupted();
        let pins = Pins::new(&site.pin_dir);
        change_places(&pins);
        pins.take_links(&pins.next()).unwrap();
        let late = crate::kernel::Flows::open(pins.next().dir()).unwrap();
        late.v4.insert(&key(2), &flow(4)).unwrap();

        assert_eq!(plan(&site.options()).unwrap(), None, "nothing has to be carried over to go back");
        let even_larger = Sizes { flows4: 80_000, ..larger.sizes };
        let planned = plan(&Options { sizes: even_larger, ..larger }).unwrap().unwrap();
        assert_eq!(planned.flows4, 2);
        let mut back = site.open();
        assert_eq!(back.notices[0], Notice::UpgradeUndone { path: site.pin_dir.clone() });
        let notices = attach(&mut back, &one(), AttachMode::Native).unwrap();
        assert_eq!(notices, [Notice::Kept { interface: "one".to_owned() }]);
        assert_eq!(flows(&mut back), [(key(1), flow(3)), (key(2), flow(4))]);
        assert!(!pins.setup().dir().exists() && !pins.next().dir().exists(), "nothing is left of it");
    });
}

/// Flows of the copy have ended meanwhile.
#[test]
#[ignore = "needs root and BPF"]
fn who_goes_back_after_an_interrupted_upgrade_has_the_flows_of_now() {
    in_namespace(|| {
        let (site, _) = interrupted();
        // The program that runs on sees the flow end, and it is swept.
        let all: Vec<u32> = (0..28_000).collect();
        let writer = crate::kernel::Flows::open(&site.pin_dir).unwrap();
        writer.v4.remove(&all, |_| Some(()), |_, ()| ()).unwrap();
        let mut back = site.open();
        attach(&mut back, &one(), AttachMode::Native).unwrap();
        assert_eq!(flows(&mut back), []);
        let pins = Pins::new(&site.pin_dir);
        assert!(!pins.setup().dir().exists() && !pins.next().dir().exists(), "nothing is left of it");
    });
}

/// Killed while the old maps were given back.
#[test]
#[ignore = "needs root and BPF"]
fn old_maps_that_were_half_given_back_are_no_obstacle() {
    in_namespace(|| {
        let (site, larger) = interrupted();
        let pins = Pins::new(&site.pin_dir);
        std::fs::remove_file(pins.setup().dir().join(names::FLOWS4)).unwrap();
        let new = Datapath::open(&larger).unwrap_or_else(|error| panic!("{}", chain(&error)));
        drop(new);
        assert!(pins.setup().dir().join(names::FLOWS4).exists(), "it has begun anew");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pause_that_was_killed_ends_with_the_next() {
    in_namespace(|| {
        let site = Site::new();
        drop(site.open());
        let _new = Datapath::open(&larger(&site)).unwrap();
        let pins = Pins::new(&site.pin_dir);
        let again = || Upgrade::resume((pins.dir(), &Records::ours()), pins.setup().dir()).unwrap();
        let pace = || Steering::open(pins.dir()).unwrap().service_pace(ServiceId(0)).unwrap().pace;
        std::mem::forget(again().settle().unwrap());
        assert_ne!(pace(), Pace::FREE, "SYNs are discarded");
        drop(again().settle().unwrap());
        assert_eq!(pace(), Pace::FREE);
    });
}
