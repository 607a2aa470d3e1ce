//! Maps whose keys and values are bytes of any length, and the exchange of two directories.
#![expect(unsafe_code, reason = "system calls that no library has")]

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::{BatchAttr, Cursor, ElementAttr, MAP_LOOKUP_BATCH, MAP_LOOKUP_ELEM, bpf, c_path, raw};

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
    let start = cursor.unwrap_or(Cursor(0));
    let mut end = Cursor(0);
    let mut attr = BatchAttr {
        in_batch: cursor.map_or(0, |_| std::ptr::from_ref(&start.0) as u64),
        out_batch: std::ptr::from_mut(&mut end.0) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map: raw(map.as_fd()),
        element_flags: 0,
        flags: 0,
    };
    let next = match bpf(MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => Some(end),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => return Err(error),
    };
    let count = (attr.count as usize).min(room);
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
