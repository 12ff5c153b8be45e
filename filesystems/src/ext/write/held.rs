//! Nodes that somebody holds: an inode that loses its last name lives on as long as it is among them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use images::{Budget, Error, Reservation, Result};

use crate::ext::layout::ROOT_INO;

/// What a node that is held takes, in bytes, about.
const NODE: u64 = 48;

/// How often each inode is held. What is held is counted in the budget.
pub(in crate::ext) struct Held(Mutex<Table>);

struct Table {
    nodes: HashMap<u32, Node>,
    memory: Reservation,
}

struct Node {
    times: u64,
    /// Whether it has no name any more.
    ended: bool,
}

impl Held {
    /// Nothing is held.
    pub fn new(budget: &Budget) -> Self {
        Self(Mutex::new(Table { nodes: HashMap::new(), memory: budget.empty() }))
    }

    /// An inode was found, and is held once more. Fails with `Memory` if there are too many.
    pub fn add(&self, inode: u32) -> Result<()> {
        let table = &mut *self.table();
        if let Some(node) = table.nodes.get_mut(&inode) {
            node.times = node.times.saturating_add(1);
            return Ok(());
        }
        table.memory.grow(NODE, "the nodes that are in use")?;
        table.nodes.insert(inode, Node { times: 1, ended: false });
        Ok(())
    }

    /// Holds an inode once more that somebody holds, or fails with `NotFound`. The root is always held.
    pub fn again(&self, inode: u32) -> Result<()> {
        match self.table().nodes.get_mut(&inode) {
            Some(node) => node.times = node.times.saturating_add(1),
            None if inode == ROOT_INO => {}
            None => return Err(Error::NotFound),
        }
        Ok(())
    }

    /// Takes back that an inode is held, `times` times. Whether it ends with that, because it has no name any more.
    pub fn forget(&self, inode: u32, times: u64) -> bool {
        let table = &mut *self.table();
        let Some(node) = table.nodes.get_mut(&inode) else { return false };
        node.times = node.times.saturating_sub(times);
        if node.times > 0 {
            return false;
        }
        let ended = node.ended;
        table.nodes.remove(&inode);
        table.memory.shrink(NODE);
        ended
    }

    /// Whether anybody holds an inode.
    pub fn contains(&self, inode: u32) -> bool {
        inode == ROOT_INO || self.table().nodes.contains_key(&inode)
    }

    /// An inode has lost its last name. Whether anybody still holds it.
    pub fn end(&self, inode: u32) -> bool {
        match self.table().nodes.get_mut(&inode) {
            Some(node) => node.ended = true,
            None => return false,
        }
        true
    }

    /// The inodes that have no name any more: nobody holds them from now on.
    pub fn take_ended(&self) -> Vec<u32> {
        let table = &mut *self.table();
        let ended: Vec<u32> = table.nodes.iter().filter(|(_, node)| node.ended).map(|(inode, _)| *inode).collect();
        for inode in &ended {
            table.nodes.remove(inode);
            table.memory.shrink(NODE);
        }
        ended
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_names_ends_with_its_last_hold() {
        let budget = Budget::new(1 << 20);
        let held = Held::new(&budget);
        assert!(held.again(12).is_err() && held.again(ROOT_INO).is_ok() && held.contains(ROOT_INO));
        held.add(12).unwrap();
        held.again(12).unwrap();
        assert!(held.end(12) && !held.end(13), "nobody holds 13");
        assert!(!held.forget(12, 1) && held.contains(12));
        assert!(held.forget(12, 1) && !held.contains(12));
        assert!(!held.forget(12, 1), "only once");
        held.add(14).unwrap();
        assert!(!held.forget(14, 9), "it has a name");
        held.add(15).unwrap();
        held.end(15);
        assert_eq!(held.take_ended(), [15]);
        assert_eq!(budget.free(), budget.limit());
    }
}
