use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ext::write::scratch::Scratch;
use crate::ext::xattr;

/// With and without room in inodes, with and without inodes for large values.
const KINDS: &[(&str, u64)] = &[
    ("-b 1024 -I 256 -O extents,metadata_csum,64bit", 20),
    ("-b 4096 -I 128", 20),
    ("-b 4096 -I 1024 -O extents,metadata_csum,ea_inode", 40),
    ("-b 1024 -I 128 -O extents,ea_inode,bigalloc -C 16384", 20),
];

const NAMES: &[&str] = &["user.a", "user.much-longer-name-of-an-attribute", "trusted.t", "security.selinux", "user.b"];

#[derive(Clone, Debug)]
struct Step {
    file: usize,
    name: usize,
    len: Option<usize>,
    how: SetXattr,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![
        2 => Just(None),
        5 => (0usize..100).prop_map(Some),
        2 => (100usize..1100).prop_map(Some),
        1 => (1000usize..20_000).prop_map(Some),
    ];
    let how = prop_oneof![4 => Just(SetXattr::Any), 1 => Just(SetXattr::Create), 1 => Just(SetXattr::Replace)];
    (0..2usize, 0..NAMES.len(), len, how).prop_map(|(file, name, len, how)| Step { file, name, len, how })
}

type Expected = BTreeMap<Vec<u8>, Vec<u8>>;

fn listed(scratch: &Scratch, inode: u32) -> Expected {
    xattr::list(&scratch.volume, &scratch.volume.inode(inode).unwrap()).unwrap().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn attributes_are_what_was_set(kind in 0..KINDS.len(), steps in prop::collection::vec(step(), 1..60)) {
        let scratch = Scratch::new(KINDS[kind].0, KINDS[kind].1, 2);
        let inodes = [scratch.inode("/file-0"), scratch.inode("/file-1")];
        let mut expected = [Expected::new(), Expected::new()];
        for (number, Step { file, name, len, how }) in steps.into_iter().enumerate() {
            let name = NAMES[name].as_bytes();
            let value = len.map(|len| vec![number as u8; len]);
            let before = &mut expected[file];
            let done = scratch.operate(|op| set(op, inodes[file], name, value.as_deref(), how));
            match (before.contains_key(name), how, &value) {
                (true, SetXattr::Create, _) => assert!(matches!(done, Err(Error::Exists))),
                (false, SetXattr::Replace, _) | (false, _, None) => assert!(matches!(done, Err(Error::NotFound))),
                (_, _, Some(value)) => match done {
                    Ok(()) => drop(before.insert(name.to_vec(), value.clone())),
                    Err(error) => assert!(matches!(error, Error::NoSpace), "{error}"),
                },
                (_, _, None) => {
                    done.unwrap();
                    before.remove(name);
                }
            }
            for (inode, expected) in inodes.iter().zip(&expected) {
                assert!(listed(&scratch, *inode) == *expected, "inode {inode}");
            }
        }
        scratch.check();
    }
}

fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    entries.iter().fold(2u32.to_le_bytes().to_vec(), |mut value, (tag, permissions, id)| {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
        value
    })
}

#[test]
fn lists_and_permissions_go_together() {
    let scratch = Scratch::new(KINDS[0].0, KINDS[0].1, 1);
    let inode = scratch.inode("/file-0");
    let mode = || scratch.volume.inode(inode).unwrap().mode & 0o777;
    const NONE: u32 = u32::MAX;
    let named = acl(&[(1, 7, NONE), (2, 6, 1000), (4, 5, NONE), (0x10, 6, NONE), (0x20, 4, NONE)]);
    let name = b"system.posix_acl_access";
    scratch.operate(|op| set(op, inode, name, Some(&named), SetXattr::Any)).unwrap();
    assert_eq!(mode(), 0o764);
    assert_eq!(listed(&scratch, inode)[&name[..]], named);
    scratch
        .operate(|op| {
            let mut record = op.record(inode)?;
            set_permissions(op, &mut record, 0o700)?;
            op.put(&mut record)
        })
        .unwrap();
    assert_eq!(mode(), 0o700);
    let mask = acl(&[(1, 7, NONE), (2, 6, 1000), (4, 5, NONE), (0x10, 0, NONE), (0x20, 0, NONE)]);
    assert_eq!(listed(&scratch, inode)[&name[..]], mask);
    let plain = acl(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]);
    scratch.operate(|op| set(op, inode, name, Some(&plain), SetXattr::Any)).unwrap();
    assert_eq!((mode(), listed(&scratch, inode).len()), (0o640, 0), "it says no more than the permissions");
    let wrong = scratch.operate(|op| set(op, inode, b"system.posix_acl_default", Some(&named), SetXattr::Any));
    assert!(matches!(wrong, Err(Error::NotPermitted)), "a file has no default list");
    let wrong = scratch.operate(|op| set(op, inode, b"foo.bar", Some(b"x"), SetXattr::Any)).unwrap_err();
    assert!(matches!(wrong, Error::Unsupported(_)), "{wrong}");
    scratch.check();
}
