//! Maps whose keys and values are bytes of any length, and the exchange of two directories.
#![expect(unsafe_code, reason = "system calls that no library has")]

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::Pod;

use super::{Cursor, ElementAttr, MAP_LOOKUP_ELEM, bpf, c_path, raw, step};

const MAP_UPDATE_ELEM: libc::c_long = 2;

/// Inserts unless the key is there.
pub(crate) const ABSENT: u64 = 1;

/// Inserts or replaces.
pub(crate) const ANY: u64 = 0;

/// Keys and values, one behind the other, and where to go on.
pub(crate) struct Bytes {
    pub(crate) keys: Vec<u8>,
    pub(crate) values: Vec<u8>,
    pub(crate) next: Option<Cursor>,
}

/// As [`super::lookup_batch`], of a map whose keys and values have these sizes.
pub(crate) fn lookup_batch(
    map: impl AsFd,
    cursor: Option<Cursor>,
    room: usize,
    (key, value): (usize, usize),
) -> io::Result<Bytes> {
    let (mut keys, mut values) = (vec![0; room * key], vec![0; room * value.next_multiple_of(8)]);
    let places = (keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64);
    let (count, next) = step(raw(map.as_fd()), cursor, room, places)?;
    keys.truncate(count * key);
    values.truncate(count * value);
    Ok(Bytes { keys, values, next })
}

/// Reads one entry; `None` when it is not there.
pub(crate) fn lookup(map: impl AsFd, key: &[u8], value_size: usize) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; value_size];
    let mut attr = ElementAttr {
        map: raw(map.as_fd()),
        pad: 0,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The value that these bytes are; `None` when there are too few or too many.
pub(crate) fn value<V: Pod>(bytes: &[u8]) -> Option<V> {
    // SAFETY: any bytes are a value, and there are as many as it has.
    (bytes.len() == size_of::<V>()).then(|| unsafe { bytes.as_ptr().cast::<V>().read_unaligned() })
}

/// Writes one entry. Key and value must have the map's sizes.
pub(crate) fn update(map: impl AsFd, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = ElementAttr {
        map: raw(map.as_fd()),
        pad: 0,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags,
    };
    bpf(MAP_UPDATE_ELEM, &mut attr).map(|_| ())
}

/// Makes each of two directories what the other was, at once (Linux 5.16 for the BPF file system, commit
/// 6429e46304ac).
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let (one, other) = (c_path(one)?, c_path(other)?);
    // SAFETY: both paths are C strings that live during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
