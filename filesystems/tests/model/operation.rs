//! What is done to a tree at random. A number picks one of what is there at that time.

use filesystems::{Allocation, Rename as How};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::Rules;

/// A name in a directory: both are picked.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub dir: u16,
    pub name: u16,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Create(Place),
    MakeDirectory(Place),
    Symlink(Place, u16),
    Fifo(Place),
    /// One more name for a node that is picked.
    Link(u16, Place),
    Remove(Place),
    RemoveDirectory(Place),
    Rename(Place, Place, How),
    /// To a file: at this offset so many bytes made of the seed.
    Write(u16, u64, usize, u8),
    Append(u16, usize, u8),
    Truncate(u16, u64),
    Allocate(u16, u64, u64, Allocation),
    SetPermissions(u16, u16),
    SetModified(u16, i64),
    /// The number of the name; a value of so many bytes, or none to remove it.
    SetXattr(u16, u16, Option<usize>),
    /// Holds a node, as an open file does.
    Open(u16),
    Close(u16),
    Sync,
}

/// Names that meet each other, in one case or in two, short ones and long ones.
const NAMES: [&str; 22] = [
    "a",
    "b",
    "A",
    "FILE.TXT",
    "file.txt",
    "File.Txt",
    "dir",
    "DIR",
    "a long name with spaces.text",
    "A Long Name with Spaces.text",
    "longfilename1.txt",
    "longfilename2.txt",
    "longfilename3.txt",
    "two.dots.c",
    ".hidden",
    "Grüße aus Köln",
    "grüße aus köln",
    "日本語のファイル",
    "\u{1f40d}.py",
    "exactly13char",
    "+plus,[x].a",
    "noext",
];

/// The name of this number. One of them is as long as a name may be, and its last character differs.
pub fn name(number: u16) -> String {
    let number = usize::from(number) % (NAMES.len() + 4);
    match NAMES.get(number) {
        Some(name) => (*name).to_owned(),
        None => format!("{}{}", "x".repeat(254), number - NAMES.len()),
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub fn noise(seed: u8, offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 7) as u8 ^ at as u8 ^ seed).collect()
}

fn place() -> impl Strategy<Value = Place> {
    // Most of what happens is in few directories.
    (0..6u16, any::<u16>()).prop_map(|(dir, name)| Place { dir, name })
}

fn picked() -> impl Strategy<Value = u16> {
    any::<u16>()
}

/// Offsets and lengths at which something ends, or next to it.
fn bytes(most: u64) -> impl Strategy<Value = u64> {
    let near = select(vec![0u64, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]);
    prop_oneof![0..=most, (near, -1i64..=1).prop_map(move |(near, by)| near.saturating_add_signed(by).min(most))]
}

fn allocation(rules: &Rules) -> BoxedStrategy<Operation> {
    let how = select(rules.allocations.to_vec());
    // Whole blocks in half of the cases: some ways want that.
    let whole = (0..16u64, 0..16u64).prop_map(|(start, len)| (start * 1024, len * 1024));
    let any = (bytes(60_000), bytes(60_000));
    (picked(), prop_oneof![whole, any], how)
        .prop_map(|(file, (at, len), how)| Operation::Allocate(file, at, len.max(1), how))
        .boxed()
}

/// One operation that the rules allow.
pub fn operation(rules: &Rules) -> BoxedStrategy<Operation> {
    use Operation::*;
    let mut how = vec![How::Replace, How::NoReplace];
    if rules.exchange {
        how.push(How::Exchange);
    }
    let most = rules.file_max;
    let len = bytes(most / 2).prop_map(|len| len as usize).boxed();
    let mut all = vec![
        (12, place().prop_map(Create).boxed()),
        (6, place().prop_map(MakeDirectory).boxed()),
        (7, place().prop_map(Remove).boxed()),
        (4, place().prop_map(RemoveDirectory).boxed()),
        (10, (place(), place(), select(how)).prop_map(|(from, to, how)| Rename(from, to, how)).boxed()),
        (
            10,
            (picked(), bytes(most / 2), len.clone(), any::<u8>())
                .prop_map(|(f, at, len, seed)| Write(f, at, len, seed))
                .boxed(),
        ),
        (6, (picked(), len, any::<u8>()).prop_map(|(f, len, seed)| Append(f, len, seed)).boxed()),
        (6, (picked(), bytes(most)).prop_map(|(f, size)| Truncate(f, size)).boxed()),
        (3, (picked(), 0..2_000_000_000i64).prop_map(|(f, at)| SetModified(f, 315_532_800 + at)).boxed()),
        (4, picked().prop_map(Open).boxed()),
        (3, picked().prop_map(Close).boxed()),
        (3, Just(Sync).boxed()),
    ];
    if rules.links {
        all.push((5, (picked(), place()).prop_map(|(node, to)| Link(node, to)).boxed()));
    }
    if rules.symlinks {
        all.push((4, (place(), any::<u16>()).prop_map(|(at, len)| Symlink(at, len)).boxed()));
        all.push((1, place().prop_map(Fifo).boxed()));
    }
    if rules.permissions {
        all.push((3, (picked(), 0..0o10000u16).prop_map(|(node, mode)| SetPermissions(node, mode)).boxed()));
    }
    if rules.xattrs {
        let value = prop::option::of(0..3000usize);
        all.push((6, (picked(), 0..6u16, value).prop_map(|(node, name, len)| SetXattr(node, name, len)).boxed()));
    }
    if !rules.allocations.is_empty() {
        all.push((5, allocation(rules)));
    }
    proptest::strategy::Union::new_weighted(all).boxed()
}

/// So many of them.
pub fn operations(rules: &Rules, count: usize) -> BoxedStrategy<Vec<Operation>> {
    vec(operation(rules), count).boxed()
}
