use proptest::prelude::*;

use super::*;
use crate::ext::write::scratch::{KINDS, Scratch};

/// Files of each file system.
const FILES: usize = 2;
/// As far as files go: several of the largest blocks, and where single indirect blocks of the smallest ones end.
const END: u64 = 400 << 10;

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Range<u64>),
    Size(usize, u64),
    Allocate(usize, Range<u64>, Allocation),
    Commit,
}

fn range() -> impl Strategy<Value = Range<u64>> {
    let at = prop_oneof![Just(0), 0..END, (0..END / 4096).prop_map(|block| block * 4096), Just(60), Just(150)];
    let len = prop_oneof![1u64..100, 1u64..10_000, 1u64..100_000, Just(4096), Just(65536)];
    (at, len).prop_map(|(at, len)| at..at + len)
}

fn how() -> impl Strategy<Value = Allocation> {
    prop_oneof![
        Just(Allocation::Extend),
        Just(Allocation::KeepSize),
        Just(Allocation::PunchHole),
        any::<bool>().prop_map(|keep_size| Allocation::Zero { keep_size }),
        Just(Allocation::Collapse),
        Just(Allocation::Insert),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let whole = range().prop_map(|range| range.start / 65536 * 65536..range.end.div_ceil(65536) * 65536);
    prop_oneof![
        6 => (0..FILES, range()).prop_map(|(file, range)| Step::Write(file, range)),
        2 => (0..FILES, 0..END).prop_map(|(file, size)| Step::Size(file, size)),
        1 => (0..FILES, 0u64..200).prop_map(|(file, size)| Step::Size(file, size)),
        3 => (0..FILES, range(), how()).prop_map(|(file, range, how)| Step::Allocate(file, range, how)),
        1 => (0..FILES, whole, how()).prop_map(|(file, range, how)| Step::Allocate(file, range, how)),
        1 => Just(Step::Commit),
    ]
}

/// What `allocate` makes of the content; `None` if it is refused.
fn allocated(content: &[u8], range: &Range<u64>, how: Allocation, unit: u64) -> Option<Vec<u8>> {
    let mut content = content.to_vec();
    let (start, end, size) = (range.start as usize, range.end as usize, content.len());
    let is_whole = range.start.is_multiple_of(unit) && range.end.is_multiple_of(unit);
    match how {
        Allocation::Extend | Allocation::Zero { keep_size: false } => content.resize(size.max(end), 0),
        Allocation::Collapse if is_whole && end < size => drop(content.drain(start..end)),
        Allocation::Insert if is_whole && start < size => {
            content.splice(start..start, std::iter::repeat_n(0, end - start));
        }
        Allocation::Collapse | Allocation::Insert => return None,
        _ => {}
    }
    if matches!(how, Allocation::PunchHole | Allocation::Zero { .. }) {
        let end = end.min(content.len());
        content[start.min(end)..end].fill(0);
    }
    Some(content)
}

fn read(scratch: &Scratch, inode: u32) -> Vec<u8> {
    let inode = scratch.volume.inode(inode).unwrap();
    let mut content = vec![0; inode.size as usize];
    let read = crate::ext::node::Node::Live(inode).read(&scratch.volume, &mut content, 0).unwrap();
    assert_eq!(read, content.len());
    content
}

fn run(scratch: &Scratch, inodes: &[u32], expected: &mut [Vec<u8>], step: &Step, seed: u8) {
    let (writing, volume) = (&scratch.writing, &scratch.volume);
    let unit = volume.block_size() * u64::from(volume.superblock().cluster_blocks);
    match step {
        Step::Write(file, range) => {
            let data: Vec<u8> = (range.start..range.end).map(|at| (at % 251) as u8 ^ seed | 1).collect();
            write_at(writing, volume, inodes[*file], &data, range.start).unwrap();
            let content = &mut expected[*file];
            content.resize(content.len().max(range.end as usize), 0);
            content[range.start as usize..range.end as usize].copy_from_slice(&data);
        }
        Step::Size(file, size) => {
            set_size(writing, volume, inodes[*file], *size).unwrap();
            expected[*file].resize(*size as usize, 0);
        }
        Step::Allocate(file, range, how) => {
            let wanted = allocated(&expected[*file], range, *how, unit);
            match allocate(writing, volume, inodes[*file], range.clone(), *how) {
                Ok(()) => expected[*file] = wanted.unwrap_or_else(|| panic!("{how:?} of {range:?} should be refused")),
                Err(Error::Unsupported(why)) => assert!(why.contains("extents"), "{why}"),
                Err(error) => assert!(wanted.is_none(), "{how:?} of {range:?}: {error}"),
            }
        }
        Step::Commit => scratch.commit(),
    }
}

fn files_hold_what_was_written(kind: (&str, u64), steps: &[Step]) {
    let scratch = Scratch::new(kind.0, kind.1, FILES);
    let inodes: Vec<u32> = (0..FILES).map(|file| scratch.inode(&format!("/file-{file}"))).collect();
    let mut expected = vec![Vec::new(); FILES];
    for (seed, step) in steps.iter().enumerate() {
        run(&scratch, &inodes, &mut expected, step, seed as u8);
        for (inode, content) in inodes.iter().zip(&expected) {
            assert!(read(&scratch, *inode) == *content, "inode {inode} after {step:?}");
        }
    }
    scratch.check();
}

const INLINE: (&str, u64) = ("-b 4096 -I 256 -O extents,metadata_csum,inline_data", 40);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn content_is_what_was_written(
        kind in 0..KINDS.len() + 2,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        files_hold_what_was_written(KINDS.get(kind).copied().unwrap_or(INLINE), &steps);
    }
}

#[test]
fn inline_files_move_out() {
    let scratch = Scratch::new(INLINE.0, INLINE.1, 1);
    let inode = scratch.inode("/file-0");
    scratch.debugfs("stat /file-0");
    write_at(&scratch.writing, &scratch.volume, inode, b"hello", 3).unwrap();
    assert_eq!(read(&scratch, inode), b"\0\0\0hello");
    scratch.check();
    set_size(&scratch.writing, &scratch.volume, inode, 1 << 33).unwrap();
    assert_eq!(scratch.volume.inode(inode).unwrap().size, 1 << 33, "larger than large files were");
    scratch.check();
}

#[test]
fn a_full_file_system_refuses_and_stays_whole() {
    for (options, megabytes) in [("-b 1024 -O extents,metadata_csum -N 64", 4), ("-b 1024 -N 64", 4)] {
        let scratch = Scratch::new(options, megabytes, 1);
        let inode = scratch.inode("/file-0");
        let piece = vec![7; 300_000];
        let mut at = 0;
        let error = loop {
            match write_at(&scratch.writing, &scratch.volume, inode, &piece, at) {
                Ok(()) => at += piece.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::NoSpace), "{error}");
        assert_eq!(read(&scratch, inode).len() as u64, at, "what does not fit is not there in part");
        scratch.check();
        set_size(&scratch.writing, &scratch.volume, inode, 0).unwrap();
        // What was freed is used again, once it is committed.
        write_at(&scratch.writing, &scratch.volume, inode, &piece, 0).unwrap();
        assert!(read(&scratch, inode) == piece);
        scratch.check();
    }
}
