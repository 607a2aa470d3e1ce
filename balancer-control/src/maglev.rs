//! Filling a ring: weighted Maglev, and weighted round robin.
//!
//! Maglev (Eisenbud et al., NSDI 2016) gives every backend its own order of preference over the slots; the backends
//! take turns in choosing the first slot that is still free. A backend of lower weight takes part in fewer turns:
//! each round adds its weight to an account, and it has a turn when the account holds the largest weight
//! (the rule of Katran's `MaglevHashV2`, <https://github.com/facebookincubator/katran>).
//!
//! The number of slots is a power of two, so that the data path picks a slot with a mask. With an odd skip the order
//! `offset, offset + skip, offset + 2 skip, …` still visits every slot once. It is generated as it is needed: two
//! words per backend, where a table of all orders would be 512 MiB for 4096 backends.

use balancer_common::abi::{BackendId, RING_SLOTS, Ring};

/// The slots of a ring as a mask.
const MASK: u64 = RING_SLOTS as u64 - 1;
const _: () = assert!(RING_SLOTS.is_power_of_two());

/// Slots that the smallest backend is worth at least. Rounding takes less than one, and raising every small one of
/// 4096 backends to two dilutes the ring by an eighth at most: one slot is always left.
const MIN_SLOTS: u64 = 2;

/// A backend's part in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The backend that its slots hold.
    pub id: BackendId,
    /// Fixes its order of preference. Equal on every gateway, unlike the id: see [`seed`].
    pub seed: u64,
    /// Its share, relative to the other members. With 0 it has no slot.
    pub weight: u32,
}

/// Derives the seed of a backend from bytes that name it the same way on every gateway, such as
/// `mqtt/192.0.2.1:1883`.
///
/// FNV-1a over 64 bits with the finaliser of splitmix64. The function must never change: gateways of different
/// versions have to build the same ring.
#[must_use]
pub const fn seed(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    mix(hash)
}

/// Fills a ring by weighted Maglev: few slots change hands when members or weights change.
///
/// Depends on seeds and weights alone, not on the order of `members`. Every member with a weight gets a slot.
/// Without members every slot is [`BackendId::NONE`].
#[must_use]
pub fn maglev(members: &[Member]) -> Box<Ring> {
    let mut ring = Box::new(Ring([BackendId::NONE; RING_SLOTS]));
    let turns = Turns::new(members);
    let mut preferences: Vec<Preference> =
        turns.seats.iter().map(|seat| Preference::new(seat.seed)).collect();
    for (seat, id) in turns.take(RING_SLOTS) {
        let slot = preferences[seat].next_free(&ring);
        ring.0[slot] = id;
    }
    ring
}

/// Fills a ring in the order of weighted round robin: a cursor that walks it meets every member as often as its
/// weight says, and evenly spread.
#[must_use]
pub fn interleave(members: &[Member]) -> Box<Ring> {
    let mut ring = Box::new(Ring([BackendId::NONE; RING_SLOTS]));
    for (slot, (_, id)) in ring.0.iter_mut().zip(Turns::new(members)) {
        *slot = id;
    }
    ring
}

/// A backend's order of preference over the slots.
struct Preference {
    next: u64,
    skip: u64,
}

impl Preference {
    const fn new(seed: u64) -> Self {
        // The second word is drawn from another point of the same generator, so that offset and skip are independent.
        Self { next: mix(seed) & MASK, skip: mix(seed ^ 0x9e37_79b9_7f4a_7c15) & MASK | 1 }
    }

    /// The most preferred free slot. There must be one.
    fn next_free(&mut self, ring: &Ring) -> usize {
        loop {
            let slot = self.next as usize;
            self.next = (self.next + self.skip) & MASK;
            if ring.0[slot] == BackendId::NONE {
                return slot;
            }
        }
    }
}

/// One member at the table.
struct Seat {
    id: BackendId,
    seed: u64,
    weight: u64,
    account: u64,
}

/// The endless order in which members take turns.
struct Turns {
    seats: Vec<Seat>,
    price: u64,
    next: usize,
}

impl Turns {
    fn new(members: &[Member]) -> Self {
        let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
        let least = (MIN_SLOTS * total).div_ceil(RING_SLOTS as u64);
        let mut seats: Vec<Seat> = members
            .iter()
            .filter(|member| member.weight > 0)
            .map(|&Member { id, seed, weight }| Seat {
                id,
                seed,
                weight: u64::from(weight).max(least),
                account: 0,
            })
            .collect();
        // Gateways list the same backends in different orders and under different ids.
        seats.sort_by_key(|seat| (seat.seed, seat.id));
        let price = seats.iter().map(|seat| seat.weight).max().unwrap_or(0);
        Self { seats, price, next: 0 }
    }
}

impl Iterator for Turns {
    /// The seat and its backend.
    type Item = (usize, BackendId);

    fn next(&mut self) -> Option<Self::Item> {
        if self.seats.is_empty() {
            return None;
        }
        loop {
            let index = self.next;
            self.next = if index + 1 == self.seats.len() { 0 } else { index + 1 };
            let seat = &mut self.seats[index];
            seat.account += seat.weight;
            if seat.account >= self.price {
                seat.account -= self.price;
                return Some((index, seat.id));
            }
        }
    }
}

/// The finaliser of splitmix64: a bijection in which every input bit reaches every output bit.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
