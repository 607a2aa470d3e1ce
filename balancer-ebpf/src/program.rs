//! The XDP program: one packet in, one action out.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use balancer_common::path::{self, Action};

use crate::{frame::XdpFrame, maps::DEVICES, tables::Maps};

/// Steers packets of services, passes everything else.
#[xdp]
fn balancer(context: XdpContext) -> u32 {
    let maps = Maps::new(&context);
    let mut frame = XdpFrame::new(context);
    match path::run(&mut frame, &maps).action {
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
