//! The XDP program: one packet in, one action out.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use balancer_common::path::{self, Action};

use crate::{frame::XdpFrame, maps::DEVICES, tables::Maps};

/// What [`fast`] says of a packet that it leaves to [`full`]. No action.
const OTHER: u32 = u32::MAX;

/// Steers packets of services, passes everything else.
#[xdp]
fn balancer(context: XdpContext) -> u32 {
    match fast(context.ctx) {
        OTHER => full(context.ctx),
        action => action,
    }
}

/// This and [`full`] are functions that neither call each other nor are a part of their caller: what they take of the stack
/// does not add up, and the verifier, which finds the same state behind every way out of this one, follows that one once.
#[inline(never)]
fn fast(context: *mut xdp_md) -> u32 {
    let (mut frame, maps) = reach(context);
    path::fast(&mut frame, &maps).map_or(OTHER, |verdict| act(verdict.action))
}

/// Any packet, by steps.
#[inline(never)]
fn full(context: *mut xdp_md) -> u32 {
    let (mut frame, maps) = reach(context);
    act(path::full(&mut frame, &maps).action)
}

#[inline(always)]
fn reach(context: *mut xdp_md) -> (XdpFrame, Maps) {
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    (XdpFrame::new(context), maps)
}

#[inline(always)]
fn act(action: Action) -> u32 {
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Transmit => xdp_action::XDP_TX,
        // An interface that has just gone shows up in the xdp_exception tracepoint.
        Action::Redirect(ifindex) => {
            DEVICES.redirect(ifindex, u64::from(xdp_action::XDP_ABORTED)).unwrap_or(xdp_action::XDP_ABORTED)
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers such as `bpf_fib_lookup` are for programs with a GPL-compatible licence only.
#[expect(unsafe_code, reason = "the kernel finds the licence by section and name")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
