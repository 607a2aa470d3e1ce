//! Keys that another choice of a `kind` or `source` would use.

use crate::config::problem::{Findings, Place};

/// What was chosen.
pub(super) struct Chosen<K> {
    /// The key that chooses: `kind`, `source`.
    pub(super) by: &'static str,
    pub(super) choice: K,
    /// The word for a choice in the file.
    pub(super) word: fn(K) -> &'static str,
}

impl<K: Copy + PartialEq> Chosen<K> {
    /// Refuses each key that is given although none of the choices that use it was made.
    pub(super) fn check(&self, given: &[(&str, bool, &[K])], place: &Place, findings: &mut Findings) {
        for (key, given, users) in given {
            if *given {
                self.check_key(&place.key(key), users, findings);
            }
        }
    }

    /// Refuses a key that is given, unless one of the choices that use it was made.
    pub(super) fn check_key(&self, place: &Place, users: &[K], findings: &mut Findings) {
        if users.contains(&self.choice) {
            return;
        }
        let words: Vec<_> = users.iter().map(|choice| format!("{:?}", (self.word)(*choice))).collect();
        let (by, word) = (self.by, (self.word)(self.choice));
        findings.error(
            place,
            format!("is for {by} = {} only, and the {by} is {word:?}; leave it out", words.join(" or ")),
        );
    }
}
