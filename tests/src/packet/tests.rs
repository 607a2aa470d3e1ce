use super::*;

fn link() -> Ethernet {
    Ethernet {
        destination: [2, 0, 0, 0, 0, 1],
        source: [2, 0, 0, 0, 0, 2],
        tags: vec![VlanTag { tpid: 0x88a8, tci: 0x2064 }, VlanTag { tpid: 0x8100, tci: 7 }],
    }
}

fn packets() -> Vec<Packet> {
    let tcp = Tcp::data(1, 2, b"odd");
    let v4 = Packet::new(link(), "192.0.2.1:1".parse().unwrap(), "198.51.100.1:2".parse().unwrap(), tcp);
    let v6 = Packet {
        source: "[2001:db8::1]:1".parse().unwrap(),
        destination: "[2001:db8::2]:2".parse().unwrap(),
        ..v4.clone()
    };
    let mut options = v4.clone();
    options.network.options = vec![0x94, 4, 0, 0];
    let mut extensions = v6.clone();
    extensions.network.extensions =
        vec![Extension::hop_by_hop(), Extension::destination_options(2), Extension::fragment(0, false)];
    extensions.trailer = vec![0; 9];
    vec![v4, v6, options, extensions]
}

#[test]
fn what_is_built_checks() {
    for packet in packets() {
        verify::check(&packet.bytes()).unwrap();
    }
}

#[test]
fn the_check_notices_every_flipped_bit_behind_the_link_header() {
    for packet in packets() {
        let bytes = packet.bytes();
        // The flow label, the class and the hops of IPv6 are in no checksum, nor are extension headers.
        let covered = if packet.source.is_ipv4() { 22 } else { bytes.len() - packet.trailer.len() - 35 };
        for bit in covered * 8..(bytes.len() - packet.trailer.len()) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify::check(&flipped).is_err(), "bit {bit} of {packet:?}");
        }
    }
}
