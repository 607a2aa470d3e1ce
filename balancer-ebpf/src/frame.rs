//! The only place that touches packet memory.

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use balancer_common::packet::Frame;

/// Headers end below this offset: two tags, the longest IPv6 extension chain that is walked, and TCP. The verifier
/// needs a bound for an offset that comes from the packet.
const MAX_OFFSET: usize = 0x3fff;

/// The frame of an XDP program.
pub(crate) struct XdpFrame {
    context: XdpContext,
}

impl XdpFrame {
    pub(crate) const fn new(context: XdpContext) -> Self {
        Self { context }
    }

    /// Where `N` bytes at `offset` start, if they are inside the frame.
    #[inline(always)]
    fn start<const N: usize>(&self, offset: usize) -> Option<usize> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.context.data() + offset;
        if start + N > self.context.data_end() { None } else { Some(start) }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.context.data_end() - self.context.data()
    }

    #[inline(always)]
    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let start = self.start::<N>(offset)?;
        // SAFETY: the range is inside the frame, bytes have no alignment, and the borrow of `self` keeps the frame
        // from moving and from being written.
        Some(unsafe { &*(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        let start = self.start::<N>(offset)?;
        // SAFETY: as above, and the exclusive borrow of `self` makes this the only view.
        Some(unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn move_head(&mut self, by: i32) -> bool {
        // SAFETY: the context is the program's own; no view is alive across the exclusive borrow.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, by) == 0 }
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> bool {
        let by = len as i32 - self.len() as i32;
        if by > 0 {
            return false;
        }
        // SAFETY: as above.
        by == 0 || unsafe { bpf_xdp_adjust_tail(self.context.ctx, by) == 0 }
    }
}
