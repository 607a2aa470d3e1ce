//! Atomic operations on map values. `core` offers none on BPF, whose target is declared without compare-and-swap;
//! the instructions exist since kernel 5.12 (commit 5ffa25502b5a) and are written out here.
#![expect(unsafe_code, reason = "instructions are written out")]

use core::{arch::asm, cell::Cell};

/// Writes `to` if the word is `from`; whether it was.
#[inline(always)]
pub(crate) fn compare_and_swap(word: &Cell<u64>, from: u64, to: u64) -> bool {
    let found: u64;
    // SAFETY: the reference is to an aligned word of a map value; the instruction reads and writes that word only.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {to})",
            word = in(reg) word.as_ptr(),
            to = in(reg) to,
            inout("r0") from => found,
            options(nostack),
        );
    }
    found == from
}

/// Adds one. The pointer must be to an aligned word of a map value.
#[inline(always)]
pub(crate) fn increment(word: *const u64) {
    // SAFETY: callers pass a pointer into a map value, which outlives the program's run; the instruction reads and
    // writes that word only.
    unsafe {
        asm!("lock *(u64 *)({word} + 0) += {one}", word = in(reg) word, one = in(reg) 1_u64, options(nostack));
    }
}
