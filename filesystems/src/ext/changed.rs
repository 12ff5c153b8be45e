//! Metadata blocks that were changed and do not lie where they belong yet.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use images::disk::Page;

/// The blocks by their numbers: those of the running transaction, of the one that is being committed, and of older ones, which
/// are in the journal.
#[derive(Default)]
pub(super) struct Changed(RwLock<Layers>);

#[derive(Default)]
struct Layers {
    running: HashMap<u64, Page>,
    committing: HashMap<u64, Page>,
    committed: HashMap<u64, Page>,
}

impl Changed {
    /// The content of a block, if it was changed.
    pub fn get(&self, block: u64) -> Option<Page> {
        let Layers { running, committing, committed } = &*self.read();
        running.get(&block).or_else(|| committing.get(&block)).or_else(|| committed.get(&block)).cloned()
    }

    /// Puts a block into the running transaction, or takes it out again. Gives what was there.
    pub fn set(&self, block: u64, content: Option<Page>) -> Option<Page> {
        let running = &mut self.write().running;
        match content {
            Some(content) => running.insert(block, content),
            None => running.remove(&block),
        }
    }

    /// How many blocks the running transaction has.
    pub fn running(&self) -> usize {
        self.read().running.len()
    }

    /// Begins to commit: the blocks of the running transaction, by number. No other commit may begin before this one is
    /// [settled](Self::settle).
    pub fn commit(&self) -> Vec<(u64, Page)> {
        let layers = &mut *self.write();
        debug_assert!(layers.committing.is_empty(), "one commit at a time");
        layers.committing = std::mem::take(&mut layers.running);
        sorted(&layers.committing)
    }

    /// The commit is durable. What it revoked does not go where it belonged any more.
    pub fn settle(&self, revoked: impl IntoIterator<Item = u64>) {
        let layers = &mut *self.write();
        layers.committed.extend(layers.committing.drain());
        for block in revoked {
            layers.committed.remove(&block);
        }
    }

    /// The blocks of all commits, by number, that do not lie where they belong.
    pub fn committed(&self) -> Vec<(u64, Page)> {
        sorted(&self.read().committed)
    }

    /// How many these are.
    pub fn committed_count(&self) -> usize {
        self.read().committed.len()
    }

    /// All of them lie where they belong.
    pub fn went_home(&self) {
        self.write().committed.clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sorted(blocks: &HashMap<u64, Page>) -> Vec<(u64, Page)> {
    let mut blocks: Vec<_> = blocks.iter().map(|(block, page)| (*block, page.clone())).collect();
    blocks.sort_unstable_by_key(|(block, _)| *block);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_from_the_newest_transaction() {
        let (changed, page) = (Changed::default(), |byte: u8| Some(Page::from([byte])));
        assert_eq!(changed.set(7, page(1)), None);
        changed.set(3, page(2));
        assert_eq!(changed.commit(), [(3, page(2).unwrap()), (7, page(1).unwrap())]);
        assert_eq!((changed.get(7), changed.running()), (page(1), 0));
        assert_eq!(changed.set(7, page(3)), None);
        assert_eq!(changed.get(7), page(3));
        assert_eq!(changed.set(7, None), page(3), "taken back");
        assert_eq!(changed.get(7), page(1));
        changed.settle([]);
        assert_eq!((changed.get(7), changed.get(3)), (page(1), page(2)), "until they lie where they belong");
        changed.set(7, page(4));
        changed.commit();
        changed.settle([3]);
        assert_eq!(changed.committed(), [(7, page(4).unwrap())], "what was revoked never does");
        changed.went_home();
        assert_eq!((changed.get(7), changed.get(3)), (None, None));
    }
}
