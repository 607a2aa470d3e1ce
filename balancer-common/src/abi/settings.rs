//! Settings of the whole data path.

/// The one entry of the `SETTINGS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`super::ABI_VERSION`] of the agent that created the maps.
    pub abi_version: u32,
    /// New flows per second and CPU from which on SYNs are steered by the ring alone and leave no state. 0 is never.
    pub flood_syns: u32,
    /// Key of the flow hash. Drawn at random once; gateways that share flows are given the same one.
    pub hash_key: u64,
    /// Key of the hash that half-open connections are found by. Drawn at random with the maps, and theirs for good.
    pub half_open_key: u64,
    /// Key of the hash that flows are found by. Drawn at random with the maps, and theirs for good.
    pub flow_key: u64,
    /// Number of entries of `FLOW_TAGS4`.
    pub flows4_sets: u32,
    /// Number of entries of `FLOW_TAGS6`.
    pub flows6_sets: u32,
    /// Entries of `FLOWS4` above which new flows are steered by the ring alone.
    pub flows4_high: u32,
    /// Entries of `FLOWS6` above which new flows are steered by the ring alone.
    pub flows6_high: u32,
    /// How long (data path clock) packets of unknown flows are adopted after a flow was steered without state:
    /// the established idle timeout.
    pub adopt_for: u32,
    /// Number of services that `RINGS` has room for.
    pub services: u32,
    /// SYNs per clock unit and CPU from which on they are answered with cookies. 0 is never.
    pub shield_syns: u32,
    /// Largest IPv4 segment that clients of shielded flows are asked to send.
    pub shield_mss4: u16,
    /// Largest IPv6 segment that clients of shielded flows are asked to send.
    pub shield_mss6: u16,
}

const _: () = assert!(size_of::<Settings>() == 64);
