//! The rules that are easy to get wrong. What programs see is tested through a mount, against the kernel's own file systems.

use images::Error;

use super::*;
use crate::{Allocation, Changes, New, NewContent, Rename, SetXattr};

fn new(content: NewContent<'_>) -> New<'_> {
    New { content, permissions: 0o777, umask: 0o022, owner: 1, group: 2, xattrs: &[] }
}

fn made(fs: &Memory, dir: NodeId, name: &str, content: NewContent<'_>) -> NodeId {
    let id = fs.create(dir, name.as_bytes(), &new(content)).unwrap();
    fs.forget(id, 1);
    id
}

fn names(fs: &Memory, dir: NodeId) -> Vec<String> {
    let mut names = Vec::new();
    let mut each = |entry: Entry<'_>| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        fs.forget(entry.node, 1);
        true
    };
    fs.read_dir(dir, 0, &mut each).unwrap();
    names
}

#[test]
fn a_file_lives_until_its_last_name_and_hold_are_gone() {
    let fs = Memory::new(1 << 20);
    let file = made(&fs, ROOT, "a", NewContent::File);
    fs.write_at(file, b"hello", 10_000).unwrap();
    fs.link(file, ROOT, b"b").unwrap();
    fs.remove(ROOT, b"a").unwrap();
    assert_eq!(fs.stat(file).unwrap().links, 1);
    fs.hold(file).unwrap();
    fs.remove(ROOT, b"b").unwrap();
    let mut text = [1; 8];
    assert_eq!(fs.read_at(file, &mut text, 9_998).unwrap(), 7);
    assert_eq!((&text[..7], fs.stat(file).unwrap().links), (&b"\0\0hello"[..], 0));
    assert!(matches!(fs.link(file, ROOT, b"c"), Err(Error::NotFound)));
    fs.forget(file, 1);
    assert_eq!((fs.count(), fs.space(ROOT).unwrap().blocks_free), (1, 256));
}

#[test]
fn renames() {
    let fs = Memory::new(1 << 20);
    let (a, b) = (made(&fs, ROOT, "a", NewContent::Directory), made(&fs, ROOT, "b", NewContent::Directory));
    let inner = made(&fs, a, "inner", NewContent::Directory);
    let rename = |from: (NodeId, &str), to: (NodeId, &str), how| {
        fs.rename((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()), how)
    };
    assert!(matches!(rename((ROOT, "a"), (inner, "x"), Rename::Replace), Err(Error::Invalid)));
    assert!(matches!(rename((ROOT, "b"), (ROOT, "a"), Rename::Replace), Err(Error::NotEmpty)));
    assert!(matches!(rename((ROOT, "b"), (ROOT, "a"), Rename::NoReplace), Err(Error::Exists)));
    assert!(matches!(rename((ROOT, "a"), (a, "inner"), Rename::Exchange), Err(Error::Invalid)));
    assert!(matches!(rename((a, "inner"), (ROOT, "a"), Rename::Exchange), Err(Error::Invalid)));
    let file = made(&fs, ROOT, "f", NewContent::File);
    assert!(matches!(rename((ROOT, "f"), (ROOT, "b"), Rename::Replace), Err(Error::IsDirectory)));
    assert!(matches!(rename((ROOT, "b"), (ROOT, "f"), Rename::Replace), Err(Error::NotDirectory)));
    rename((ROOT, "f"), (a, "inner"), Rename::Exchange).unwrap();
    assert_eq!((fs.lookup(a, b"inner").unwrap(), fs.lookup(ROOT, b"f").unwrap()), (file, inner));
    assert_eq!([ROOT, a, inner].map(|dir| fs.stat(dir).unwrap().links), [5, 2, 2]);
    rename((ROOT, "f"), (ROOT, "b"), Rename::Replace).unwrap();
    assert!(fs.stat(b).is_err() && fs.stat(ROOT).unwrap().links == 4);
    assert_eq!(names(&fs, ROOT), ["a", "b"]);
}

#[test]
fn space_is_counted_and_ends() {
    let fs = Memory::new(4 * BLOCK);
    let file = made(&fs, ROOT, "f", NewContent::File);
    fs.allocate(file, 0..3 * BLOCK, Allocation::KeepSize).unwrap();
    assert_eq!((fs.stat(file).unwrap().size, fs.space(ROOT).unwrap().blocks_free), (0, 1));
    fs.write_at(file, &[1; 100], 3 * BLOCK).unwrap();
    assert!(matches!(fs.write_at(file, &[1], 5 * BLOCK), Err(Error::NoSpace)));
    fs.allocate(file, 1..3 * BLOCK, Allocation::PunchHole).unwrap();
    assert_eq!((fs.stat(file).unwrap().size, fs.space(ROOT).unwrap().blocks_free), (3 * BLOCK + 100, 2));
    fs.allocate(file, BLOCK..2 * BLOCK, Allocation::Collapse).unwrap();
    let mut byte = [0];
    assert_eq!((fs.read_at(file, &mut byte, 2 * BLOCK + 99).unwrap(), byte), (1, [1]));
    let shorter = Changes { size: Some(50), ..Changes::default() };
    fs.set_stat(file, &shorter).unwrap();
    fs.set_stat(file, &Changes { size: Some(200), ..shorter }).unwrap();
    assert_eq!(fs.space(ROOT).unwrap().blocks_free, 3);
}

#[test]
fn lists_are_inherited_and_follow_the_mode() {
    let fs = Memory::new(1 << 20);
    let dir = made(&fs, ROOT, "d", NewContent::Directory);
    assert_eq!(fs.stat(dir).unwrap().permissions, 0o755);
    // user::rwx user:1000:rwx group::r-x mask::rwx other::---
    let mut list = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1u16, 7u16, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let default = b"system.posix_acl_default";
    fs.set_xattr(dir, default, Some(&list), SetXattr::Create).unwrap();
    assert!(matches!(fs.set_xattr(dir, default, Some(&list), SetXattr::Create), Err(Error::Exists)));
    let file = made(&fs, dir, "f", NewContent::File);
    assert_eq!(fs.stat(file).unwrap().permissions, 0o770);
    assert_eq!(fs.xattrs(file).unwrap().len(), 1);
    fs.set_stat(file, &Changes { permissions: Some(0o640), ..Changes::default() }).unwrap();
    let (_, value) = fs.xattrs(file).unwrap().remove(0);
    assert_eq!(crate::acl::Acl::parse(&value).unwrap().permissions(), 0o640);
    assert_eq!(fs.xattrs(made(&fs, dir, "s", NewContent::Directory)).unwrap().len(), 2);
}
