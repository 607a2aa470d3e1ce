//! Incremental Internet checksums (RFC 1624).
//!
//! A rewrite exchanges the same words in every packet of a backend, so their difference is summed once, when the
//! backend is configured, and a packet costs one addition per checksum whatever the address family.
//! Sums are of 16-bit words in the machine's byte order: one's-complement addition does not mind (RFC 1071 section 2).

use core::net::SocketAddr;

use crate::abi::octets;

/// What an exchange of address and port does to the checksums: `~m + m'` of RFC 1624 equation 3.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// For the IPv4 header: the address.
    pub l3: u16,
    /// For TCP: the address, by way of the pseudo-header, and the port.
    pub l4: u16,
}

impl Delta {
    /// Nothing is exchanged.
    pub const NONE: Self = Self { l3: 0, l4: 0 };

    /// `from` is exchanged for `to`.
    #[must_use]
    pub const fn between(from: SocketAddr, to: SocketAddr) -> Self {
        let l3 = fold(sum16(&octets(to)) + inverse_sum16(&octets(from)));
        let ports = word(to.port().to_be_bytes()) as u32 + !word(from.port().to_be_bytes()) as u32;
        Self { l3, l4: fold(l3 as u32 + ports) }
    }
}

impl Delta {
    /// What the exchange back does: a negation, which in one's-complement arithmetic is a complement.
    #[inline(always)]
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self { l3: !self.l3, l4: !self.l4 }
    }
}

/// What an exchange of one word for another does to a checksum. Words are as they lie in memory.
#[inline(always)]
#[must_use]
pub const fn between(from: u32, to: u32) -> u16 {
    fold(sum_words(&[!from, to]))
}

/// The checksum after an exchange.
#[inline(always)]
#[must_use]
pub const fn update(checksum: [u8; 2], delta: u16) -> [u8; 2] {
    (!fold(!word(checksum) as u32 + delta as u32)).to_ne_bytes()
}

/// The IPv4 header's checksum after an exchange and so many hops. The time to live is the first byte of its word.
#[inline(always)]
#[must_use]
pub const fn update_and_hops(checksum: [u8; 2], delta: u16, hops: u8) -> [u8; 2] {
    (!fold(!word(checksum) as u32 + delta as u32 + !word([hops, 0]) as u32)).to_ne_bytes()
}

/// The checksum of a one's-complement sum of words.
#[inline(always)]
#[must_use]
pub const fn finish(sum: u32) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// One's-complement sum of the 16-bit words of `bytes`, not folded. An odd last byte is left out.
#[inline(always)]
#[must_use]
pub const fn sum16<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i + 1 < N {
        sum += word([bytes[i], bytes[i + 1]]) as u32;
        i += 2;
    }
    sum
}

/// One's-complement sum of the halves of `words`, which are as they lie in memory; not folded.
#[inline(always)]
#[must_use]
pub const fn sum_words<const N: usize>(words: &[u32; N]) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i < N {
        sum += (words[i] & 0xffff) + (words[i] >> 16);
        i += 1;
    }
    sum
}

const fn inverse_sum16<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i + 1 < N {
        sum += !word([bytes[i], bytes[i + 1]]) as u32;
        i += 2;
    }
    sum
}

#[inline(always)]
const fn word(bytes: [u8; 2]) -> u16 {
    u16::from_ne_bytes(bytes)
}

/// Folds a sum of fewer than 2^16 words to 16 bits.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

const _: () = assert!(size_of::<Delta>() == 4);

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word (RFC 1071).
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum: u64 = 0;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// Zero has two representations; a receiver takes either.
    fn same(left: u16, right: u16) -> bool {
        left == right || (left.is_multiple_of(0xffff) && right.is_multiple_of(0xffff))
    }

    fn message(addr: SocketAddr, payload: &[u8]) -> std::vec::Vec<u8> {
        let mut bytes = std::vec::Vec::from(octets(addr));
        bytes.extend(addr.port().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    proptest! {
        #[test]
        fn exchange_equals_summing_anew(
            from in any::<(u128, u16)>(), to in any::<(u128, u16)>(), payload in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let from = SocketAddr::new(IpAddr::V6(from.0.into()), from.1);
            let to = SocketAddr::new(IpAddr::V6(to.0.into()), to.1);
            let before = slow(&message(from, &payload));
            let after = update(before.to_be_bytes(), Delta::between(from, to).l4);
            prop_assert!(same(u16::from_be_bytes(after), slow(&message(to, &payload))));
        }

        #[test]
        fn a_hop_equals_summing_anew(ttl in 1..=255u8, rest in any::<[u8; 7]>()) {
            let before = [ttl, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6]];
            let after = [ttl - 1, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6]];
            let updated = update_and_hops(slow(&before).to_be_bytes(), 0, 1);
            prop_assert!(same(u16::from_be_bytes(updated), slow(&after)));
        }

        #[test]
        fn an_exchanged_word_equals_summing_anew(from in any::<[u8; 4]>(), to in any::<[u8; 4]>(), rest in any::<[u8; 8]>()) {
            let message = |word: [u8; 4]| [&word[..], &rest].concat();
            let delta = between(u32::from_ne_bytes(from), u32::from_ne_bytes(to));
            let updated = update(slow(&message(from)).to_be_bytes(), delta);
            prop_assert!(same(u16::from_be_bytes(updated), slow(&message(to))));
        }

        #[test]
        fn sum_equals_the_definition(bytes in any::<[u8; 40]>()) {
            prop_assert_eq!(u16::from_be_bytes(finish(sum16(&bytes))), slow(&bytes));
            let words: [u32; 5] =
                core::array::from_fn(|i| u32::from_ne_bytes(core::array::from_fn(|j| bytes[4 * i + j])));
            prop_assert_eq!(finish(sum_words(&words)), finish(sum16(bytes.first_chunk::<20>().unwrap())));
        }
    }
}
