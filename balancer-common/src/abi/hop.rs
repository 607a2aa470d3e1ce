//! The next hop of a packet: interface, MAC addresses and VLAN tags.

/// One 802.1Q or 802.1ad tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// `0x8100` (802.1Q) or `0x88a8` (802.1ad).
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN id.
    pub tci: u16,
}

/// Up to two VLAN tags, outermost first. Two words, so that they are compared as such.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTags {
    /// Tag control information: priority, drop eligibility and VLAN id. That of the outer tag in the lower half.
    tci: u32,
    /// Bits 0 to 7 are the number of tags, 0 to 2. Bit 8 + `i` is set when tag `i` is 802.1ad (`0x88a8`) and not
    /// 802.1Q (`0x8100`).
    kinds: u32,
}

/// EtherType of an 802.1Q tag.
pub(crate) const TPID_8021Q: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
pub(crate) const TPID_8021AD: u16 = 0x88a8;

impl VlanTags {
    /// The most tags that are understood.
    pub const MAX: usize = 2;

    const SERVICE: u32 = 1 << 8;

    /// No tag.
    pub const NONE: Self = Self { tci: 0, kinds: 0 };

    /// The same tags with one more inside. `None` when there are two already.
    #[must_use]
    pub const fn push_inner(mut self, tag: VlanTag) -> Option<Self> {
        let count = self.kinds & 0xff;
        match count {
            0 => self.tci = tag.tci as u32,
            1 => self.tci |= (tag.tci as u32) << 16,
            _ => return None,
        }
        if tag.tpid == TPID_8021AD {
            self.kinds |= Self::SERVICE << count;
        }
        self.kinds += 1;
        Some(self)
    }

    /// Number of tags.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.kinds & 0xff) as usize
    }

    /// Whether there is no tag.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kinds == 0
    }

    /// The outermost tag.
    #[must_use]
    pub const fn outer(&self) -> Option<VlanTag> {
        if self.is_empty() { None } else { Some(VlanTag { tpid: self.tpid(0), tci: self.tci as u16 }) }
    }

    /// The second tag.
    #[must_use]
    pub const fn inner(&self) -> Option<VlanTag> {
        if self.len() < 2 { None } else { Some(VlanTag { tpid: self.tpid(1), tci: (self.tci >> 16) as u16 }) }
    }

    const fn tpid(&self, index: u32) -> u16 {
        if self.kinds & (Self::SERVICE << index) == 0 { TPID_8021Q } else { TPID_8021AD }
    }
}

/// Where a packet is sent: the interface, its own MAC address, the neighbour's, and the tags on that link.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Interface index; 0 when the hop is not known.
    pub ifindex: u32,
    /// The neighbour's MAC address and that of our interface, as in the frames that are sent: words, for those are written
    /// and compared without looking at bytes.
    pub addresses: [u32; 3],
    /// Tags on the link.
    pub vlan: VlanTags,
}

impl Hop {
    /// A hop that is not known: the packet's way is asked of the kernel.
    pub const UNKNOWN: Self = Self { ifindex: 0, addresses: [0; 3], vlan: VlanTags::NONE };

    /// The hop by an interface with the address `own` to `neighbour`, without tags.
    #[must_use]
    pub const fn new(ifindex: u32, neighbour: [u8; 6], own: [u8; 6]) -> Self {
        let ([n0, n1, n2, n3, n4, n5], [o0, o1, o2, o3, o4, o5]) = (neighbour, own);
        let addresses = [
            u32::from_ne_bytes([n0, n1, n2, n3]),
            u32::from_ne_bytes([n4, n5, o0, o1]),
            u32::from_ne_bytes([o2, o3, o4, o5]),
        ];
        Self { ifindex, addresses, vlan: VlanTags::NONE }
    }

    /// The neighbour's MAC address.
    #[must_use]
    pub const fn neighbour(&self) -> [u8; 6] {
        let ([a, b, c, d], [e, f, ..]) = (self.addresses[0].to_ne_bytes(), self.addresses[1].to_ne_bytes());
        [a, b, c, d, e, f]
    }

    /// The MAC address of our interface.
    #[must_use]
    pub const fn own(&self) -> [u8; 6] {
        let ([.., a, b], [c, d, e, f]) = (self.addresses[1].to_ne_bytes(), self.addresses[2].to_ne_bytes());
        [a, b, c, d, e, f]
    }

    /// The same hop to another neighbour.
    #[must_use]
    pub const fn to(self, neighbour: [u8; 6]) -> Self {
        Self { vlan: self.vlan, ..Self::new(self.ifindex, neighbour, self.own()) }
    }

    /// Whether the hop can be used.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.ifindex != 0
    }

    /// Whether it is the same hop: one comparison, where one for each field would be branches.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        let ([a, b, c], [d, e, f]) = (self.addresses, other.addresses);
        let differences = (self.ifindex ^ other.ifindex)
            | (a ^ d)
            | (b ^ e)
            | (c ^ f)
            | (self.vlan.tci ^ other.vlan.tci)
            | (self.vlan.kinds ^ other.vlan.kinds);
        differences == 0
    }
}

const _: () = assert!(size_of::<VlanTags>() == 8);
const _: () = assert!(size_of::<Hop>() == 24);
