//! One more name for a node.

use images::{Error, Result};

use super::directory;
use super::held::Held;
use super::names::{self, changed, check_links, check_movable, check_name, living};
use super::operation::Operation;
use crate::ext::directory::file_type;
use crate::ext::layout::mode;
use crate::node::NodeId;

/// Gives a node that is no directory the name `name` in `dir`.
pub(in crate::ext) fn link(op: &mut Operation<'_>, held: &Held, node: NodeId, dir: NodeId, name: &[u8]) -> Result<()> {
    check_name(name)?;
    let (mut dir, mut record) = (names::directory(op, dir)?, living(op, held, node)?);
    if record.mode() & mode::TYPE == mode::DIRECTORY {
        return Err(Error::NotPermitted);
    }
    // What has lost its last name gets none again.
    if record.links() == 0 {
        return Err(Error::NotFound);
    }
    check_movable(&record)?;
    if directory::find(op, &dir, name)?.is_some() {
        return Err(Error::Exists);
    }
    check_links(op, &record)?;
    directory::insert(op, &mut dir, name, record.number, file_type(record.mode()))?;
    changed(op, &mut dir, 0)?;
    record.set_links(record.links() + 1);
    record.set_changed(op.now());
    op.put(&mut record)
}
