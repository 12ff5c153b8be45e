//! Extended attributes: the guest's own, and the few that the front adds.

use filesystems::{FileSystem, NodeId};
use images::Result;

use super::attributes::Owner;

/// On the root of a mount: the process that serves it. Answered, but not listed, so that copies do not take it.
pub const PID: &str = "user.imgmount.pid";

/// With `-o uid=`: the owner in the guest.
const UID: &[u8] = b"user.imgmount.uid";

/// With `-o gid=`: the group in the guest.
const GID: &[u8] = b"user.imgmount.gid";

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
