//! What this host lacks when it cannot even ask: descriptors, local ports, memory for sockets.
//!
//! With many backends all of them are asked in vain at the same moment, and none of that says anything of them.

use std::io;

/// Whether an error is about what this host has left, and not about the other side.
pub(crate) fn is_lack(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_here_is_told_from_what_others_do() {
        let is = |code| is_lack(&io::Error::from_raw_os_error(code));
        assert!(is(libc::EMFILE) && is(libc::ENFILE) && is(libc::EADDRNOTAVAIL));
        assert!(is(libc::ENOBUFS) && is(libc::ENOMEM));
        for theirs in
            [libc::ECONNREFUSED, libc::ECONNRESET, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ETIMEDOUT]
        {
            assert!(!is(theirs));
        }
        assert!(!is_lack(&io::ErrorKind::OutOfMemory.into()), "no answer of the system");
    }
}
