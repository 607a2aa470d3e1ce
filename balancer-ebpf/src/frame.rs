//! The only place that touches packet memory.
#![expect(unsafe_code, reason = "packet memory is reached by pointer")]

use core::arch::asm;

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use balancer_common::packet::Frame;

/// Headers end below this offset: two tags, the longest IPv6 extension chain that is walked, and TCP. The verifier
/// needs a bound for an offset that comes from the packet; a mask and no comparison, because kernel 6.1 does not see
/// that a compared number and the one that is added are the same.
const MAX_OFFSET: usize = 0x3fff;

/// The frame of an XDP program.
pub(crate) struct XdpFrame {
    context: XdpContext,
}

impl XdpFrame {
    pub(crate) const fn new(context: XdpContext) -> Self {
        Self { context }
    }

    /// Where `N` words at `offset` start, if they are inside the frame.
    #[inline(always)]
    fn start_of_words<const N: usize>(&self, offset: usize) -> Option<usize> {
        self.start_of(offset, 4 * N)
    }

    /// Where `N` bytes at `offset` start, if they are inside the frame.
    #[inline(always)]
    fn start<const N: usize>(&self, offset: usize) -> Option<usize> {
        self.start_of(offset, N)
    }

    #[inline(always)]
    fn start_of(&self, offset: usize, len: usize) -> Option<usize> {
        let start = self.context.data() + (offset & MAX_OFFSET);
        if start + len > self.context.data_end() { None } else { Some(start) }
    }
}

/// Words of the longest header, that of IPv6.
const MAX_WORDS: usize = 10;

/// The word `OFFSET` bytes behind `start`, which must be inside the frame. The instruction needs no alignment, which
/// the compiler cannot be told.
#[inline(always)]
fn load<const OFFSET: usize>(start: usize) -> u32 {
    let word: u64;
    // SAFETY: callers have checked that the range is inside the frame.
    unsafe {
        asm!(
            "{word} = *(u32 *)({start} + {offset})",
            start = in(reg) start,
            offset = const OFFSET,
            word = out(reg) word,
            options(nostack, pure, readonly),
        );
    }
    word as u32
}

/// See [`load`].
#[inline(always)]
fn store<const OFFSET: usize>(start: usize, word: u32) {
    // SAFETY: as above, and the exclusive borrow of the frame keeps views from seeing the bytes change.
    unsafe {
        asm!(
            "*(u32 *)({start} + {offset}) = {word}",
            start = in(reg) start,
            offset = const OFFSET,
            word = in(reg) word,
            options(nostack),
        );
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
    fn half(&self, offset: usize) -> Option<u16> {
        let start = self.start::<2>(offset)?;
        let half: u64;
        // SAFETY: the range is inside the frame. The instruction needs no alignment.
        unsafe {
            asm!(
                "{half} = *(u16 *)({start} + 0)",
                start = in(reg) start,
                half = out(reg) half,
                options(nostack, pure, readonly),
            );
        }
        Some(half as u16)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        const { assert!(N <= MAX_WORDS) };
        let start = self.start_of_words::<N>(offset)?;
        let mut words = [0; N];
        macro_rules! load {
            ($($index:literal)*) => {$(
                if $index < N {
                    words[$index] = load::<{ 4 * $index }>(start);
                }
            )*};
        }
        load!(0 1 2 3 4 5 6 7 8 9);
        Some(words)
    }

    #[inline(always)]
    fn put_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()> {
        const { assert!(N <= MAX_WORDS) };
        let start = self.start_of_words::<N>(offset)?;
        macro_rules! store {
            ($($index:literal)*) => {$(
                if $index < N {
                    store::<{ 4 * $index }>(start, words[$index]);
                }
            )*};
        }
        store!(0 1 2 3 4 5 6 7 8 9);
        Some(())
    }

    #[inline(always)]
    fn move_head(&mut self, by: i32) -> bool {
        // SAFETY: the context is the program's own; no view is alive across the exclusive borrow.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, by) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        let by = len as i32 - self.len() as i32;
        // SAFETY: as above.
        by == 0 || unsafe { bpf_xdp_adjust_tail(self.context.ctx, by) == 0 }
    }
}
