//! Extended attributes: the guest's own, and the few that the front adds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use filesystems::{FileSystem, NodeId};
use images::Result;

use super::attributes::Owner;

/// On the root of a mount: the process that serves it. Answered, but not listed, so that copies do not take it.
pub const PID: &str = "user.imgmount.pid";

/// On the root of a mount that is written: where its process says what came of the last writes.
pub const REPORT: &str = "user.imgmount.report";

/// With `-o uid=`: the owner in the guest.
const UID: &[u8] = b"user.imgmount.uid";

/// With `-o gid=`: the group in the guest.
const GID: &[u8] = b"user.imgmount.gid";

/// What SELinux calls a node.
pub const LABEL: &[u8] = b"security.selinux";

/// The access control lists.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Whether the attribute is an access control list.
pub fn is_acl(name: &[u8]) -> bool {
    ACLS.contains(&name)
}

/// Whether the attribute is one that the front adds, and nobody sets.
pub fn is_own(name: &[u8]) -> bool {
    name == PID.as_bytes() || name == REPORT.as_bytes() || name == UID || name == GID
}

/// How many questions after labels and ACLs that nodes do not have come before the whole tree is looked through. Ours:
/// a look at a few files does not pay for it, and `ls -l` of thousands does.
const MISSES: u32 = 256;

/// What a tree without labels, or without ACLs, answers to those who ask every node for one.
///
/// `ls -l` asks twice for each file, and two more requests a file are what it takes longest for. It stops where it is
/// told that the file system does not support them, which is true of a tree in which no node has one.
#[derive(Default)]
pub struct Unused {
    misses: AtomicU32,
    labels: OnceLock<bool>,
    acls: OnceLock<bool>,
    /// Nodes have got labels or ACLs since: nothing is unsupported any more.
    set: AtomicBool,
}

impl Unused {
    /// Whether a node that does not have the attribute `name` is on a tree where no node can have it.
    pub fn is_unsupported(&self, fs: &dyn FileSystem, name: &[u8]) -> bool {
        if self.set.load(Ordering::Relaxed) {
            return false;
        }
        let (known, names) = match name {
            LABEL => (&self.labels, &[LABEL][..]),
            name if is_acl(name) => (&self.acls, &ACLS[..]),
            _ => return false,
        };
        // Counting may be off by a few among threads: it only says when to look.
        if known.get().is_none() && self.misses.fetch_add(1, Ordering::Relaxed) < MISSES {
            return false;
        }
        *known.get_or_init(|| !names.iter().any(|name| fs.may_have_xattr(name)))
    }

    /// Notes that an attribute was set.
    pub fn was_set(&self, name: &[u8]) {
        if name == LABEL || is_acl(name) {
            self.set.store(true, Ordering::Relaxed);
        }
    }
}

/// The value of an attribute, if the node has it.
pub fn get(fs: &dyn FileSystem, node: NodeId, owner: Owner, name: &[u8]) -> Result<Option<Vec<u8>>> {
    if name == PID.as_bytes() && node == fs.root() {
        return Ok(Some(std::process::id().to_string().into_bytes()));
    }
    if name == UID && owner.uid.is_some() {
        return Ok(Some(fs.stat(node)?.owner.to_string().into_bytes()));
    }
    if name == GID && owner.gid.is_some() {
        return Ok(Some(fs.stat(node)?.group.to_string().into_bytes()));
    }
    let all = fs.xattrs(node)?;
    Ok(all.into_iter().find(|(other, _)| other == name).map(|(_, value)| value))
}

/// The names of a node's attributes, each with a NUL behind it, as `listxattr` gives them.
///
/// `trusted.*` only for root, as every file system of the kernel has it: the kernel lets nobody else read their values.
pub fn list(fs: &dyn FileSystem, node: NodeId, owner: Owner, root: bool) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    let mut add = |name: &[u8]| {
        // A name that is empty or has a NUL inside would spoil the whole list.
        if !name.is_empty() && !name.contains(&0) {
            list.extend_from_slice(name);
            list.push(0);
        }
    };
    let hidden = |name: &[u8]| !root && name.starts_with(b"trusted.");
    fs.xattrs(node)?.iter().filter(|(name, _)| !hidden(name)).for_each(|(name, _)| add(name));
    if owner.uid.is_some() {
        add(UID);
    }
    if owner.gid.is_some() {
        add(GID);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use filesystems::view::Directory;

    use super::*;

    #[test]
    fn a_tree_is_looked_through_after_many_misses_only() {
        let fs = Directory::new(&[]).unwrap();
        let unused = Unused::default();
        let unsupported = |name: &[u8]| unused.is_unsupported(&fs, name);
        assert!((0..MISSES).all(|number| !unsupported(if number % 2 == 0 { LABEL } else { ACLS[0] })));
        assert!(unsupported(LABEL) && unsupported(ACLS[0]) && unsupported(ACLS[1]));
        assert!(!unsupported(b"user.x") && !unsupported(b"security.capability"));
        unused.was_set(ACLS[1]);
        assert!(!unsupported(ACLS[0]));
    }
}
