//! The packet generator of the benchmarks, and the programs whose cost is the floor of every figure.
//!
//! A test run repeats a program on one packet. In front of the balancer the generator makes it the packet of another
//! flow each time, at full length, as if nothing had been done to it.
//! Empty on targets other than BPF, so that the workspace builds without a BPF toolchain.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
#[expect(dead_code, reason = "one of its functions is enough here")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod frame;

#[cfg(target_arch = "bpf")]
#[path = "generator/yardstick.rs"]
mod yardstick;

#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "map values and packets are reached by pointer")]
mod programs {
    use core::{arch::asm, cell::Cell};

    use aya_ebpf::{
        EbpfContext as _,
        bindings::xdp_action,
        helpers::{bpf_get_smp_processor_id, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
        macros::{map, xdp},
        maps::{Array, PerCpuArray, ProgramArray},
        programs::XdpContext,
    };
    use balancer_common::packet::{Family, Link, Segment, V4, V6, Wanted, link};
    use balancer_ebpf::{CURSORS, FRAME_WORDS, Load, Target};

    use crate::{atomic, frame::XdpFrame};

    /// What each CPU has sent.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Cursor {
        packets: u32,
        flow: u32,
        /// What is swapped to wait for writes; see [`settle`].
        settled: u64,
    }

    /// What stands for headers that cannot be read.
    const UNREADABLE: u64 = 1;

    #[map]
    static LOAD: Array<Load> = Array::with_max_entries(1, 0);
    #[map]
    static CURSOR: PerCpuArray<Cursor> = PerCpuArray::with_max_entries(CURSORS, 0);
    #[map]
    static TARGETS: ProgramArray = ProgramArray::with_max_entries(Target::COUNT, 0);

    #[xdp]
    fn to_balancer(context: XdpContext) -> u32 {
        send(context, Target::Balancer)
    }

    #[xdp]
    fn to_empty(context: XdpContext) -> u32 {
        send(context, Target::Empty)
    }

    #[xdp]
    fn to_parse(context: XdpContext) -> u32 {
        send(context, Target::Parse)
    }

    #[xdp]
    fn to_yardstick(context: XdpContext) -> u32 {
        send(context, Target::Yardstick)
    }

    #[xdp]
    fn to_katran(context: XdpContext) -> u32 {
        send(context, Target::Katran)
    }

    #[xdp]
    fn empty(_: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// Reads what the balancer reads of the headers.
    #[xdp]
    fn parse(context: XdpContext) -> u32 {
        // Every frame that is generated has ports: only the compiler cannot know that the answer is the same.
        if read(&XdpFrame::new(context)) == 0 { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
    }

    /// A number that depends on every field. A number and no option: the verifier refuses code that copies the bytes
    /// that an option leaves unset.
    #[inline(always)]
    fn read(frame: &XdpFrame) -> u64 {
        let Ok(link) = Link::parse(frame) else { return UNREADABLE };
        match link.ethertype {
            link::IPV4 => fields::<V4>(frame, link.l3(), |addr| u32::from_ne_bytes(addr).into()),
            link::IPV6 => fields::<V6>(frame, link.l3(), |addr| u128::from_ne_bytes(addr) as u64),
            _ => UNREADABLE,
        }
    }

    #[inline(always)]
    fn fields<F: Family>(frame: &XdpFrame, l3: usize, word: impl Fn(F::Addr) -> u64) -> u64 {
        let Ok(ip) = F::parse(frame, l3, Wanted::TCP) else { return UNREADABLE };
        let Some(segment) = Segment::parse(frame, ip.l4.into(), ip.len.into()) else { return UNREADABLE };
        let [from, to] =
            [segment.source, segment.destination].map(|port| u64::from(u16::from_ne_bytes(port)));
        let numbers = segment.seq | segment.ack | segment.payload | u32::from(segment.flags | ip.hops);
        word(ip.source) | word(ip.destination) | from | to | u64::from(numbers)
    }

    #[inline(always)]
    fn send(context: XdpContext, target: Target) -> u32 {
        if write(&context).is_some() {
            // SAFETY: the context is the program's own; nothing needs to be dropped.
            unsafe { TARGETS.tail_call(&context, target as u32) };
        }
        xdp_action::XDP_ABORTED
    }

    /// Makes the frame that of the next flow.
    #[inline(always)]
    fn write(context: &XdpContext) -> Option<()> {
        let load = LOAD.get(0)?;
        // SAFETY: the value is this CPU's own.
        let cursor = unsafe { &mut *CURSOR.get_ptr_mut(load.cursor)? };
        // The cursor may be that of a run with more flows.
        let flow = if cursor.flow < load.flows { cursor.flow } else { 0 };
        let next = flow.wrapping_add(load.stride);
        cursor.flow = if next >= load.flows { next.wrapping_sub(load.flows) } else { next };
        cursor.packets = cursor.packets.wrapping_add(1);

        restore_length(context, load.words * 8)?;
        let (start, end) = (context.data(), context.data_end());
        for word in 0..FRAME_WORDS {
            if word as u32 >= load.words {
                break;
            }
            let place = start + word * 8;
            if place + 8 > end {
                return None;
            }
            store64(place, load.frame[word]);
        }
        if load.backend_at != 0 {
            let backend = load.backend + (flow & load.backend_mask);
            store32(field(context, load.backend_at, 4)?, backend.to_be());
        }
        // SAFETY: the helper takes no argument.
        let own = unsafe { bpf_get_smp_processor_id() }.wrapping_mul(load.clients_per_cpu);
        let client = load.client.wrapping_add(own).wrapping_add(flow);
        store32(field(context, load.client_at, 4)?, client.to_be());
        store16(field(context, load.port_at, 2)?, Load::port(flow).to_be());
        store32(field(context, load.ack_at, 4)?, cursor.packets);
        settle(cursor);
        Some(())
    }

    /// Waits until what was written is in memory, as a packet is that a card has written. Out of the writes that a CPU has
    /// under way it gets only what was written as wide as it is read, and waits for the rest: whoever reads single fields
    /// would be faster for that alone. On x86 an atomic operation is through when all writes before it are.
    #[inline(always)]
    fn settle(cursor: &mut Cursor) {
        let _same = atomic::compare_and_swap(Cell::from_mut(&mut cursor.settled), 0, 0);
    }

    /// Takes away what an encapsulation has put in front, or gives back what an answer has cut off.
    #[inline(always)]
    fn restore_length(context: &XdpContext, length: u32) -> Option<()> {
        let missing = length as i32 - (context.data_end() - context.data()) as i32;
        if missing == 0 {
            return Some(());
        }
        // SAFETY: the context is the program's own, and no pointer into the frame is kept across the calls.
        let adjusted = unsafe {
            if missing < 0 {
                bpf_xdp_adjust_head(context.as_ptr().cast(), -missing)
            } else {
                bpf_xdp_adjust_tail(context.as_ptr().cast(), missing)
            }
        };
        if adjusted == 0 { Some(()) } else { None }
    }

    /// Where a field of `size` bytes is, if it is inside the frame.
    #[inline(always)]
    fn field(context: &XdpContext, offset: u32, size: usize) -> Option<usize> {
        // The mask is a bound for the verifier.
        let place = context.data() + (offset as usize & 0x7f);
        if place + size > context.data_end() { None } else { Some(place) }
    }

    /// Stores that need no alignment, in one instruction each. The place must be inside the frame.
    #[inline(always)]
    fn store64(place: usize, value: u64) {
        // SAFETY: callers have checked that the place is inside the frame.
        unsafe { asm!("*(u64 *)({p} + 0) = {v}", p = in(reg) place, v = in(reg) value, options(nostack)) };
    }

    /// See [`store64`].
    #[inline(always)]
    fn store32(place: usize, value: u32) {
        // SAFETY: as above.
        unsafe { asm!("*(u32 *)({p} + 0) = {v}", p = in(reg) place, v = in(reg) value, options(nostack)) };
    }

    /// See [`store64`].
    #[inline(always)]
    fn store16(place: usize, value: u16) {
        // SAFETY: as above.
        unsafe { asm!("*(u16 *)({p} + 0) = {v}", p = in(reg) place, v = in(reg) value, options(nostack)) };
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    const _: () = assert!(size_of::<Load>() % 8 == 0);
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
