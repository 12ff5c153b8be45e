//! Attributes that every node has: permissions, owner, times.

use images::{Error, Result};

use super::held::Held;
use super::names::living;
use super::operation::Operation;
use super::xattrs;
use crate::Changes;
use crate::ext::layout::inode_flags;
use crate::node::NodeId;

/// Changes the attributes of a node, all but its size.
pub(in crate::ext) fn set(op: &mut Operation<'_>, held: &Held, node: NodeId, changes: &Changes) -> Result<()> {
    let mut record = living(op, held, node)?;
    let is_more = changes.permissions.is_some() || changes.owner.is_some() || changes.group.is_some();
    // What can only be appended to keeps its owner, too.
    if record.has(inode_flags::IMMUTABLE) || is_more && record.has(inode_flags::APPEND) {
        return Err(Error::NotPermitted);
    }
    if let Some(permissions) = changes.permissions {
        xattrs::set_permissions(op, &mut record, permissions)?;
    }
    let (owner, group) = record.owner();
    record.set_owner(changes.owner.unwrap_or(owner), changes.group.unwrap_or(group));
    if let Some(time) = changes.accessed {
        record.set_accessed(time);
    }
    if let Some(time) = changes.modified {
        record.set_modified(time);
    }
    record.set_changed(changes.changed.unwrap_or(op.now()));
    if is_more { op.put(&mut record) } else { op.put_times(&mut record) }
}
