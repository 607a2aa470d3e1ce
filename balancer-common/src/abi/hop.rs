//! The next hop of a packet: interface, MAC addresses and VLAN tags.
#![expect(
    unsafe_code,
    reason = "a hop that others may write is read in place, and read and written by words"
)]

use core::{cell::Cell, mem, ptr};

/// One 802.1Q or 802.1ad tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// `0x8100` (802.1Q) or `0x88a8` (802.1ad).
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN id.
    pub tci: u16,
}

/// Up to two VLAN tags, outermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTags {
    /// Tag control information: priority, drop eligibility and VLAN id.
    tci: [u16; 2],
    /// Number of tags, 0 to 2.
    count: u8,
    /// Bit `i` is set when tag `i` is 802.1ad (`0x88a8`) and not 802.1Q (`0x8100`).
    service: u8,
}

/// EtherType of an 802.1Q tag.
pub(crate) const TPID_8021Q: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
pub(crate) const TPID_8021AD: u16 = 0x88a8;

impl VlanTags {
    /// The most tags that are understood.
    pub const MAX: usize = 2;

    /// No tag.
    pub const NONE: Self = Self { tci: [0; 2], count: 0, service: 0 };

    /// The same tags with one more inside. `None` when there are two already.
    #[must_use]
    pub const fn push_inner(mut self, tag: VlanTag) -> Option<Self> {
        match self.count {
            0 => self.tci[0] = tag.tci,
            1 => self.tci[1] = tag.tci,
            _ => return None,
        }
        if tag.tpid == TPID_8021AD {
            self.service |= 1 << self.count;
        }
        self.count += 1;
        Some(self)
    }

    /// The tags as the last two of [`Hop::words`], of which `reserved` is a part.
    #[inline(always)]
    pub(crate) const fn words(self) -> [u32; 2] {
        let [[a, b], [c, d]] = [self.tci[0].to_ne_bytes(), self.tci[1].to_ne_bytes()];
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([self.count, self.service, 0, 0])]
    }

    /// Number of tags.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no tag.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The outermost tag.
    #[must_use]
    pub const fn outer(&self) -> Option<VlanTag> {
        if self.count == 0 { None } else { Some(VlanTag { tpid: self.tpid(0), tci: self.tci[0] }) }
    }

    /// The second tag.
    #[must_use]
    pub const fn inner(&self) -> Option<VlanTag> {
        if self.count < 2 { None } else { Some(VlanTag { tpid: self.tpid(1), tci: self.tci[1] }) }
    }

    const fn tpid(&self, index: u8) -> u16 {
        if self.service & (1 << index) == 0 { TPID_8021Q } else { TPID_8021AD }
    }
}

/// Where a packet is sent: the interface, its own MAC address, the neighbour's, and the tags on that link.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Interface index; 0 when the hop is not known.
    pub ifindex: u32,
    /// Destination MAC address.
    pub neighbour: [u8; 6],
    /// Source MAC address: that of our interface.
    pub own: [u8; 6],
    /// Tags on the link.
    pub vlan: VlanTags,
    /// Keeps the size a multiple of eight.
    pub reserved: u16,
}

impl Hop {
    /// A hop that is not known: the packet's way is asked of the kernel.
    pub const UNKNOWN: Self =
        Self { ifindex: 0, neighbour: [0; 6], own: [0; 6], vlan: VlanTags::NONE, reserved: 0 };

    /// The hop in words: interface, neighbour and own address, tags. What is done with it for every packet is done by
    /// words, see [`crate::packet::Frame::words`].
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 6] {
        // SAFETY: a hop has the size of the words, a larger alignment, and no padding.
        unsafe { *ptr::from_ref(self).cast::<[u32; 6]>() }
    }

    /// Whether the hop can be used.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.ifindex != 0
    }
}

/// A [`Hop`] that one CPU may write while others read it.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct HopCell([Cell<u64>; 3]);

impl HopCell {
    /// A cell of its own.
    #[must_use]
    pub(super) fn new(hop: &Hop) -> Self {
        let cell = Self(Default::default());
        cell.set(hop);
        cell
    }

    /// The hop in its place, for the program: a copy would take stack, of which it has too little.
    ///
    /// A packet that comes while another CPU writes it may go by a mixture of the two. So may those that follow when two CPUs
    /// write it at once, until the client's next packet.
    #[inline(always)]
    #[must_use]
    pub(super) const fn get(&self) -> &Hop {
        // SAFETY: the words have a hop's size and alignment, and any bytes are one. That another CPU may write them
        // meanwhile is left to what the compiler makes of it for BPF: loads, each of which gives some of either hop.
        unsafe { &*ptr::from_ref(&self.0).cast::<Hop>() }
    }

    /// A copy of the hop.
    #[must_use]
    pub(super) const fn read(&self) -> Hop {
        let [first, second, third] = &self.0;
        // SAFETY: the words have a hop's size, and any bytes are one.
        unsafe { mem::transmute::<[u64; 3], Hop>([first.get(), second.get(), third.get()]) }
    }

    /// Writes the hop.
    #[inline(always)]
    pub(super) fn set(&self, hop: &Hop) {
        // SAFETY: a hop has the size and the alignment of the words, and no padding.
        let [first, second, third] = unsafe { *ptr::from_ref(hop).cast::<[u64; 3]>() };
        self.0[0].set(first);
        self.0[1].set(second);
        self.0[2].set(third);
    }
}

const _: () = assert!(size_of::<VlanTags>() == 6);
const _: () = assert!(size_of::<Hop>() == 24 && size_of::<HopCell>() == 24 && align_of::<Hop>() == 8);
