use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Array, MapData};
use balancer_common::abi::{ABI_VERSION, BackendId, Flow, FlowKey4, FlowState, Settings, names};
use caps::{CapSet, Capability};

use super::{Site, attach, chain, in_namespace, ip, programs};
use crate::config::AttachMode;
use crate::kernel::device::XdpFeatures;
use crate::kernel::net::{AttachedProgram, Link};
use crate::kernel::{Datapath, Error, Notice, Opened, detach, stranger, sys};

fn names(interfaces: &[&str]) -> Vec<String> {
    interfaces.iter().map(|name| (*name).to_owned()).collect()
}

fn put_flow(opened: &mut Opened) -> FlowKey4 {
    let key = FlowKey4 { client: [192, 0, 2, 7], port: [1, 2], ..FlowKey4::default() };
    let flow = Flow { state: FlowState::open(BackendId(3), 5), last_seen: 5, ..Flow::default() };
    opened.maps.flows.v4.insert(&key, &flow).unwrap();
    key
}

#[test]
#[ignore = "needs root and BPF"]
fn a_restart_adopts_maps_and_keeps_the_same_program() {
    in_namespace(|| {
        let site = Site::new();
        let mut first = site.open();
        assert!(!first.adopted);
        let notices = attach(&mut first, &names(&["one"]), AttachMode::Native).unwrap();
        assert_eq!(notices, [Notice::Attached { interface: "one".to_owned(), native: true }]);
        assert!(first.datapath.redirect_targets().len() == 1);
        let key = put_flow(&mut first);
        let before = programs("one");
        assert_eq!(before.len(), 1);
        let hash_key = first.maps.steering.settings().unwrap().hash_key;
        drop(first);
        assert_eq!(programs("one"), before, "the program outlives the agent");

        let mut second = site.open();
        assert!(second.adopted);
        assert!(second.maps.flows.v4.get(&key).unwrap().is_some());
        assert_eq!(second.maps.steering.settings().unwrap().hash_key, hash_key);
        let notices = attach(&mut second, &names(&["one"]), AttachMode::Auto).unwrap();
        assert_eq!(notices, [Notice::Kept { interface: "one".to_owned() }]);
        assert_eq!(programs("one"), before);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn another_program_on_our_link_is_replaced() {
    in_namespace(|| {
        let (site, other) = (Site::new(), Site::new());
        let mut first = site.open();
        attach(&mut first, &names(&["one"]), AttachMode::Native).unwrap();
        // The same instructions, but with other maps: what it steers by is not what is pinned here.
        let mut stranger = other.open();
        let program = stranger.datapath.program().unwrap().fd().unwrap().as_fd();
        let pins = crate::kernel::pins::Pins::new(&site.pin_dir);
        let pinned = pins.links().unwrap();
        let link = sys::obj_get(&pins.link(pinned[0])).unwrap();
        sys::link_update(link.as_fd(), program).unwrap();
        drop((first, stranger, link));
        let before = programs("one");

        let mut second = site.open();
        let notices = attach(&mut second, &names(&["one"]), AttachMode::Native).unwrap();
        assert_eq!(notices, [Notice::Replaced { interface: "one".to_owned() }]);
        let ours = second.datapath.program().unwrap().info().unwrap().id();
        assert_ne!(programs("one"), before);
        assert_eq!(programs("one")[0].id, ours);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_second_agent_is_refused() {
    in_namespace(|| {
        let site = Site::new();
        let _first = site.open();
        let refused = Datapath::open(&site.options()).err().unwrap();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        let refused = detach(&site.pin_dir, &site.lock_path()).unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn another_layout_is_refused_with_what_would_be_lost() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        put_flow(&mut opened);
        drop(opened);

        let mut options = site.options();
        options.sizes.flows4 *= 2;
        let refused = Datapath::open(&options).err().unwrap().to_string();
        assert!(
            refused.contains("number of entries of FLOWS4: pinned is 28000, wanted is 56000"),
            "{refused}"
        );
        assert!(refused.contains("lose 1 IPv4 and 0 IPv6 flows"), "{refused}");

        options = site.options();
        options.sizes.services = 3;
        let refused = Datapath::open(&options).err().unwrap().to_string();
        assert!(refused.contains("room for services: pinned is 2, wanted is 3"), "{refused}");
        options.sizes.services = 1;
        let opened = Datapath::open(&options).unwrap();
        assert_eq!(opened.maps.steering.service_limit(), 2, "more room than wanted is kept");
        drop(opened);

        std::fs::remove_file(site.pin_dir.join(names::TRAFFIC)).unwrap();
        let refused = Datapath::open(&site.options()).err().unwrap().to_string();
        assert!(refused.contains("TRAFFIC: pinned is missing"), "{refused}");

        let data = MapData::from_pin(site.pin_dir.join(names::SETTINGS)).unwrap();
        let mut settings =
            Array::<_, Settings>::try_from(aya::maps::Map::from_map_data(data).unwrap()).unwrap();
        let before = settings.get(&0, 0).unwrap();
        settings.set(0, Settings { abi_version: ABI_VERSION + 7, ..before }, 0).unwrap();
        let refused = Datapath::open(&site.options()).err().unwrap().to_string();
        let wanted = format!("pinned is {}, wanted is {ABI_VERSION}", ABI_VERSION + 7);
        assert!(refused.contains(&wanted), "{refused}");
        assert!(refused.contains("lose 1 IPv4"), "{refused}");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn foreign_pins_are_refused_and_left_alone() {
    in_namespace(|| {
        let site = Site::new();
        drop(site.open());
        let stranger = Array::<MapData, u32>::create(1, 0).unwrap();
        let path = site.pin_dir.join("stranger");
        stranger.pin(&path).unwrap();
        let refused = Datapath::open(&site.options()).err().unwrap();
        assert!(matches!(&refused, Error::ForeignPin { path: found, .. } if *found == path), "{refused}");

        let detached = detach(&site.pin_dir, &site.lock_path()).unwrap();
        assert_eq!(detached.foreign, std::slice::from_ref(&path));
        assert!(path.exists());
        let refused = Datapath::open(&site.options()).err().unwrap();
        assert!(matches!(refused, Error::ForeignPin { .. }), "{refused}");
        std::fs::remove_file(path).unwrap();

        // With nothing left in it, the directory may be used.
        let opened = site.open();
        assert!(!opened.adopted);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn what_an_interrupted_start_left_is_removed() {
    in_namespace(|| {
        let site = Site::new();
        let setup = crate::kernel::pins::Pins::new(&site.pin_dir).setup();
        setup.create().unwrap();
        let leftover = Array::<MapData, u32>::create(1, 0).unwrap();
        leftover.pin(setup.dir().join(names::SCORES)).unwrap();
        let opened = site.open();
        assert!(opened.notices.contains(&Notice::LeftoverRemoved { path: setup.dir().to_owned() }));
        assert!(!setup.dir().exists());
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_of_somebody_else_is_refused() {
    in_namespace(|| {
        let (site, other) = (Site::new(), Site::new());
        let mut theirs = other.open();
        attach(&mut theirs, &names(&["one"]), AttachMode::Native).unwrap();
        let before = programs("one");
        let mut ours = site.open();
        for mode in [AttachMode::Auto, AttachMode::Generic] {
            let refused = attach(&mut ours, &names(&["one"]), mode).unwrap_err();
            let Error::Occupied { interface, id, name, kind } = &refused else { panic!("{refused}") };
            assert_eq!((interface.as_str(), *id, name.as_str()), ("one", before[0].id, names::PROGRAM));
            assert_eq!(*kind, "xdpdrv");
        }
        let refused = attach(&mut ours, &names(&["one", "two"]), AttachMode::Auto).unwrap_err();
        assert!(matches!(refused, Error::Occupied { .. }), "{refused}");
        let attached = ours.datapath.attached();
        assert!(attached.len() == 1 && attached[0].interface == "two" && attached[0].native, "{attached:?}");
        assert_eq!(programs("one"), before);
        // The loopback interface has no driver to run it; no other driver loses it for what is refused anyway.
        let refused = attach(&mut ours, &names(&["two", "lo", "one"]), AttachMode::Auto).unwrap_err();
        assert!(matches!(refused, Error::Occupied { .. }), "{refused}");
        assert!(programs("two")[0].native && programs("lo").is_empty());
        // What a refused list does not have runs on, and packets may leave there.
        drop(ours);
        let mut ours = site.open();
        attach(&mut ours, &names(&["one"]), AttachMode::Auto).unwrap_err();
        assert_eq!(ours.datapath.redirect_targets().len(), 1);
        let refused = attach(&mut ours, &names(&["three"]), AttachMode::Auto).unwrap_err();
        assert!(matches!(&refused, Error::NoInterface { name } if name == "three"), "{refused}");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_program_that_is_neither_pinned_nor_called_as_ours_is_a_strangers() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        attach(&mut opened, &names(&["one"]), AttachMode::Auto).unwrap();
        let running = |xdp| Link { name: "one".to_owned(), xdp, ..Link::default() };
        let (here, elsewhere) = (site.pin_dir.as_path(), Path::new("/nowhere"));
        assert!(stranger(&running(programs("one")), elsewhere).is_none(), "by its name");
        assert!(stranger(&running(Vec::new()), here).is_none());
        let gone = AttachedProgram { id: u32::MAX, native: false };
        let told = stranger(&running(vec![gone]), here).unwrap().to_string();
        assert!(
            told.contains("name unknown") && told.contains("ip link set dev one xdpgeneric off"),
            "{told}"
        );
        // As the agent's own user, who may not ask for the names of programs.
        caps::drop(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap();
        let (pinned, unknown) =
            (stranger(&running(programs("one")), here), stranger(&running(programs("one")), elsewhere));
        caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap();
        assert!(pinned.is_none(), "{pinned:?}");
        assert!(unknown.is_some(), "the name is not to be had");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn modes_fall_back_or_refuse() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        // The loopback interface has no native XDP.
        let refused = attach(&mut opened, &names(&["lo"]), AttachMode::Native).unwrap_err();
        assert!(chain(&refused).contains("cannot attach to interface lo in native mode"), "{refused}");
        attach(&mut opened, &names(&["one"]), AttachMode::Auto).unwrap();
        assert!(programs("one")[0].native);
        let refused = attach(&mut opened, &names(&["one"]), AttachMode::Generic).unwrap_err();
        assert!(matches!(refused, Error::ModeDiffers { .. }), "{refused}");
        let refused = attach(&mut opened, &names(&["lo", "one"]), AttachMode::Native).unwrap_err();
        assert!(matches!(&refused, Error::DriverRefuses { interface, .. } if interface == "lo"), "{refused}");
        assert!(programs("one")[0].native, "a refusal changes nothing");

        // What came in by a driver could not leave by the loopback interface.
        let notices = attach(&mut opened, &names(&["one", "lo"]), AttachMode::Auto).unwrap();
        let warnings: Vec<_> = notices.iter().filter(|notice| notice.is_warning()).collect();
        assert!(
            matches!(
                &warnings[..],
                [Notice::Generic { interface: lo, .. }, Notice::TakenFromDriver { interface: one }]
                    if lo == "lo" && one == "one"
            ),
            "{notices:?}"
        );
        assert!(!programs("lo")[0].native && !programs("one")[0].native);
        assert_eq!(opened.datapath.redirect_targets().len(), 2);
        let refused = attach(&mut opened, &names(&["one"]), AttachMode::Native).unwrap_err();
        assert!(matches!(refused, Error::ModeDiffers { .. }), "{refused}");

        let notices = attach(&mut opened, &names(&["one"]), AttachMode::Auto).unwrap();
        assert!(notices.iter().any(|notice| matches!(notice, Notice::Detached { .. })));
        assert!(programs("lo").is_empty());
        assert!(!programs("one")[0].native, "one that runs is not given back to its driver");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn no_driver_is_given_a_program_that_another_cannot_run() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        let notices = attach(&mut opened, &names(&["one", "lo"]), AttachMode::Auto).unwrap();
        let taken = notices.iter().any(|notice| matches!(notice, Notice::TakenFromDriver { .. }));
        // Before Linux 6.3 only an attempt tells.
        assert_eq!(taken, XdpFeatures::of(1).unwrap().is_none(), "{notices:?}");
        assert!(!programs("lo")[0].native && !programs("one")[0].native);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_link_that_somebody_detached_is_made_anew() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        attach(&mut opened, &names(&["one", "two"]), AttachMode::Auto).unwrap();
        let attached = opened.datapath.attached().to_vec();
        let link = sys::obj_get(&site.pin_dir.join(format!("link_{}", attached[0].ifindex))).unwrap();
        sys::link_detach(link.as_fd()).unwrap();
        assert!(!opened.datapath.still_runs(&attached[0]) && opened.datapath.still_runs(&attached[1]));
        assert!(programs("one").is_empty());
        attach(&mut opened, &names(&["one", "two"]), AttachMode::Auto).unwrap();
        assert!(opened.datapath.still_runs(&attached[0]));
        assert_eq!(programs("one").len(), 1);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn attaching_finds_what_somebody_unpinned() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        attach(&mut opened, &names(&["one"]), AttachMode::Auto).unwrap();
        let before = programs("one");
        std::fs::remove_dir_all(&site.pin_dir).unwrap();
        let refused = attach(&mut opened, &names(&["one", "three"]), AttachMode::Auto).unwrap_err();
        assert!(matches!(refused, Error::NoInterface { .. }), "{refused}");
        assert_eq!((programs("one"), opened.datapath.attached().len()), (before, 1));
        assert!(site.pin_dir.exists());
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_lost_interface_and_detaching() {
    in_namespace(|| {
        let site = Site::new();
        let mut opened = site.open();
        attach(&mut opened, &names(&["one"]), AttachMode::Auto).unwrap();
        ip("link del one");
        ip("link add one type veth peer name two");
        ip("link set one up");
        ip("link set two up");
        // Whether or not the kernel gives out the same index again, the old pin goes and the new interface is steered.
        attach(&mut opened, &names(&["one"]), AttachMode::Auto).unwrap();
        assert_eq!(programs("one").len(), 1);
        drop(opened);

        let detached = detach(&site.pin_dir, &site.lock_path()).unwrap();
        assert_eq!((detached.interfaces.len(), detached.foreign.len()), (1, 0));
        assert!(detached.maps > 15);
        assert!(!site.pin_dir.exists());
        assert!(programs("one").is_empty());
        let again = detach(&site.pin_dir, &site.lock_path()).unwrap();
        assert_eq!(again, crate::kernel::Detached::default(), "nothing is left to detach");
    });
}
