//! A deleted node on its way into the list.

use std::sync::Arc;

use super::DELETED;
use super::names;
use super::version::Version;
use crate::forensics::{Deleted, Evidence, Parent};
use crate::node::NodeId;

/// What a node takes in the list, in bytes, about, beside its inode, its evidence, its name and its places.
pub(super) const FOUND: usize = 2 * size_of::<Found>() + size_of::<Version>() + size_of::<Deleted>() + 64;

/// A deleted node and what is read for it. Until the whole list is known, nodes are named by their index in it.
pub(super) struct Found {
    pub(super) version: Version,
    pub(super) deleted: Deleted,
    /// Its other names, if it had several at a time: directory, name, and where that was found.
    pub(super) links: Vec<(Parent, Arc<[u8]>, Evidence)>,
}

impl Found {
    /// What is to be read, and the list's entries for it, one for each name, where the list's first node has the index
    /// `first` of all.
    pub(super) fn into_entries(self, first: u64) -> (Version, Vec<Deleted>) {
        let id = |index: NodeId| NodeId(DELETED | (first + index.0));
        let home = |parent| match parent {
            Parent::Deleted(index) => Parent::Deleted(id(index)),
            other => other,
        };
        let Self { version, deleted, links } = self;
        let mut entries = vec![Deleted { node: id(deleted.node), parent: home(deleted.parent), ..deleted }];
        for (parent, name, evidence) in links {
            let mut entry = Deleted { parent: home(parent), name: Some(name), ..entries[0].clone() };
            let own = entry.evidence.iter_mut().find(|evidence| names::is_of_name(evidence));
            own.into_iter().for_each(|own| *own = evidence.clone());
            entries.push(entry);
        }
        (version, entries)
    }
}
