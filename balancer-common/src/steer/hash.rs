//! The keyed hash of a flow.

/// Hashes the words of a flow with `key`.
///
/// The finalizer of MurmurHash3 (public domain, Austin Appleby) over each word: every input bit reaches every output
/// bit, in two multiplications. It keeps clients from choosing their backend only as far as `key` is secret; it is
/// not a cryptographic hash.
#[inline(always)]
#[must_use]
pub const fn flow(words: [u64; 3], key: u64) -> u64 {
    let mut hash = mix(key ^ words[0]);
    if words[1] | words[2] != 0 {
        hash = mix(hash ^ words[1]);
        hash = mix(hash ^ words[2]);
    }
    hash
}

#[inline(always)]
const fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}
