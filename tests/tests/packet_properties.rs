//! What holds for every packet.

use std::{cell::RefCell, collections::BTreeSet, net::SocketAddr};

use balancer_common::{
    abi::{Entered, Flow, FlowState, ServiceFlags},
    outcome::Outcome,
};
use balancer_tests::{
    fuzz,
    packet::{
        Ethernet, Packet, Tcp,
        numbers::{self, Number},
    },
    table::{
        CLIENTS, Dataplane as _, Flood, Host, Image, Net, SERVERS, World, chaos::Chaos, client_hop,
        server_hop,
    },
};
use proptest::{prelude::*, test_runner::TestRunner};

/// Sends a frame of anybody's through and checks what must hold of it.
fn handle(host: &mut Host, frame: &[u8], ingress: u32) -> (Outcome, Vec<u8>) {
    let (verdict, bytes) = fuzz::handle(host, frame, ingress);
    (verdict.outcome, bytes)
}

/// Frames that get past the first checks more often than chance.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let ethertype = prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8100), Just(0x88a8), any::<u16>()];
    let version = prop_oneof![Just(0x45_u8), Just(0x60), Just(0x4f), any::<u8>()];
    (bytes, ethertype, version).prop_map(|(mut bytes, ethertype, version)| {
        if bytes.len() > 14 {
            bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
            bytes[14] = version;
        }
        bytes
    })
}

/// What once broke a target, and what reaches far into the packet path.
#[test]
fn what_is_kept_breaks_nothing() {
    for target in &fuzz::TARGETS {
        for (name, input) in fuzz::kept(target) {
            println!("{name}");
            fuzz::check(&(target.read)(&input));
        }
    }
}

/// Any bytes at all have a verdict, and those that are not ours stay as they are.
#[test]
fn any_bytes_have_a_verdict() {
    let host = RefCell::new(Host::new(Image::new(&World::new(Net::V4, 2))));
    let ingress = prop_oneof![Just(CLIENTS), Just(SERVERS), any::<u32>()];
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(frames(), ingress), |(frame, ingress)| {
            handle(&mut host.borrow_mut(), &frame, ingress);
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the addresses, ports and contents: the packet that leaves is the one that would have been sent.
    #[test]
    fn a_translation_equals_a_fresh_packet(
        v6 in any::<bool>(),
        addrs in any::<[(u128, u16); 3]>(),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        (seq, ack, window) in any::<(u32, u32, u16)>(),
        (hops, class, identification) in (2..=255_u8, any::<u8>(), any::<u16>()),
    ) {
        let socket = |(bits, port): (u128, u16)| {
            let addr = if v6 { std::net::Ipv6Addr::from_bits(bits).into() } else { std::net::Ipv4Addr::from_bits(bits as u32).into() };
            SocketAddr::new(addr, port)
        };
        let [client, vip, server] = addrs.map(socket);
        prop_assume!(BTreeSet::from([client, vip, server]).len() == 3);
        let mut world = World::new(if v6 { Net::V6 } else { Net::V4 }, 1);
        world.services[0].vip = vip;
        world.backend(0).addr = server;
        let mut host = Host::new(Image::new(&world));
        let built = |link, source, destination, hops, tcp: &Tcp| {
            let mut packet = Packet::new(link, source, destination, tcp.clone());
            packet.network.hops = hops;
            packet.network.class = class;
            packet.network.identification = identification;
            packet.bytes()
        };
        let syn = Tcp { window, payload: payload.clone(), ..Tcp::syn(seq) };
        let (from, to) = (client_hop(10), server_hop(11));
        let (outcome, bytes) = handle(&mut host, &built(Ethernet::arriving(&from), client, vip, hops, &syn), CLIENTS);
        prop_assert_eq!(outcome, Outcome::ForwardSyn);
        prop_assert_eq!(bytes, built(Ethernet::leaving(&to), client, server, hops - 1, &syn));
        let answer = Tcp { window, payload, ..Tcp::syn_ack(ack, seq.wrapping_add(1)) };
        let (outcome, bytes) = handle(&mut host, &built(Ethernet::arriving(&to), server, client, hops, &answer), SERVERS);
        prop_assert_eq!(outcome, Outcome::ForwardHalfOpen);
        prop_assert_eq!(bytes, built(Ethernet::leaving(&from), vip, client, hops - 1, &answer));
    }
}

#[test]
fn random_packets_keep_counts_and_tables_in_step() {
    for (net, seed) in Net::BOTH.into_iter().cycle().zip(1..=8) {
        let mut chaos = Chaos::new(net, seed);
        let mut host = Host::new(Image::new(chaos.world()));
        for number in 1..=5000 {
            let packet = chaos.arrival();
            handle(&mut host, &packet.frame, packet.ingress);
            if number % 200 == 0 {
                let state = host.state();
                assert_eq!(state.live(), state.live_flows(), "{net:?}, seed {seed}, packet {number}");
                chaos.change();
                host.memory().configure(Image::new(chaos.world()));
            }
        }
    }
}

/// A flow in the table is marked with the clock: when it began, and when its last packet came by.
#[test]
fn flows_remember_when_they_were_seen() {
    let world = World::new(Net::V4, 1);
    let talk = world.talk(40000, 0);
    let mut host = Host::new(Image::new(&world));
    let send = |host: &mut Host, packet: Packet, ingress| handle(host, &packet.bytes(), ingress).0;
    let times = |host: &mut Host| {
        let flow = host.memory().flows4()[0].1;
        (flow.state.opened(), flow.last_seen)
    };
    send(&mut host, talk.request(Tcp::syn(1000)), CLIENTS);
    let start = host.memory().half_open4()[0].1.at;
    host.memory().wait(1);
    send(&mut host, talk.request(Tcp::syn(1000)), CLIENTS);
    assert_eq!(host.memory().half_open4()[0].1.at, start + 1);
    send(&mut host, talk.reply(Tcp::syn_ack(5000, 1001)), SERVERS);
    host.memory().wait(1);
    send(&mut host, talk.request(Tcp::ack(1001, 5001)), CLIENTS);
    assert_eq!(times(&mut host), (start + 2, start + 2));
    host.memory().wait(1);
    send(&mut host, talk.reply(Tcp::data(5001, 1001, b"data")), SERVERS);
    assert_eq!(times(&mut host), (start + 2, start + 3));
    host.memory().wait(1);
    send(&mut host, talk.request(Tcp::ack(1001, 5005)), CLIENTS);
    assert_eq!(times(&mut host), (start + 2, start + 4));
}

/// A SYN on a live flow's tuple makes its packets take the long way for as long as a successor may come of it.
#[test]
fn a_successor_that_was_displaced_is_not_waited_for() {
    let world = World::new(Net::V4, 1);
    let talk = world.talk(40000, 0);
    let mut host = Host::new(Image::new(&world));
    let data = talk.request(Tcp::data(1001, 5001, b"data"));
    let mut send = |packet: &Packet, ingress| {
        let (outcome, _) = handle(&mut host, &packet.bytes(), ingress);
        let waits = |flow: Flow| flow.state.has(FlowState::SYN_PENDING);
        let waits = host.memory().flows4().first().is_some_and(|(_, flow)| waits(*flow));
        if packet.tcp.seq == 77 {
            host.memory().displace4(&talk.key4());
        }
        (outcome, waits)
    };
    send(&talk.request(Tcp::syn(1000)), CLIENTS);
    send(&talk.reply(Tcp::syn_ack(5000, 1001)), SERVERS);
    assert_eq!(send(&talk.request(Tcp::ack(1001, 5001)), CLIENTS), (Outcome::ForwardPromoted, false));
    assert_eq!(send(&talk.request(Tcp::syn(76)), CLIENTS), (Outcome::ForwardSynAgain, true));
    assert_eq!(send(&data, CLIENTS), (Outcome::ForwardRequest, true));
    assert_eq!(send(&talk.request(Tcp::syn(77)), CLIENTS), (Outcome::ForwardSynAgain, true));
    assert_eq!(send(&data, CLIENTS), (Outcome::ForwardRequest, false));
}

/// A RST that somebody guesses ends a flow for those only who hear nothing of it afterwards.
#[test]
fn flows_outlive_a_reset_that_is_a_guess() {
    let mut world = World::new(Net::V4, 1);
    world.services[0].flags = ServiceFlags::ADOPT;
    let (talk, adopted) = (world.talk(40000, 0), world.talk(40001, 0));
    let mut host = Host::new(Image::new(&world));
    let mut send = |wait, packet: Packet, ingress| {
        host.memory().wait(wait);
        handle(&mut host, &packet.bytes(), ingress);
        let ends = |flow: Flow| flow.state.ends_unproven(flow.last_seen);
        host.memory().flows4().into_iter().map(|(_, flow)| ends(flow)).collect::<Vec<_>>()
    };
    send(0, talk.request(Tcp::syn(1000)), CLIENTS);
    send(0, talk.reply(Tcp::syn_ack(5000, 1001)), SERVERS);
    assert_eq!(send(0, talk.request(Tcp::ack(1001, 5001)), CLIENTS), [false]);
    for _ in 0..2 {
        assert_eq!(send(1000, talk.request(Tcp::rst(1100)), CLIENTS), [true]);
        assert_eq!(send(60, talk.reply(Tcp::ack(5001, 1001)), SERVERS), [true], "the backend asks");
        assert_eq!(send(70, talk.request(Tcp::data(1001, 5001, b"data")), CLIENTS), [false]);
    }
    send(0, talk.reply(Tcp::rst(5001)), SERVERS);
    send(0, adopted.request(Tcp::data(7, 8, b"data")), CLIENTS);
    send(0, adopted.request(Tcp::rst(99)), CLIENTS);
    assert!(send(0, adopted.reply(Tcp::ack(8, 11)), SERVERS).contains(&true), "an adopted flow");
    let later = send(130, adopted.request(Tcp::data(11, 8, b"data")), CLIENTS);
    assert_eq!(later, [false, false]);
}

/// Adoption ends once no flow without state can be alive.
#[test]
fn adoption_ends() {
    let mut world = World::new(Net::V4, 1);
    world.settings.flows4_high = 0;
    world.settings.adopt_for = 10;
    let talk = world.talk(40000, 0);
    let mut host = Host::new(Image::new(&world));
    let mut send = |wait, client_port, tcp| {
        host.memory().wait(wait);
        let client = SocketAddr::new(talk.client.ip(), client_port);
        handle(&mut host, &talk.from(client, talk.client_hop).request(tcp).bytes(), CLIENTS).0
    };
    assert_eq!(send(0, 1, Tcp::ack(1, 2)), Outcome::ResetUnknownFlow);
    assert_eq!(send(0, 1, Tcp::syn(1)), Outcome::ForwardSynStateless);
    assert_eq!(send(9, 2, Tcp::ack(1, 2)), Outcome::ForwardAdopted);
    assert_eq!(send(1, 3, Tcp::ack(1, 2)), Outcome::ResetUnknownFlow);
    assert_eq!(send(0, 2, Tcp::ack(1, 2)), Outcome::ForwardAdopted, "adopted before");
}

/// Two CPUs see the same proof: the flow is counted once, and nothing starts to adopt.
#[test]
fn a_lost_race_for_a_promotion_is_no_full_table() {
    let world = World::new(Net::V4, 1);
    let talk = world.talk(40000, 0);
    let mut host = Host::new(Image::new(&world));
    handle(&mut host, &talk.request(Tcp::syn(1000)).bytes(), CLIENTS);
    handle(&mut host, &talk.reply(Tcp::syn_ack(5000, 1001)).bytes(), SERVERS);
    host.memory().lose_race(Entered::Known);
    let (outcome, _) = handle(&mut host, &talk.request(Tcp::ack(1001, 5001)).bytes(), CLIENTS);
    assert_eq!(outcome, Outcome::ForwardRequest);
    assert_eq!(host.memory().counts(talk.backend_id()).opened, 0, "the other CPU counts it");
    let stranger = talk.from(SocketAddr::new(talk.client.ip(), 7), talk.client_hop);
    let (outcome, _) = handle(&mut host, &stranger.request(Tcp::ack(1, 2)).bytes(), CLIENTS);
    assert_eq!(outcome, Outcome::ResetUnknownFlow);
}

/// Two CPUs see the same proof of a shielded flow, and one is about to enter it: the numbers are those of its flow.
#[test]
fn a_promotion_under_way_keeps_its_numbers() {
    let mut world = World::new(Net::V4, 1);
    world.settings.shield_syns = 1000;
    let talk = world.talk(40000, 0);
    let mut host = Host::new(Image::new(&world));
    host.flood(Flood::Syns);
    let (outcome, answer) = handle(&mut host, &talk.request(Tcp::syn(1000)).bytes(), CLIENTS);
    assert_eq!(outcome, Outcome::AnswerCookie);
    let ack = Tcp::ack(1001, numbers::read(&answer, Number::Sequence).wrapping_add(1));
    let ack = talk.request(ack).bytes();
    assert_eq!(handle(&mut host, &ack, CLIENTS).0, Outcome::ForwardCookie);
    handle(&mut host, &talk.reply(Tcp::syn_ack(5000, 1001)).bytes(), SERVERS);
    host.memory().lose_race(Entered::Busy);
    assert_eq!(handle(&mut host, &ack, CLIENTS).0, Outcome::ForwardHalfOpen);
    assert_eq!(host.state().shielded, BTreeSet::from([(talk.client, talk.service)]));
    assert_eq!(host.state().half_open.len(), 1);
    assert_eq!(handle(&mut host, &ack, CLIENTS).0, Outcome::ForwardPromoted);
    let stranger = talk.from(SocketAddr::new(talk.client.ip(), 7), talk.client_hop);
    let (outcome, _) = handle(&mut host, &stranger.request(Tcp::ack(1, 2)).bytes(), CLIENTS);
    assert_eq!(outcome, Outcome::ResetBadCookie, "nothing starts to adopt");
}
