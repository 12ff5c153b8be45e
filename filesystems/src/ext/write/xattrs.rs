//! Setting extended attributes, by the names that programs use.

use images::{Error, Result, unsupported};

use super::attributes::{self, Attribute};
use super::operation::Operation;
use super::record::Record;
use crate::acl::Acl;
use crate::ext::layout::mode;
use crate::ext::xattr::{INDEX_ACL_ACCESS, INDEX_ACL_DEFAULT, acl, acl_on_disk, split_name};
use crate::{New, SetXattr};

/// The nine bits of a mode that lists go with.
const PERMISSIONS: u16 = 0o777;
/// The bytes of a list without entries: its version.
const EMPTY_ACL: usize = 4;

/// Sets an attribute of a node, or removes it.
pub(in crate::ext) fn set(
    op: &mut Operation<'_>,
    number: u32,
    name: &[u8],
    value: Option<&[u8]>,
    how: SetXattr,
) -> Result<()> {
    let mut record = op.record(number)?;
    record.check_changeable()?;
    let (index, short) = split(name)?;
    match index {
        INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT => {
            // A list without entries is none.
            let value = value.filter(|value| value.len() > EMPTY_ACL);
            set_acl(op, &mut record, index, value.map(Acl::parse).transpose()?, how)?;
        }
        _ => put(op, &mut record, index, short, value.map(<[u8]>::to_vec), how)?,
    }
    record.set_changed(op.now());
    op.put(&mut record)
}

fn split(name: &[u8]) -> Result<(u8, &[u8])> {
    split_name(name).ok_or_else(|| {
        let name = String::from_utf8_lossy(name);
        unsupported!("ext has no extended attributes of the name {name:?}")
    })
}

/// Changes one attribute; the record is not written.
fn put(
    op: &mut Operation<'_>,
    record: &mut Record,
    index: u8,
    name: &[u8],
    value: Option<Vec<u8>>,
    how: SetXattr,
) -> Result<()> {
    let mut all = attributes::read(op, record)?;
    let old = all.iter().position(|attribute| attribute.index == index && attribute.name == name);
    match (old, how) {
        (Some(_), SetXattr::Create) => return Err(Error::Exists),
        (None, SetXattr::Replace) => return Err(Error::NotFound),
        (None, _) if value.is_none() => return Err(Error::NotFound),
        _ => {}
    }
    if let Some(old) = old {
        let old = all.remove(old);
        attributes::release(op, record, &old)?;
    }
    if let Some(value) = value {
        all.push(Attribute::new(index, name, value));
    }
    attributes::write(op, record, all)
}

/// The same for an access control list; that of access changes the permissions, and one that says no more than they do is not
/// kept.
fn set_acl(op: &mut Operation<'_>, record: &mut Record, index: u8, acl: Option<Acl>, how: SetXattr) -> Result<()> {
    let is_directory = record.mode() & mode::TYPE == mode::DIRECTORY;
    if record.mode() & mode::TYPE == mode::SYMLINK || index == INDEX_ACL_DEFAULT && !is_directory && acl.is_some() {
        return Err(Error::NotPermitted);
    }
    let acl = match acl {
        Some(acl) if index == INDEX_ACL_ACCESS => {
            let mode = record.mode() & !PERMISSIONS | acl.permissions();
            record.raw_mut().i_mode = mode.into();
            Some(acl).filter(|acl| !acl.is_minimal())
        }
        acl => acl,
    };
    match put(op, record, index, b"", acl.map(|acl| acl_on_disk(&acl.value())), how) {
        // There is none, and none is wanted.
        Err(Error::NotFound) if how != SetXattr::Replace => Ok(()),
        done => done,
    }
}

/// Changes the permissions, also in the node's access control list. The record is not written.
pub(in crate::ext) fn set_permissions(op: &mut Operation<'_>, record: &mut Record, permissions: u16) -> Result<()> {
    let changed = record.mode() & mode::TYPE | permissions & !mode::TYPE;
    record.raw_mut().i_mode = changed.into();
    if record.mode() & mode::TYPE == mode::SYMLINK {
        return Ok(());
    }
    if let Some(acl) = acl_of(op, record, INDEX_ACL_ACCESS)? {
        let acl = acl_on_disk(&acl.with_permissions(permissions & PERMISSIONS).value());
        put(op, record, INDEX_ACL_ACCESS, b"", Some(acl), SetXattr::Any)?;
    }
    Ok(())
}

fn acl_of(op: &Operation<'_>, record: &Record, index: u8) -> Result<Option<Acl>> {
    let all = attributes::read(op, record)?;
    let found = all.into_iter().find(|attribute| attribute.index == index);
    match found.map(|attribute| attribute.value) {
        Some(attributes::Value::Here(value)) => acl(&value, record.offset)?.map(|acl| Acl::parse(&acl)).transpose(),
        _ => Ok(None),
    }
}

/// Gives a new node its permissions and its first attributes: those that its maker wants, and the lists that the default
/// list of its directory leaves it. The record, which has its type already, is not written.
pub(in crate::ext) fn initial(
    op: &mut Operation<'_>,
    record: &mut Record,
    parent: &Record,
    new: &New<'_>,
) -> Result<()> {
    let is_directory = record.mode() & mode::TYPE == mode::DIRECTORY;
    let is_symlink = record.mode() & mode::TYPE == mode::SYMLINK;
    let mut permissions = new.permissions & !mode::TYPE;
    let mut all = Vec::new();
    match acl_of(op, parent, INDEX_ACL_DEFAULT)?.filter(|_| !is_symlink) {
        Some(default) => {
            if is_directory {
                all.push(Attribute::new(INDEX_ACL_DEFAULT, b"", acl_on_disk(&default.value())));
            }
            let access = default.inherited(permissions & PERMISSIONS);
            permissions = permissions & !PERMISSIONS | access.permissions();
            if !access.is_minimal() {
                all.push(Attribute::new(INDEX_ACL_ACCESS, b"", acl_on_disk(&access.value())));
            }
        }
        None if !is_symlink => permissions &= !new.umask,
        None => {}
    }
    for (name, value) in new.xattrs {
        let (index, short) = split(name)?;
        all.push(Attribute::new(index, short, value.to_vec()));
    }
    // What sets the type may have set `g+s` of the directory already.
    record.raw_mut().i_mode = (record.mode() | permissions).into();
    if all.is_empty() { Ok(()) } else { attributes::write(op, record, all) }
}

#[cfg(test)]
mod tests;
