//! The kernel's SYN cookies (Linux 6.0, commit 33bf9885040c).
//!
//! Global functions, as those of [`crate::budget`]. The packet is the one parked last: five numbers cannot tell all of it.
#![expect(
    unsafe_code,
    reason = "helpers, the parked packet, and functions and a constant that are found by name"
)]

use core::ptr;

use aya_ebpf::helpers::{
    bpf_tcp_raw_check_syncookie_ipv4, bpf_tcp_raw_check_syncookie_ipv6, bpf_tcp_raw_gen_syncookie_ipv4,
    bpf_tcp_raw_gen_syncookie_ipv6,
};
use balancer_common::{
    packet::{Family, V4, V6},
    path::Packet,
};

use crate::maps::SCRATCH;

/// See [`balancer_common::abi::names::HAS_COOKIES`]. The kernel knows its value when it verifies the program, so it does not
/// look at calls of helpers that it does not have.
#[unsafe(no_mangle)]
static HAS_COOKIES: u32 = 0;

#[inline(always)]
fn has_cookies() -> bool {
    // SAFETY: a reference is valid. Volatile, because whoever loads the program changes the value.
    unsafe { ptr::read_volatile(&raw const HAS_COOKIES) != 0 }
}

/// A TCP header with the option for the largest segment; the helpers read ports, numbers, length and option.
#[repr(C, align(8))]
struct Tcp {
    ports: [[u8; 2]; 2],
    seq: u32,
    ack: u32,
    control: [u8; 4],
    checksum: u32,
    option: [u8; 4],
}

impl Tcp {
    const LEN: u32 = 24;

    #[inline(always)]
    const fn new<F: Family>(packet: &Packet<F>, isn: u32, ack: u32, mss: u16) -> Self {
        let [high, low] = mss.to_be_bytes();
        Self {
            ports: [packet.segment.source, packet.segment.destination],
            seq: isn.to_be(),
            ack: ack.to_be(),
            control: [0x60, 0, 0, 0],
            checksum: 0,
            option: [2, 4, high, low],
        }
    }
}

/// An IPv4 header of which the helpers read the addresses.
#[repr(C, align(8))]
struct Ip4 {
    start: [u32; 3],
    addresses: [[u8; 4]; 2],
    padding: u32,
}

/// An IPv6 header of which the helpers read the addresses.
#[repr(C, align(8))]
struct Ip6 {
    start: [u32; 2],
    addresses: [[u8; 16]; 2],
}

#[inline(always)]
const fn ip4(packet: &Packet<V4>) -> Ip4 {
    Ip4 { start: [0x45, 0, 0], addresses: [packet.ip.source, packet.ip.destination], padding: 0 }
}

#[inline(always)]
const fn ip6(packet: &Packet<V6>) -> Ip6 {
    Ip6 { start: [0x60, 0], addresses: [packet.ip.source, packet.ip.destination] }
}

/// The packet parked last.
#[inline(always)]
fn parked<F: Family>() -> Option<&'static Packet<F>> {
    let place = SCRATCH.get_ptr_mut(0)?.cast::<Packet<F>>();
    // SAFETY: `park` has written it, and no other packet is handled on this CPU until this run ends.
    Some(unsafe { &*place })
}

/// The cookie for a SYN; negative without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cookie_make4(isn: u32, mss: u32) -> i64 {
    if !has_cookies() {
        return -1;
    }
    let Some(packet) = parked() else { return -1 };
    let (mut ip, mut tcp) = (ip4(packet), Tcp::new(packet, isn, 0, mss as u16));
    // SAFETY: both headers are as long as the helper reads.
    unsafe { bpf_tcp_raw_gen_syncookie_ipv4((&raw mut ip).cast(), (&raw mut tcp).cast(), Tcp::LEN) }
}

/// The cookie for a SYN; negative without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cookie_make6(isn: u32, mss: u32) -> i64 {
    if !has_cookies() {
        return -1;
    }
    let Some(packet) = parked() else { return -1 };
    let (mut ip, mut tcp) = (ip6(packet), Tcp::new(packet, isn, 0, mss as u16));
    // SAFETY: as above.
    unsafe { bpf_tcp_raw_gen_syncookie_ipv6((&raw mut ip).cast(), (&raw mut tcp).cast(), Tcp::LEN) }
}

/// Whether a cookie is valid for a SYN; 0 is yes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cookie_check4(isn: u32, cookie: u32) -> i64 {
    if !has_cookies() {
        return -1;
    }
    let Some(packet) = parked() else { return -1 };
    // The helper is given the segment that acknowledges both numbers.
    let tcp = Tcp::new(packet, isn.wrapping_add(1), cookie.wrapping_add(1), 0);
    let (mut ip, mut tcp) = (ip4(packet), tcp);
    // SAFETY: as above.
    unsafe { bpf_tcp_raw_check_syncookie_ipv4((&raw mut ip).cast(), (&raw mut tcp).cast()) }
}

/// Whether a cookie is valid for a SYN; 0 is yes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cookie_check6(isn: u32, cookie: u32) -> i64 {
    if !has_cookies() {
        return -1;
    }
    let Some(packet) = parked() else { return -1 };
    let tcp = Tcp::new(packet, isn.wrapping_add(1), cookie.wrapping_add(1), 0);
    let (mut ip, mut tcp) = (ip6(packet), tcp);
    // SAFETY: as above.
    unsafe { bpf_tcp_raw_check_syncookie_ipv6((&raw mut ip).cast(), (&raw mut tcp).cast()) }
}

/// The functions as the packet path calls them.
pub(crate) mod call {
    /// See [`super::cookie_make4`].
    #[inline(always)]
    pub(crate) fn make4(isn: u32, mss: u16) -> Option<u32> {
        number(super::cookie_make4(isn, u32::from(mss)))
    }

    /// See [`super::cookie_make6`].
    #[inline(always)]
    pub(crate) fn make6(isn: u32, mss: u16) -> Option<u32> {
        number(super::cookie_make6(isn, u32::from(mss)))
    }

    /// See [`super::cookie_check4`].
    #[inline(always)]
    pub(crate) fn check4(isn: u32, cookie: u32) -> bool {
        super::cookie_check4(isn, cookie) == 0
    }

    /// See [`super::cookie_check6`].
    #[inline(always)]
    pub(crate) fn check6(isn: u32, cookie: u32) -> bool {
        super::cookie_check6(isn, cookie) == 0
    }

    /// The helpers return the cookie in the lower half, and the size it stands for in the upper.
    #[inline(always)]
    fn number(made: i64) -> Option<u32> {
        if made < 0 { None } else { Some(made as u32) }
    }
}
