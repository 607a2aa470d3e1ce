//! What the packet generator of the benchmarks and the program that drives it share.
#![no_std]

/// Words of the longest frame that is generated.
pub const FRAME_WORDS: usize = 16;

/// What the generator writes before it hands a packet on: a frame and the fields that differ from flow to flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The frame, `words` eight-byte words of it.
    pub frame: [u64; FRAME_WORDS],
    /// Length of the frame in words.
    pub words: u32,
    /// Number of flows.
    pub flows: u32,
    /// Which of the generator's cursors counts the packets: kinds of packets that take turns each go on where they were.
    pub cursor: u32,
    /// Client addresses from one CPU's to the next's; 0 when all CPUs send packets of the same flows.
    pub clients_per_cpu: u32,
    /// From one packet's flow to the next; below `flows` and without a common divisor, so that all flows have their
    /// turn in an order that no cache can foresee.
    pub stride: u32,
    /// Client address of flow 0 (its last four bytes for IPv6), in the machine's byte order.
    pub client: u32,
    /// Backend address of flow 0, in the machine's byte order.
    pub backend: u32,
    /// The backend of a flow is its number under this mask.
    pub backend_mask: u32,
    /// Offset of the client's address, its last four bytes for IPv6.
    pub client_at: u32,
    /// Offset of the client's port.
    pub port_at: u32,
    /// Offset of the backend's address, its last four bytes for IPv6; 0 when the frame has none.
    pub backend_at: u32,
    /// Offset of the acknowledgement number, which is another in every packet.
    pub ack_at: u32,
}

impl Load {
    /// The client's port in a flow.
    #[must_use]
    pub const fn port(flow: u32) -> u16 {
        1024 + (flow & 0x7fff) as u16
    }
}

/// Cursors of a generator.
pub const CURSORS: u32 = 8;

/// Which program a generator hands its packets to: its index among the generator's targets.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The program that is measured.
    Balancer = 0,
    /// A program that passes every packet.
    Empty = 1,
    /// A program that reads the headers and nothing else.
    Parse = 2,
    /// A balancer to compare with.
    Yardstick = 3,
    /// Katran's program, which is no part of the generator's object.
    Katran = 4,
}

impl Target {
    /// Number of targets.
    pub const COUNT: u32 = 5;
}

/// Names in the generator's object.
pub mod names {
    /// `Array<Load>`, one entry.
    pub const LOAD: &str = "LOAD";
    /// Program array by [`super::Target`].
    pub const TARGETS: &str = "TARGETS";
    /// Generator in front of the balancer.
    pub const TO_BALANCER: &str = "to_balancer";
    /// Generator in front of the empty program.
    pub const TO_EMPTY: &str = "to_empty";
    /// Generator in front of the parser.
    pub const TO_PARSE: &str = "to_parse";
    /// Generator in front of the yardstick.
    pub const TO_YARDSTICK: &str = "to_yardstick";
    /// Generator in front of Katran's program.
    pub const TO_KATRAN: &str = "to_katran";
    /// The empty program.
    pub const EMPTY: &str = "empty";
    /// The program that reads the headers.
    pub const PARSE: &str = "parse";
    /// The balancer to compare with.
    pub const YARDSTICK: &str = "yardstick";
    /// `Hash<VipKey, VipMeta>` of the yardstick.
    pub const YARD_VIPS: &str = "YARD_VIPS";
    /// `Array<u32>` of the yardstick: backend by slot.
    pub const YARD_RING: &str = "YARD_RING";
    /// `Array<Real>` of the yardstick: backends.
    pub const YARD_REALS: &str = "YARD_REALS";
}

/// Layouts of the yardstick, after Katran's.
pub mod yardstick {
    /// Flows in its table: room for the established and the new ones of a run, so that none evicts another.
    pub const FLOWS: u32 = 1 << 21;
    /// Slots of its ring.
    pub const RING: u32 = 65_537;
    /// Backends that it has room for.
    pub const REALS: u32 = 4096;

    /// A service.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct VipKey {
        /// Address as on the wire; IPv4 in the first word.
        pub addr: [u32; 4],
        /// Port as on the wire, and the protocol in the third byte.
        pub port: u32,
    }

    /// What is known of a service.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct VipMeta {
        /// Flags; not used.
        pub flags: u32,
        /// New connections per second and CPU above which none is remembered; 0 is no limit.
        pub flood_rate: u32,
    }

    /// A flow.
    #[repr(C, align(8))]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct FlowKey {
        /// Client, as on the wire.
        pub source: [u32; 4],
        /// Service, as on the wire.
        pub destination: [u32; 4],
        /// Both ports.
        pub ports: u32,
        /// Protocol.
        pub protocol: u32,
    }

    /// Where a flow goes.
    #[repr(C, align(8))]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Place {
        /// Backend.
        pub real: u32,
        /// Keeps the time aligned.
        pub reserved: u32,
        /// When it was last used; not written for TCP.
        pub last_seen: u64,
    }

    /// A backend.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Real {
        /// Address as on the wire; IPv4 in the first word.
        pub addr: [u32; 4],
        /// Flags; not used.
        pub flags: u32,
    }
}
