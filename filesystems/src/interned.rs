//! Ids for nodes whose own keys are wider than an id, or move: given when a node is first seen, and taken back when nobody
//! holds it any more.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use images::{Budget, Error, Reservation, Result, unsupported};

use crate::NodeId;
use crate::node::FIRST_VIEW;

/// What a node takes beside its key, which is there twice, in bytes, about.
const NODE: usize = 96;

/// The nodes that somebody holds, by their keys. An id is never given again, so that one that is still in somebody's hands
/// means no other node.
///
/// The root is always held. What is held is counted in the budget: who lists millions of nodes and gives none of them back
/// is refused with `Memory`.
pub struct Interned<K> {
    table: Mutex<Table<K>>,
}

struct Table<K> {
    ids: HashMap<K, u64>,
    nodes: HashMap<u64, Node<K>>,
    next: u64,
    held: Reservation,
}

struct Node<K> {
    /// None once another node has taken its place.
    key: Option<K>,
    /// How often it is held.
    times: u64,
}

impl<K: Clone + Eq + Hash> Interned<K> {
    /// The root.
    pub const ROOT: NodeId = NodeId(1);

    /// A table with nothing in it but the root.
    pub fn new(root: K, budget: &Budget) -> Self {
        let (ids, nodes) = (HashMap::from([(root.clone(), Self::ROOT.0)]), HashMap::new());
        let mut table = Table { ids, nodes, next: Self::ROOT.0 + 1, held: budget.empty() };
        table.nodes.insert(Self::ROOT.0, Node { key: Some(root), times: 1 });
        Self { table: Mutex::new(table) }
    }

    /// The id of a node, which is held once more. Fails with `Memory` if there are too many.
    pub fn id(&self, key: &K) -> Result<NodeId> {
        let table = &mut *self.table();
        if let Some(id) = table.ids.get(key) {
            if let Some(node) = table.nodes.get_mut(id) {
                node.times = node.times.saturating_add(1);
            }
            return Ok(NodeId(*id));
        }
        let id = table.next;
        if id >= FIRST_VIEW {
            return Err(unsupported!("more than {FIRST_VIEW} nodes were looked at"));
        }
        table.held.grow(Self::weight(), "the nodes that are in use")?;
        table.next += 1;
        table.ids.insert(key.clone(), id);
        table.nodes.insert(id, Node { key: Some(key.clone()), times: 1 });
        Ok(NodeId(id))
    }

    /// The key of a node. Fails with `NotFound` if nobody holds it, or another has taken its place.
    pub fn key(&self, node: NodeId) -> Result<K> {
        self.table().nodes.get(&node.0).and_then(|node| node.key.clone()).ok_or(Error::NotFound)
    }

    /// Whether somebody holds the node of this key.
    pub fn is_held(&self, key: &K) -> bool {
        self.table().ids.contains_key(key)
    }

    /// Holds a node once more. Fails with `NotFound` if nobody holds it.
    pub fn hold(&self, node: NodeId) -> Result<()> {
        let mut table = self.table();
        let node = table.nodes.get_mut(&node.0).ok_or(Error::NotFound)?;
        node.times = node.times.saturating_add(1);
        Ok(())
    }

    /// Takes back that a node is held, `times` times; the last time its id ends. The root stays.
    pub fn forget(&self, node: NodeId, times: u64) {
        let table = &mut *self.table();
        let Some(held) = table.nodes.get_mut(&node.0).filter(|_| node != Self::ROOT) else { return };
        held.times = held.times.saturating_sub(times);
        if held.times == 0
            && let Some(ended) = table.nodes.remove(&node.0)
        {
            ended.key.and_then(|key| table.ids.remove(&key));
            table.held.shrink(Self::weight());
        }
    }

    /// Gives a node another key: it was moved, and who holds it still means the same. The node that had this key has none
    /// from then on: its place was taken.
    pub fn rekey(&self, from: &K, to: K) {
        let table = &mut *self.table();
        if let Some(replaced) = table.ids.remove(&to).and_then(|id| table.nodes.get_mut(&id)) {
            replaced.key = None;
        }
        let Some(id) = table.ids.remove(from) else { return };
        if let Some(node) = table.nodes.get_mut(&id) {
            node.key = Some(to.clone());
        }
        table.ids.insert(to, id);
    }

    /// How many nodes are held, the root among them.
    pub fn count(&self) -> usize {
        self.table().nodes.len()
    }

    fn weight() -> u64 {
        (NODE + 2 * size_of::<K>()) as u64
    }

    fn table(&self) -> MutexGuard<'_, Table<K>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: (u64, u64) = (u64::MAX, u64::MAX - 1);

    #[test]
    fn ids_last_as_long_as_they_are_held() {
        let budget = Budget::new(1 << 20);
        let nodes = Interned::new((5, 256), &budget);
        let id = nodes.id(&WIDE).unwrap();
        assert_eq!((nodes.id(&WIDE).unwrap(), nodes.count()), (id, 2));
        assert!(id.0 < FIRST_VIEW);
        nodes.hold(id).unwrap();
        nodes.forget(id, 2);
        assert_eq!(nodes.key(id).unwrap(), WIDE, "still open");
        nodes.forget(id, 1);
        assert!(matches!(nodes.key(id), Err(Error::NotFound)) && nodes.hold(id).is_err());
        assert_eq!(budget.free(), budget.limit());
        assert_ne!(nodes.id(&WIDE).unwrap(), id, "an id is not given twice");
        nodes.forget(NodeId(1), 1000);
        assert_eq!(nodes.key(Interned::<(u64, u64)>::ROOT).unwrap(), (5, 256), "the root stays");
    }

    #[test]
    fn what_is_held_is_counted() {
        let budget = Budget::new(10_000);
        let nodes = Interned::new(0u64, &budget);
        let ids: Vec<_> = (1..).map_while(|key| nodes.id(&key).ok()).collect();
        assert!((40..100).contains(&ids.len()), "{}", ids.len());
        assert!(matches!(nodes.id(&u64::MAX), Err(Error::Memory(_))));
        ids.iter().for_each(|id| nodes.forget(*id, 1));
        assert_eq!((nodes.count(), budget.free()), (1, budget.limit()));
    }

    #[test]
    fn a_node_that_moves_stays_the_same() {
        let nodes = Interned::new("/", &Budget::default());
        let (a, b) = (nodes.id(&"a").unwrap(), nodes.id(&"b").unwrap());
        nodes.rekey(&"a", "b");
        assert_eq!((nodes.key(a).unwrap(), nodes.id(&"b").unwrap()), ("b", a));
        assert_ne!(nodes.id(&"a").unwrap(), a, "another node is there now");
        assert!(nodes.key(b).is_err(), "what was there is another's");
        nodes.forget(b, 1);
        assert_eq!(nodes.id(&"b").unwrap(), a, "the one that was replaced ends without it");
        nodes.forget(a, 9);
        assert_ne!(nodes.id(&"b").unwrap(), a);
    }
}
