mod interrupted;

use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData};
use balancer_common::abi::flow_table::{FlowOwner, OwnerKey as _};
use balancer_common::abi::half_open_set::{Place, tag};
use balancer_common::abi::{
    ABI_VERSION, BackendId, Flow, FlowEntry, FlowKey4, FlowKey6, FlowState, HalfOpen, HalfOpenEntry,
    HalfOpenTags, Hop, ServiceId, Settings, Shielded, names,
};

use super::{Site, attach, chain, in_namespace, programs};
use crate::config::AttachMode;
use crate::kernel::pins::Pins;
use crate::kernel::records::{Field, Records};
use crate::kernel::upgrade::{LAYOUT, Plan, write_text};
use crate::kernel::{Datapath, FlowKey, Notice, Opened, PinState, pin_state, plan};

fn one() -> Vec<String> {
    vec!["one".to_owned()]
}

const fn key(port: u8) -> FlowKey4 {
    FlowKey4 { client: [192, 0, 2, 7], port: [1, port], service: ServiceId(0) }
}

fn flow(backend: u16) -> Flow {
    Flow { state: FlowState::open(BackendId(backend), 5), last_seen: 5, acked: 77, ..Flow::default() }
}

/// A flow with numbers.
fn shielded(backend: u16) -> (Flow, Shielded) {
    let plain = flow(backend);
    let numbers = Shielded { shift: 4321, backend_isn: 8765, at: 5, reserved: 0 };
    (Flow { state: plain.state.with(FlowState::SHIELDED), ..plain }, numbers)
}

fn array<V: aya::Pod>(dir: &Path, name: &str) -> Array<MapData, V> {
    let data = MapData::from_pin(dir.join(name)).unwrap();
    Map::from_map_data(data).unwrap().try_into().unwrap()
}

/// Puts a half-open connection where the program would.
fn put_half_open(dir: &Path, key: FlowKey4, half: HalfOpen) {
    let hash_key = array::<Settings>(dir, names::SETTINGS).get(&0, 0).unwrap().half_open_key;
    let place = Place::of(key.words(), hash_key);
    let mut tags = array::<HalfOpenTags>(dir, names::HALF_OPEN_TAGS);
    let mut set = tags.get(&place.set, 0).unwrap();
    set.0[5] = tag(place.mark, 1 << 40);
    tags.set(place.set, set, 0).unwrap();
    let mut entries = array::<HalfOpenEntry<FlowKey4>>(dir, names::HALF_OPEN4);
    entries.set(place.entry(5), HalfOpenEntry { key, half }, 0).unwrap();
}

fn flows(opened: &mut Opened) -> Vec<(FlowKey4, Flow)> {
    let mut flows = Vec::new();
    opened.maps.flows.v4.for_each(|key, flow| flows.push((key, flow))).unwrap();
    flows.sort_by_key(|(key, _)| key.port);
    flows
}

/// Larger tables: flows move with their numbers, the program is replaced on its link, and the directory is one again.
#[test]
#[ignore = "needs root and BPF"]
fn flows_move_to_tables_of_another_size() {
    in_namespace(|| {
        let site = Site::new();
        let mut old = site.open();
        attach(&mut old, &one(), AttachMode::Native).unwrap();
        let hash_key = old.maps.steering.settings().unwrap().hash_key;
        let (of_cookie, numbers) = shielded(3);
        old.maps.flows.shielded4.insert(&key(1), &numbers).unwrap();
        old.maps.flows.v4.insert(&key(1), &of_cookie).unwrap();
        let half = HalfOpen { backend: BackendId(3), client_isn: 1000, at: 5, ..HalfOpen::default() };
        put_half_open(&site.pin_dir, key(9), half);
        let before = programs("one");
        // The old program steers on: what it makes a flow of meanwhile is carried over too.
        let mut late = crate::kernel::Flows::open(&site.pin_dir).unwrap();
        drop(old);

        let mut options = site.options();
        options.sizes.flows4 *= 2;
        let planned = plan(&options).unwrap().unwrap();
        assert_eq!((planned.flows4, planned.flows6, planned.obstacles.len()), (1, 0, 0));
        assert_eq!(planned.half_open, Some(1));
        assert!(planned.to_string().contains("FLOWS4: pinned is 28000, wanted is 56000"), "{planned}");
        options.upgrade = true;
        let mut new = Datapath::open(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(new.adopted);
        assert_eq!(flows(&mut new), [(key(1), of_cookie)]);
        assert_eq!(new.maps.flows.shielded4.get(&key(1)).unwrap(), Some(numbers));
        assert_eq!(programs("one"), before, "the old program runs until the new one is attached");
        let (late_flow, late_numbers) = shielded(4);
        late.shielded4.insert(&key(2), &late_numbers).unwrap();
        late.v4.insert(&key(2), &late_flow).unwrap();
        let notices = attach(&mut new, &one(), AttachMode::Native).unwrap();
        assert_eq!(notices, [Notice::Replaced { interface: "one".to_owned() }]);
        assert_eq!(flows(&mut new), [(key(1), of_cookie), (key(2), late_flow)]);
        assert_eq!(new.maps.flows.shielded4.get(&key(2)).unwrap(), Some(late_numbers));
        assert_eq!(new.maps.steering.settings().unwrap().hash_key, hash_key);
        assert_eq!(new.maps.flows.v4.capacity(), 40_000);
        assert_eq!(new.maps.flows.half_open(&FlowKey::V4(key(9))).unwrap(), Some(half));
        assert_eq!(new.maps.flows.half_open(&FlowKey::V4(key(8))).unwrap(), None);
        drop(new);

        assert!(!Pins::new(&site.pin_dir).next().dir().exists(), "the old maps are given back");
        assert_eq!(pin_state(&site.pin_dir).unwrap(), PinState::Ours { interfaces: 1 });
        assert_eq!(plan(&options).unwrap(), None);
        let mut again = Datapath::open(&options).unwrap();
        assert_eq!(flows(&mut again).len(), 2);
        let notices = attach(&mut again, &one(), AttachMode::Native).unwrap();
        assert_eq!(notices, [Notice::Kept { interface: "one".to_owned() }]);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_table_that_is_too_small_is_refused() {
    in_namespace(|| {
        let site = Site::new();
        let old = site.open();
        for port in 0..200 {
            old.maps.flows.v4.insert(&key(port), &flow(3)).unwrap();
        }
        drop(old);
        let mut options = site.options();
        options.upgrade = true;
        options.sizes.flows4 = 100;
        let refused = Datapath::open(&options).err().unwrap().to_string();
        assert!(refused.contains("FLOWS4 holds 200 flows, and would have room for 100"), "{refused}");
        assert_eq!(flows(&mut site.open()).len(), 200, "nothing was changed");
    });
}

/// Describes the maps as another version would.
fn describe(dir: &Path, version: u32, change: impl FnOnce(&mut Records)) {
    let mut records = Records::ours();
    records.version = version;
    change(&mut records);
    std::fs::remove_file(dir.join(LAYOUT)).unwrap();
    write_text(dir, &records).unwrap();
    let mut settings = array::<Settings>(dir, names::SETTINGS);
    let before = settings.get(&0, 0).unwrap();
    settings.set(0, Settings { abi_version: version, ..before }, 0).unwrap();
}

/// Makes the IPv4 flow table what a version with one more field in it would have made, which holds these flows.
fn with_a_field_more(dir: &Path, version: u32, flows: &[(FlowKey4, Flow, u64)]) {
    const SIZE: usize = size_of::<FlowEntry>() + 8;
    describe(dir, version, |records| {
        let (_, value) = records.maps.get_mut(names::FLOWS4).unwrap();
        value.size = SIZE;
        value.fields.iter_mut().for_each(|field| field.at += 8);
        value.fields.push(Field { name: "delta".to_owned(), at: 0, size: 8 });
    });
    let mut table = Array::<MapData, [u8; SIZE]>::create(1000, 0).unwrap();
    for (index, (key, flow, delta)) in (0..).zip(flows) {
        let FlowOwner { client, rest } = key.owner();
        let words = [*delta, client[0], client[1], rest, flow.state.0];
        let mut value = [0; SIZE];
        value[..40].copy_from_slice(words.map(u64::to_ne_bytes).as_flattened());
        value[40..44].copy_from_slice(&flow.last_seen.to_ne_bytes());
        value[44..48].copy_from_slice(&flow.acked.to_ne_bytes());
        table.set(index, value, 0).unwrap();
    }
    // What is left of a flow that was removed is nothing that has to be carried.
    let mut left = [0xff; SIZE];
    left[32..40].fill(0);
    table.set(999, left, 0).unwrap();
    std::fs::remove_file(dir.join(names::FLOWS4)).unwrap();
    table.pin(dir.join(names::FLOWS4)).unwrap();
}

/// Makes the flow tables hash maps by key, as versions before 6 did; the IPv4 one holds these flows.
fn with_hash_maps(dir: &Path, version: u32, flows: &[(FlowKey4, Flow)], change: impl FnOnce(&mut Records)) {
    describe(dir, version, |records| {
        for (table, numbers) in [(names::FLOWS4, names::SHIELDED4), (names::FLOWS6, names::SHIELDED6)] {
            let key = records.maps[numbers].0.clone();
            records.maps.insert(table.to_owned(), (key, crate::kernel::records::flow()));
        }
        change(records);
    });
    let mut four = HashMap::<MapData, FlowKey4, Flow>::create(1000, 0).unwrap();
    for (key, flow) in flows {
        four.insert(key, flow, 0).unwrap();
    }
    let six = HashMap::<MapData, FlowKey6, Flow>::create(1000, 0).unwrap();
    std::fs::remove_file(dir.join(names::FLOWS4)).unwrap();
    std::fs::remove_file(dir.join(names::FLOWS6)).unwrap();
    four.pin(dir.join(names::FLOWS4)).unwrap();
    six.pin(dir.join(names::FLOWS6)).unwrap();
}

#[test]
#[ignore = "needs root and BPF"]
fn flows_of_a_version_that_knows_more_are_carried_unless_they_use_it() {
    in_namespace(|| {
        let site = Site::new();
        drop(site.open());
        let newer = ABI_VERSION + 1;
        with_a_field_more(&site.pin_dir, newer, &[(key(1), flow(3), 0), (key(2), flow(4), 9)]);
        assert_eq!(pin_state(&site.pin_dir).unwrap(), PinState::Other { version: newer });
        let mut options = site.options();
        let refused = Datapath::open(&options).err().unwrap().to_string();
        assert!(refused.contains(&format!("pinned is {newer}, wanted is {ABI_VERSION}")), "{refused}");
        options.upgrade = true;
        let refused = Datapath::open(&options).err().unwrap().to_string();
        assert!(refused.contains("1 flows in FLOWS4 use delta"), "{refused}");

        with_a_field_more(&site.pin_dir, newer, &[(key(1), flow(3), 0), (key(2), flow(4), 0)]);
        let mut opened = Datapath::open(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(flows(&mut opened), [(key(1), flow(3)), (key(2), flow(4))]);
        attach(&mut opened, &one(), AttachMode::Native).unwrap();
        drop(opened);
        assert_eq!(pin_state(&site.pin_dir).unwrap(), PinState::Ours { interfaces: 1 });
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn room_for_services_is_kept_across_versions() {
    in_namespace(|| {
        let site = Site::new();
        let mut options = site.options();
        options.sizes.services = 5;
        drop(Datapath::open(&options).unwrap_or_else(|error| panic!("{}", chain(&error))));
        with_a_field_more(&site.pin_dir, ABI_VERSION + 1, &[(key(1), flow(3), 0)]);
        // Services that are configured, or have flows, have ids up to the last.
        options = site.options();
        options.upgrade = true;
        assert!(options.sizes.services < 5);
        let opened = Datapath::open(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(opened.maps.steering.service_limit(), 5);
    });
}

/// Upgrades maps of another version, whose flows are these. Returns what was planned.
fn carry_over(site: &Site, expected: &[(FlowKey4, Flow)]) -> Plan {
    let mut options = site.options();
    options.upgrade = true;
    let planned = plan(&options).unwrap().unwrap();
    let mut new = Datapath::open(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
    attach(&mut new, &one(), AttachMode::Native).unwrap();
    assert_eq!(flows(&mut new), expected);
    assert_eq!(pin_state(&site.pin_dir).unwrap(), PinState::Ours { interfaces: 1 });
    planned
}

/// What versions before 6 made.
#[test]
#[ignore = "needs root and BPF"]
fn flows_of_a_hash_map_are_carried() {
    in_namespace(|| {
        const WITH_HASH_MAPS: u32 = 1 << 16 | 5;
        let site = Site::new();
        drop(site.open());
        let flow =
            Flow { hop: Hop { ifindex: 7, neighbour: [1; 6], own: [2; 6], ..Hop::default() }, ..flow(3) };
        with_hash_maps(&site.pin_dir, WITH_HASH_MAPS, &[(key(1), flow)], |_| {});
        let planned = carry_over(&site, &[(key(1), flow)]);
        assert_eq!((planned.flows4, planned.flows6, planned.obstacles.len()), (1, 0, 0), "{planned}");
    });
}

/// A version that shields no flows has no maps for their numbers.
#[test]
#[ignore = "needs root and BPF"]
fn flows_of_a_version_without_a_shield_are_carried() {
    in_namespace(|| {
        const WITHOUT_SHIELD: u32 = 3;
        let site = Site::new();
        drop(site.open());
        for name in [names::SHIELDED4, names::SHIELDED6] {
            std::fs::remove_file(site.pin_dir.join(name)).unwrap();
        }
        with_hash_maps(&site.pin_dir, WITHOUT_SHIELD, &[(key(1), flow(3))], |records| {
            records.maps.retain(|name, _| !name.starts_with("SHIELDED"));
        });
        let planned = carry_over(&site, &[(key(1), flow(3))]);
        assert_eq!((planned.flows4, planned.obstacles.len()), (1, 0));
    });
}

/// A version that keeps half-open flows by their keys: they are left, and established ones are not.
#[test]
#[ignore = "needs root and BPF"]
fn half_open_flows_of_a_version_that_keeps_them_otherwise_are_left() {
    in_namespace(|| {
        const WITHOUT_SETS: u32 = 1 << 16 | 4;
        let site = Site::new();
        drop(site.open());
        std::fs::remove_file(site.pin_dir.join(names::HALF_OPEN_TAGS)).unwrap();
        with_hash_maps(&site.pin_dir, WITHOUT_SETS, &[(key(1), flow(3))], |records| {
            records.maps.remove(names::HALF_OPEN_TAGS);
            let key = records.maps[names::FLOWS4].0.clone();
            records.maps.get_mut(names::HALF_OPEN4).unwrap().0 = key;
        });
        let planned = carry_over(&site, &[(key(1), flow(3))]);
        assert_eq!((planned.flows4, planned.half_open, planned.obstacles.len()), (1, None, 0));
        assert!(planned.to_string().contains("no half-open ones (they begin again;"), "{planned}");
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_version_whose_entries_mean_something_else_is_refused() {
    in_namespace(|| {
        let site = Site::new();
        drop(site.open());
        with_a_field_more(&site.pin_dir, ABI_VERSION + (1 << 16), &[(key(1), flow(3), 0)]);
        let mut options = site.options();
        options.upgrade = true;
        let planned = plan(&options).unwrap().unwrap();
        assert!(planned.to_string().contains("cannot be carried over"), "{planned}");
        let refused = Datapath::open(&options).err().unwrap().to_string();
        assert!(refused.contains("mean something else"), "{refused}");
    });
}
