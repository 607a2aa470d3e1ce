//! The packet tables in the running kernel.

use std::{
    collections::BTreeSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use balancer_common::path::Action;
use balancer_tests::fuzz::{self, Act};
use balancer_tests::packet::{Packet, Tcp};
use balancer_tests::stack::{self, Chain};
use balancer_tests::table::{
    self, CLIENTS, Dataplane as _, Flood, Host, Image, Net, SERVERS, World,
    chaos::Chaos,
    kernel::{Kernel, OBJECT_VARIABLE, in_namespace},
};
use balancer_userspace::kernel::clock;

#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn every_packet_ends_as_the_table_says() {
    in_namespace(|| {
        let mut failed = Vec::new();
        let mut kernel = Kernel::new();
        let mut scenarios = table::all();
        if !kernel.takes_all_room() {
            let left_out = scenarios.extract_if(.., |scenario| scenario.needs_no_room());
            let left_out: Vec<_> = left_out.map(|scenario| scenario.name).collect();
            println!("left out, as this kernel always leaves room before a packet: {left_out:?}");
        }
        let mut packets = 0;
        for scenario in &scenarios {
            kernel.reset();
            match catch_unwind(AssertUnwindSafe(|| table::run(scenario, &mut kernel))) {
                Ok(sent) => packets += sent,
                Err(_) => failed.push(&scenario.name),
            }
        }
        println!("{packets} packets in {} scenarios", scenarios.len());
        assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:#?}", failed.len(), scenarios.len());
    });
}

/// The program reads the clock once in a tick of the scheduler, and no less often.
#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn flows_are_seen_when_their_packets_come() {
    in_namespace(|| {
        let mut kernel = Kernel::new();
        for net in Net::BOTH {
            kernel.reset();
            let world = World::new(net, 1);
            kernel.configure(Image::new(&world));
            let talk = world.talk(4000, 0);
            let send = |kernel: &mut Kernel, packet: Packet, (from, to)| {
                let sent = kernel.send(&packet.bytes(), from, true, Action::Redirect(to));
                assert_eq!(sent.action, Action::Redirect(to));
            };
            send(&mut kernel, talk.request(Tcp::syn(1000)), (CLIENTS, SERVERS));
            send(&mut kernel, talk.reply(Tcp::syn_ack(5000, 1001)), (SERVERS, CLIENTS));
            send(&mut kernel, talk.request(Tcp::ack(1001, 5001)), (CLIENTS, SERVERS));
            let (first, deadline) = (kernel.last_seen(), Instant::now() + Duration::from_secs(20));
            while kernel.last_seen() == first {
                assert!(Instant::now() < deadline, "{net:?}: the clock of packets stands still at {first}");
                thread::sleep(Duration::from_millis(10));
                let now = clock();
                send(&mut kernel, talk.request(Tcp::data(1001, 5001, b"x")), (CLIENTS, SERVERS));
                let seen = kernel.last_seen();
                assert!((now - 1..=clock()).contains(&seen), "{net:?}: seen at {seen}, sent at {now}");
            }
        }
    });
}

/// The same random packets through both: the same actions, the same bytes, and the same flows and counters.
#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn random_packets_end_as_on_the_host() {
    const PACKETS: usize = 3000;
    in_namespace(|| {
        let mut kernel = Kernel::new();
        for (net, seed) in Net::BOTH.into_iter().cycle().zip([1, 1, 2, 2]) {
            kernel.reset();
            let mut chaos = Chaos::new(net, seed);
            let mut host = Host::new(Image::new(chaos.world()));
            kernel.configure(Image::new(chaos.world()));
            for number in 1..=PACKETS {
                let packet = chaos.arrival();
                if packet.frame.len() < kernel.shortest() {
                    continue;
                }
                let expected = host.send(&packet.frame, packet.ingress, true, Action::Pass);
                let found = kernel.send(&packet.frame, packet.ingress, true, expected.action);
                let name = format!("{net:?}, seed {seed}, packet {number}: {packet:02x?}");
                assert_eq!(found.action, expected.action, "{name}");
                if found.action != Action::Drop {
                    assert_eq!(found.bytes, expected.bytes, "{name}");
                }
                if number % 50 == 0 {
                    assert_eq!(kernel.state(), host.state(), "{name}");
                    chaos.change();
                    host.configure(Image::new(chaos.world()));
                    kernel.configure(Image::new(chaos.world()));
                }
            }
            let seen: BTreeSet<_> = host.state().outcomes.keys().map(|(_, outcome)| *outcome).collect();
            println!("{net:?}, seed {seed}: {seen:?}");
            assert!(seen.len() >= 15, "random packets that are all alike: {seen:?}");
        }
    });
}

/// The inputs that fuzzing has found, through both.
#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn kept_inputs_end_as_on_the_host() {
    in_namespace(|| {
        let mut kernel = Kernel::new();
        let mut sent = 0;
        for target in &fuzz::TARGETS {
            for (name, input) in fuzz::kept(target) {
                let play = (target.read)(&input);
                kernel.reset();
                kernel.configure(Image::new(&play.start));
                let mut host = Host::new(Image::new(&play.start));
                for act in &play.acts {
                    match act {
                        Act::Send { frame, ingress } if frame.len() >= kernel.shortest() => {
                            let expected = host.send(frame, *ingress, true, Action::Pass);
                            let found = kernel.send(frame, *ingress, true, expected.action);
                            assert_eq!(found.action, expected.action, "{name}: {frame:02x?}");
                            if found.action != Action::Drop {
                                assert_eq!(found.bytes, expected.bytes, "{name}: {frame:02x?}");
                            }
                            sent += 1;
                        }
                        Act::Send { .. } => {}
                        Act::Configure(world) => {
                            host.configure(Image::new(world));
                            kernel.configure(Image::new(world));
                        }
                        Act::Flood => {
                            host.flood(Flood::Syns);
                            kernel.flood(Flood::Syns);
                        }
                        Act::Close(flow) if host.state().flows.contains_key(flow) => {
                            host.close(*flow);
                            kernel.close(*flow);
                        }
                        Act::Close(_) => {}
                    }
                }
                assert_eq!(kernel.state(), host.state(), "{name}");
            }
        }
        println!("{sent} packets");
        assert!(sent > 100, "inputs that are no packets");
    });
}

/// Instructions that the verifier may look at before it is satisfied; the kernel gives up at a million. The program
/// takes about 290,000 (Linux 6.1: 360,000): a jump means that a loop or a branch is walked for every path that leads to it.
const VERIFIED: u32 = 380_000;

/// Bytes of the program after the kernel's passes. It takes some 265,000, a third of them for shielded flows in either
/// address family; what grows it is inlined code.
const TRANSLATED: u32 = 270_000;

/// Bytes of stack of the deepest chain of calls, frames rounded up as older kernels do. Those refuse a program that takes
/// more than these; it takes 480.
const STACK: u32 = 512;

/// Told that there are no helpers for SYN cookies, the kernel does not look at what calls them: it removes that code.
#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn a_kernel_without_cookies_takes_the_program() {
    in_namespace(|| {
        let mut without = Kernel::without_cookies();
        let translated = |kernel: &Kernel| kernel.info().size_translated().expect("root sees the size");
        let (less, all) = (translated(&without), translated(&Kernel::new()));
        assert!(less < all, "{less} bytes without the calls, {all} with them");
        for scenario in table::all().iter().filter(|scenario| scenario.start.settings.shield_syns == 0) {
            without.reset();
            table::run(scenario, &mut without);
        }
    });
}

#[test]
#[ignore = "needs root and the kernel object: cargo xtask test"]
fn the_verifier_has_room_left() {
    in_namespace(|| {
        let info = Kernel::new().info();
        assert!(
            info.btf_id().is_some(),
            "without BTF, global functions are verified anew wherever they are called"
        );
        let verified = info.verified_instruction_count().expect("kernels since 5.16 count");
        let translated = info.size_translated().expect("root sees the size");
        let object = fs::read(env::var(OBJECT_VARIABLE).expect("the object is named")).expect("it is there");
        let Chain { bytes, functions } = stack::deepest(&object).expect("it is a BPF object");
        println!(
            "{verified} instructions verified, {translated} bytes translated, {bytes} bytes of stack {functions:?}"
        );
        assert!(bytes <= STACK, "{bytes} bytes of stack, over the budget of {STACK}: {functions:#?}");
        assert!(verified <= VERIFIED, "{verified} instructions verified, over the budget of {VERIFIED}");
        assert!(translated <= TRANSLATED, "{translated} bytes translated, over the budget of {TRANSLATED}");
    });
}
