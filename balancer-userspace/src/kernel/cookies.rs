//! Whether the kernel makes SYN cookies for XDP programs.

use std::sync::OnceLock;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};

/// The helpers came with Linux 6.0 (commit 33bf9885040c), for kernels that are built with `CONFIG_SYN_COOKIES`.
const HELPERS: [BpfHelper; 4] = [
    BpfHelper::BPF_FUNC_tcp_raw_gen_syncookie_ipv4,
    BpfHelper::BPF_FUNC_tcp_raw_gen_syncookie_ipv6,
    BpfHelper::BPF_FUNC_tcp_raw_check_syncookie_ipv4,
    BpfHelper::BPF_FUNC_tcp_raw_check_syncookie_ipv6,
];

/// Whether the running kernel has all four helpers. Asked once; a kernel that does not answer has none.
#[must_use]
pub fn are_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    let has = |helper: BpfHelper| is_helper_supported(ProgramType::Xdp, helper).unwrap_or(false);
    *THERE.get_or_init(|| HELPERS.into_iter().all(has))
}
