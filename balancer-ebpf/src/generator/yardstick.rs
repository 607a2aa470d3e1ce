//! A balancer to compare with: the hit path and the miss path of Katran's program, IPIP and direct return.
//!
//! It is written after <https://github.com/facebookincubator/katran/blob/main/katran/lib/bpf/balancer.bpf.c>: the same
//! maps with the same sizes of key and value, looked up in the same order, and the same encapsulation. It leaves out
//! what costs Katran more (a map of maps for its tables of flows, ICMP, fragments, QUIC), and so is a lower bound of it.
//! It keeps one direction of a flow only: replies go to the client past it.
#![expect(unsafe_code, reason = "map values and packets are reached by pointer")]

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, xdp_action},
    helpers::{bpf_ktime_get_ns, bpf_xdp_adjust_head},
    macros::{map, xdp},
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
    programs::XdpContext,
};
use balancer_common::packet::{Family as _, Frame as _, Segment, V4, V6, Wanted, link};
use balancer_ebpf::yardstick::{FLOWS, FlowKey, Place, REALS, RING, Real, VipKey, VipMeta};

use crate::frame::XdpFrame;

/// Packets and bytes, or two other numbers.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pair {
    first: u64,
    second: u64,
}

/// Rows of `STATS`: one for the service, one for all packets, one for misses, one for new connections.
const ALL: u32 = 1;
const MISSES: u32 = 2;
const RATE: u32 = 3;

#[map]
static YARD_VIPS: HashMap<VipKey, VipMeta> = HashMap::with_max_entries(512, 0);
#[map]
static YARD_FLOWS: LruHashMap<FlowKey, Place> = LruHashMap::with_max_entries(FLOWS, 0);
#[map]
static YARD_RING: Array<u32> = Array::with_max_entries(RING, 0);
#[map]
static YARD_REALS: Array<Real> = Array::with_max_entries(REALS, 0);
#[map]
static YARD_CONTROL: Array<[u8; 8]> = Array::with_max_entries(1, 0);
#[map]
static YARD_STATS: PerCpuArray<Pair> = PerCpuArray::with_max_entries(4, 0);
#[map]
static YARD_REAL_STATS: PerCpuArray<Pair> = PerCpuArray::with_max_entries(REALS, 0);

#[xdp]
fn yardstick(context: XdpContext) -> u32 {
    balance(context).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn balance(context: XdpContext) -> Option<u32> {
    let frame = &mut XdpFrame::new(XdpContext::new(context.as_ptr().cast()));
    let ethertype = u16::from_be(frame.half(12)?);
    let bytes = frame.len() as u64;
    match ethertype {
        link::IPV4 => {
            let ip = V4::parse(frame, L3, Wanted::TCP).ok()?;
            let wide = |addr: [u8; 4]| [u32::from_ne_bytes(addr), 0, 0, 0];
            let real = choose(frame, ip.l4, (wide(ip.source), wide(ip.destination)), ip.len, bytes)?;
            encapsulate4(frame, &context, real, u32::from_ne_bytes(ip.source), ip.len + 20)
        }
        link::IPV6 => {
            let ip = V6::parse(frame, L3, Wanted::TCP).ok()?;
            let words = |addr: [u8; 16]| split(u128::from_ne_bytes(addr));
            let real = choose(frame, ip.l4, (words(ip.source), words(ip.destination)), ip.len, bytes)?;
            encapsulate6(frame, &context, real, split(u128::from_ne_bytes(ip.source)), ip.len + 40)
        }
        _ => None,
    }
}

const L3: usize = 14;

#[inline(always)]
const fn split(addr: u128) -> [u32; 4] {
    [addr as u32, (addr >> 32) as u32, (addr >> 64) as u32, (addr >> 96) as u32]
}

/// The address that a packet goes to.
#[inline(always)]
fn choose(
    frame: &XdpFrame,
    l4: u16,
    (source, destination): ([u32; 4], [u32; 4]),
    len: u16,
    bytes: u64,
) -> Option<&'static Real> {
    const TCP: u32 = 6;
    let segment = Segment::parse(frame, usize::from(l4), usize::from(len))?;
    let ports = u32::from(u16::from_ne_bytes(segment.source))
        | u32::from(u16::from_ne_bytes(segment.destination)) << 16;
    let vip =
        VipKey { addr: destination, port: u32::from(u16::from_ne_bytes(segment.destination)) | TCP << 16 };
    // SAFETY: the driver writes the entry before the first packet.
    let meta = unsafe { YARD_VIPS.get(&vip) }?;
    count(&YARD_STATS, ALL, 1);
    let key = FlowKey { source, destination, ports, protocol: TCP };
    // SAFETY: an entry that is evicted meanwhile is an older one of the same flow at worst.
    let known = unsafe { YARD_FLOWS.get(&key) };
    let place = match known {
        Some(place) if segment.flags & Segment::SYN == 0 => place.real,
        _ => {
            count(&YARD_STATS, MISSES, 1);
            let slot = jhash(source[0] ^ source[1] ^ source[2] ^ source[3], ports) % RING;
            let real = *YARD_RING.get(slot)?;
            if !is_flooded(meta.flood_rate) {
                let place = Place { real, reserved: 0, last_seen: 0 };
                // An LRU makes room by itself; when it cannot, the next packet is hashed the same way.
                let _full = YARD_FLOWS.insert(&key, &place, u64::from(BPF_ANY));
            }
            real
        }
    };
    let real = YARD_REALS.get(place)?;
    count(&YARD_STATS, 0, bytes);
    count(&YARD_REAL_STATS, place, bytes);
    Some(real)
}

#[inline(always)]
fn count(stats: &PerCpuArray<Pair>, index: u32, bytes: u64) {
    if let Some(pair) = stats.get_ptr_mut(index) {
        // SAFETY: the value is this CPU's own.
        unsafe {
            (*pair).first += 1;
            (*pair).second += bytes;
        }
    }
}

/// Whether more new connections arrive in a second than `limit`; 0 is no limit.
#[inline(always)]
fn is_flooded(limit: u32) -> bool {
    const SECOND: u64 = 1_000_000_000;
    let Some(rate) = YARD_STATS.get_ptr_mut(RATE) else { return true };
    // SAFETY: the helper takes no argument; the value is this CPU's own.
    let (now, rate) = unsafe { (bpf_ktime_get_ns(), &mut *rate) };
    if now - rate.second > SECOND {
        rate.first = 1;
        rate.second = now;
        return false;
    }
    rate.first += 1;
    limit != 0 && rate.first > u64::from(limit)
}

/// Jenkins' hash of two words, as `jhash_2words` of the kernel.
#[inline(always)]
const fn jhash(first: u32, second: u32) -> u32 {
    const INITIAL: u32 = 0xdead_beef + (2 << 2) + 26;
    let (mut a, mut b, mut c) = (first.wrapping_add(INITIAL), second.wrapping_add(INITIAL), INITIAL);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// Makes room in front of the packet and writes a link header there, to the router.
#[inline(always)]
fn grow(frame: &mut XdpFrame, context: &XdpContext, by: i32, ethertype: u16) -> Option<()> {
    let [own, rest] = frame.words(0)?;
    // SAFETY: the context is the program's own, and no pointer into the frame is kept across the call.
    if unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), -by) } != 0 {
        return None;
    }
    let [r0, r1, r2, r3, r4, r5, ..] = *YARD_CONTROL.get(0)?;
    let ([o0, o1, o2, o3], [o4, o5, ..]) = (own.to_ne_bytes(), rest.to_ne_bytes());
    let addresses = [[r0, r1, r2, r3], [r4, r5, o0, o1], [o2, o3, o4, o5]];
    frame.put_words(0, addresses.map(u32::from_ne_bytes))?;
    *frame.view_mut::<2>(12)? = ethertype.to_be_bytes();
    Some(())
}

#[inline(always)]
fn encapsulate4(
    frame: &mut XdpFrame,
    context: &XdpContext,
    real: &Real,
    source: u32,
    len: u16,
) -> Option<u32> {
    const IPIP: u8 = 4;
    grow(frame, context, 20, link::IPV4)?;
    let [l0, l1] = (len + 20).to_be_bytes();
    let first = u32::from_ne_bytes([0x45, 0, l0, l1]);
    let from = 0x0000_10ac ^ (source & 0xffff_0000);
    let third = u32::from_ne_bytes([64, IPIP, 0, 0]);
    let sum = u64::from(first) + u64::from(third) + u64::from(from) + u64::from(real.addr[0]);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [c0, c1] = (!(sum as u16)).to_ne_bytes();
    let third = u32::from_ne_bytes([64, IPIP, c0, c1]);
    frame.put_words(L3, [first, 0, third, from, real.addr[0]])?;
    Some(xdp_action::XDP_TX)
}

#[inline(always)]
fn encapsulate6(
    frame: &mut XdpFrame,
    context: &XdpContext,
    real: &Real,
    source: [u32; 4],
    len: u16,
) -> Option<u32> {
    const IPV6: u8 = 41;
    grow(frame, context, 40, link::IPV6)?;
    let [l0, l1] = len.to_be_bytes();
    let [a, b, c, d] = real.addr;
    let header = [0x60, u32::from_ne_bytes([l0, l1, IPV6, 64]), 0x0001, 0, source[2], source[3], a, b, c, d];
    frame.put_words(L3, header)?;
    Some(xdp_action::XDP_TX)
}
