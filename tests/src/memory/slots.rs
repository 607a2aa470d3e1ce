//! A hash map whose values can be borrowed while others are put in, replaced and removed.

use std::{cell::RefCell, collections::HashMap, hash::Hash};

use elsa::FrozenVec;

/// Removed and replaced values stay where they are until [`Slots::tidy`], as in a preallocated kernel map an entry's
/// memory outlives the entry for whoever still looks at it.
pub(super) struct Slots<K, V> {
    values: FrozenVec<Box<V>>,
    index: RefCell<HashMap<K, usize>>,
}

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self { values: FrozenVec::new(), index: RefCell::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Slots<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let index = self.index.borrow().get(key).copied()?;
        self.values.get(index)
    }

    pub(super) fn put(&self, key: K, value: V) {
        self.index.borrow_mut().insert(key, self.values.len());
        self.values.push(Box::new(value));
    }

    pub(super) fn remove(&self, key: &K) {
        self.index.borrow_mut().remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.index.borrow().len()
    }

    pub(super) fn iter<T>(&self, snapshot: impl Fn(&V) -> T) -> Vec<(K, T)> {
        let value = |index: usize| snapshot(&self.values[index]);
        self.index.borrow().iter().map(|(key, index)| (*key, value(*index))).collect()
    }

    /// Drops what was removed or replaced, once that is most of it.
    pub(super) fn tidy(&mut self, copy: impl Fn(&V) -> V) {
        const SPARE: usize = 1024;
        if self.values.len() < 2 * self.len() + SPARE {
            return;
        }
        let kept = Self::default();
        for (key, value) in self.iter(copy) {
            kept.put(key, value);
        }
        *self = kept;
    }
}
