//! The few `bpf(2)` commands that aya does not offer: batched look-ups, look-up-and-delete and XDP links with their
//! interface. All of this module's `unsafe` is in [`bpf`], [`obj_get`] and the two map commands.
#![expect(unsafe_code, reason = "raw system calls")]

pub(crate) mod bytes;
pub(crate) mod memory;

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::Pod;

/// `enum bpf_cmd` of `linux/bpf.h`.
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
/// `BPF_LINK_TYPE_XDP` of `enum bpf_link_type`.
const LINK_TYPE_XDP: u32 = 6;

/// How an XDP program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XdpFlag {
    /// `XDP_FLAGS_SKB_MODE`.
    Generic = 1 << 1,
    /// `XDP_FLAGS_DRV_MODE`.
    Native = 1 << 2,
}

/// Runs one `bpf(2)` command. Bytes of `attr` past what the kernel knows must be zero (or it says `E2BIG`).
fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: every caller passes the `repr(C)` attribute struct of its command, whose pointers refer to live memory
    // of the sizes the command reads and writes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(result: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor and nobody else has seen it.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Opens the map, program or link pinned at `path`.
pub(crate) fn obj_get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf(OBJ_GET, &mut ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 }).map(owned)
}

/// Pins what `fd` refers to at `path`.
pub(crate) fn obj_pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(OBJ_PIN, &mut ObjectAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 }).map(drop)
}

#[repr(C)]
struct LinkAttr {
    /// The program (create) or the link (update).
    fd: u32,
    /// The interface (create) or the new program (update).
    target: u32,
    /// The attach type (create) or flags (update).
    third: u32,
    /// Flags (create) or the expected program (update).
    fourth: u32,
}

/// Attaches `program` to an interface. The program stays for as long as the link is open or pinned.
pub(crate) fn link_create(program: BorrowedFd<'_>, ifindex: u32, flag: XdpFlag) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr { fd: raw(program), target: ifindex, third: ATTACH_XDP, fourth: flag as u32 };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Replaces the program of a link; no packet sees the interface without one.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_UPDATE, &mut LinkAttr { fd: raw(link), target: raw(program), third: 0, fourth: 0 }).map(drop)
}

/// Takes the program of a link off its interface at once, and not when the last reference to the link has gone.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut LinkAttr { fd: raw(link), target: 0, third: 0, fourth: 0 }).map(drop)
}

/// What the kernel says of an XDP link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct XdpLinkInfo {
    /// The program's id.
    pub(crate) program: u32,
    /// The interface; 0 when it is gone.
    pub(crate) ifindex: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// The head of `struct bpf_link_info`; room for the longest of its variants.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    /// `xdp.ifindex` for an XDP link.
    rest: [u32; 28],
}

/// Describes a link. `None` when `fd` is a link of another kind.
pub(crate) fn xdp_link_info(fd: BorrowedFd<'_>) -> io::Result<Option<XdpLinkInfo>> {
    let mut info = LinkInfo::default();
    let len = size_of::<LinkInfo>() as u32;
    let mut attr = InfoAttr { fd: raw(fd), len, info: std::ptr::from_mut(&mut info) as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok((info.kind == LINK_TYPE_XDP).then_some(XdpLinkInfo { program: info.program, ifindex: info.rest[0] }))
}

/// What kind of object a descriptor of `bpf(2)` refers to, from its name in `/proc`: `bpf-map`, `bpf-prog`,
/// `bpf_link` and so on.
pub(crate) fn object_kind(fd: BorrowedFd<'_>) -> io::Result<String> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(link.to_string_lossy().trim_start_matches("anon_inode:").trim_matches(['[', ']']).to_owned())
}

#[repr(C)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Removes a key of a hash map and returns the value it had at that moment. `None` when there is no such key.
///
/// Hash maps have it since Linux 5.14 (commit 3e87f192b405); older kernels say `EOPNOTSUPP` (524 inside the kernel,
/// which reaches us as `ENOTSUPP` or `EINVAL`).
pub(crate) fn lookup_and_delete<K: Pod, V: Pod>(map: impl AsFd, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::zeroed();
    let mut attr = ElementAttr {
        map: raw(map.as_fd()),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    match bpf(MAP_LOOKUP_AND_DELETE_ELEM, &mut attr) {
        // SAFETY: the command succeeded, so the kernel has written all of the value; `V: Pod` allows any bytes.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Where a walk over a hash map stands. The kernel's own mark; for a hash map the next bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor(u64);

/// Entries of one step of a walk.
#[derive(Debug)]
pub(crate) struct Batch<K, V> {
    /// Keys with their values.
    pub(crate) entries: Vec<(K, V)>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<Cursor>,
}

/// Reads up to `room` entries of a hash map from `cursor` on (Linux 5.6, commit 057996380a42).
///
/// A bucket is copied whole under its lock and entries never change buckets, so that an entry which is there during
/// the whole walk is seen exactly once. Fails with `ENOSPC` when one bucket has more than `room` entries.
pub(crate) fn lookup_batch<K: Pod, V: Pod>(
    map: impl AsFd,
    cursor: Option<Cursor>,
    room: usize,
) -> io::Result<Batch<K, V>> {
    let mut keys = Vec::<K>::with_capacity(room);
    let mut values = Vec::<V>::with_capacity(room);
    let places = (keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64);
    let (count, next) = step(raw(map.as_fd()), cursor, room, places)?;
    // SAFETY: the kernel has written `count` keys and values, no more than the vectors have room for, and `Pod`
    // allows any bytes.
    unsafe {
        keys.set_len(count);
        values.set_len(count);
    }
    Ok(Batch { entries: keys.into_iter().zip(values).collect(), next })
}

/// One step of a walk. The kernel writes up to `room` keys and values to the two places, which must have that much
/// room. Says how many there are, and where to go on.
fn step(
    map: u32,
    cursor: Option<Cursor>,
    room: usize,
    (keys, values): (u64, u64),
) -> io::Result<(usize, Option<Cursor>)> {
    let start = cursor.unwrap_or(Cursor(0));
    let mut end = Cursor(0);
    let mut attr = BatchAttr {
        in_batch: cursor.map_or(0, |_| std::ptr::from_ref(&start.0) as u64),
        out_batch: std::ptr::from_mut(&mut end.0) as u64,
        keys,
        values,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map,
        element_flags: 0,
        flags: 0,
    };
    let next = match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => Some(end),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => return Err(error),
    };
    Ok(((attr.count as usize).min(room), next))
}

/// Waits until every packet that was in the data path has left it (`membarrier(2)`, a grace period of RCU).
pub(crate) fn grace_period() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: the command takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const MAP_LOOKUP_ELEM: libc::c_long = 1;

/// Reads entry 0 of an array map whose values may have any size. Of a per-CPU map, the values of all CPUs.
pub(crate) fn first_value(map: impl AsFd, value_size: usize) -> io::Result<Vec<u8>> {
    // The kernel writes one value, or as many as there can be CPUs: room for the latter fits every type of map.
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let key = 0_u32;
    let mut value = vec![0_u8; value_size.next_multiple_of(8) * cpus];
    let mut attr = ElementAttr {
        map: raw(map.as_fd()),
        pad: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    bpf(MAP_LOOKUP_ELEM, &mut attr)?;
    Ok(value)
}

/// Whether a path is on a BPF file system (`BPF_FS_MAGIC`).
pub(crate) fn is_bpffs(path: &Path) -> io::Result<bool> {
    const BPF_FS_MAGIC: libc::__fsword_t = 0xcafe_4a11;
    let path = c_path(path)?;
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is a C string and the buffer is one `statfs`, both alive during the call.
    let result = unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it, and zeroes were valid to begin with.
    Ok(unsafe { stat.assume_init() }.f_type == BPF_FS_MAGIC)
}

/// Mounts a BPF file system that root alone may enter.
pub(crate) fn mount_bpffs(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: all arguments are C strings that live during the call.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, c"mode=0700".as_ptr().cast())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The index of an interface, if there is one of that name in the network namespace of this thread.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string that lives during the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of the interface of an index, if there is one in the network namespace of this thread.
pub(crate) fn interface_name(index: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as any name with its end, and lives during the call.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    let bytes = name.map(libc::c_char::cast_unsigned);
    CStr::from_bytes_until_nul(&bytes).ok()?.to_str().ok().map(str::to_owned)
}

/// Raises the number of descriptors that this process may have to the most that it may raise it to.
pub(crate) fn allow_descriptors() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the buffer is one `rlimit`, alive during the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
pub(crate) fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is one `timespec`. The call cannot fail: the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Moves this thread into a network namespace of its own, which ends with it.
#[cfg(test)]
pub(crate) fn unshare_network() {
    // SAFETY: the call takes no pointers and affects this thread alone.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "unshare: {}", io::Error::last_os_error());
}

/// The id by which other processes know this thread.
#[cfg(test)]
pub(crate) fn thread_id() -> i32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::gettid() }
}
