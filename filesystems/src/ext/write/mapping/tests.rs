use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::ext::write::scratch::{KINDS, Random, Scratch};

/// Files of each file system.
const FILES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Fill(usize, Range<u64>, Content),
    /// Every second block.
    Comb(usize, Range<u64>),
    Convert(usize, Range<u64>),
    Clear(usize, Range<u64>, usize),
    Shift(usize, u64, i64),
    Commit,
}

/// Blocks of a file: near its start, where its map grows, or far behind.
fn range() -> impl Strategy<Value = Range<u64>> {
    let start = prop_oneof![
        4 => 0u64..100,
        2 => (0u64..4).prop_map(|below| 12 + 256 - below),
        1 => (0u64..4).prop_map(|below| 12 + 256 + 65536 - below),
        1 => 1_000_000u64..1_000_100,
        1 => (0u64..4).prop_map(|below| extent_tree::MOST_BLOCKS - below),
    ];
    let len = prop_oneof![8 => 1u64..60, 1 => 300u64..3000];
    (start, len).prop_map(|(start, len)| start..start + len)
}

fn step() -> impl Strategy<Value = Step> {
    let content = prop_oneof![Just(Content::Written), Just(Content::Unwritten)];
    prop_oneof![
        4 => (0..FILES, range(), content).prop_map(|(file, range, content)| Step::Fill(file, range, content)),
        1 => (0..FILES, range()).prop_map(|(file, range)| Step::Comb(file, range)),
        2 => (0..FILES, range()).prop_map(|(file, range)| Step::Convert(file, range)),
        2 => (0..FILES, range(), 1usize..9).prop_map(|(file, range, limit)| Step::Clear(file, range, limit)),
        1 => (0..FILES, 0u64..200).prop_map(|(file, from)| Step::Clear(file, from..u64::MAX, 5)),
        1 => (0..FILES, 0u64..200, -40i64..40).prop_map(|(file, from, by)| Step::Shift(file, from, by)),
        1 => Just(Step::Commit),
    ]
}

/// What a file should have: by block whether it is written.
type Expected = BTreeMap<u64, bool>;

/// What a file has: by block where it lies, and whether it is written.
fn mapped(scratch: &Scratch, record: &Record) -> BTreeMap<u64, (u64, bool)> {
    let mut blocks = BTreeMap::new();
    let inode = record.inode(scratch.volume.superblock()).unwrap();
    let each = &mut |run: Run| {
        if let State::Written(block) | State::Unwritten(block) = run.state {
            let is_written = matches!(run.state, State::Written(_));
            blocks.extend((0..run.len).map(|at| (run.logical + at, (block + at, is_written))));
        }
        true
    };
    scratch.volume.map(&inode, 0, each).unwrap();
    blocks
}

/// Changes the record of a file and what is expected of it.
fn run(scratch: &Scratch, inode: u32, expected: &mut Expected, step: &Step) {
    match step {
        Step::Fill(_, range, content) => {
            let before = expected.clone();
            let answer = change(scratch, inode, |op, record| fill(op, record, range.clone(), *content));
            let Ok(filled) = answer else { return };
            let mut at = range.start;
            for Filled { run, is_new } in filled {
                assert_eq!(run.logical, at, "in order and without holes");
                for block in run.logical..run.end() {
                    assert_eq!(before.contains_key(&block), !is_new);
                    let written = expected.entry(block).or_insert(*content == Content::Written);
                    assert_eq!(matches!(run.state, State::Written(_)), *written);
                }
                at = run.end();
            }
            assert_eq!(at, range.end);
        }
        Step::Comb(file, range) => {
            for block in range.clone().step_by(2) {
                run(scratch, inode, expected, &Step::Fill(*file, block..block + 1, Content::Written));
            }
        }
        Step::Convert(_, range) => {
            change(scratch, inode, |op, record| convert(op, record, range.clone())).unwrap();
            expected.range_mut(range.clone()).for_each(|(_, written)| *written = true);
        }
        Step::Clear(_, range, limit) => {
            let mut next = Some(range.start);
            while let Some(from) = next {
                next = change(scratch, inode, |op, record| clear(op, record, from..range.end, *limit)).unwrap();
                assert!(next.is_none_or(|next| next >= from && next < range.end), "{next:?} after {from}");
            }
            expected.retain(|block, _| !range.contains(block));
        }
        Step::Shift(_, from, by) => {
            let answer = change(scratch, inode, |op, record| shift(op, record, *from, *by));
            let is_last = expected.last_key_value().is_some_and(|(last, _)| last + 41 > extent_tree::MOST_BLOCKS);
            let Some(to) = from.checked_add_signed(*by) else { return };
            let is_free = expected.range(to.min(*from)..*from).next().is_none();
            let superblock = scratch.volume.superblock();
            let is_whole = from % u64::from(superblock.cluster_blocks) == 0
                && by.unsigned_abs() % u64::from(superblock.cluster_blocks) == 0;
            if answer.is_ok() {
                assert!(is_free && is_whole);
                let behind = expected.split_off(from);
                expected.extend(behind.into_iter().map(|(block, written)| (block.saturating_add_signed(*by), written)));
            } else {
                assert!(is_last || !is_free || !is_whole || !record(scratch, inode).has(inode_flags::EXTENTS));
            }
        }
        Step::Commit => scratch.commit(),
    }
}

/// Changes the record of an inode, and its size so that all that it has lies in it.
fn change<T>(
    scratch: &Scratch,
    inode: u32,
    mut edit: impl FnMut(&mut Operation<'_>, &mut Record) -> Result<T>,
) -> Result<T> {
    scratch.operate(|op| {
        let mut record = op.record(inode)?;
        let answer = edit(op, &mut record)?;
        let inode = record.inode(op.superblock())?;
        let mut end = 0;
        op.volume.map(&inode, 0, &mut |run| {
            end = if run.state == State::Hole { end } else { run.end() };
            true
        })?;
        record.set_size(end * op.volume.block_size());
        op.put(&mut record)?;
        Ok(answer)
    })
}

fn record(scratch: &Scratch, inode: u32) -> Record {
    scratch.operate(|op| op.record(inode)).unwrap()
}

/// All steps, each compared with what is expected, then what e2fsck says.
fn all(kind: usize, steps: &[Step]) {
    let (options, megabytes) = KINDS[kind];
    let scratch = Scratch::new(options, megabytes, FILES);
    let inodes: Vec<u32> = (0..FILES).map(|file| scratch.inode(&format!("file-{file}"))).collect();
    let mut expected = vec![Expected::new(); FILES];
    for step in steps {
        let file = match step {
            Step::Fill(file, ..) | Step::Comb(file, _) | Step::Convert(file, _) | Step::Clear(file, ..) => *file,
            Step::Shift(file, ..) => *file,
            Step::Commit => 0,
        };
        run(&scratch, inodes[file], &mut expected[file], step);
        let found = mapped(&scratch, &record(&scratch, inodes[file]));
        let states: Expected = found.into_iter().map(|(block, (_, written))| (block, written)).collect();
        assert_eq!(states, expected[file], "after {step:?}");
    }
    scratch.check();
    for inode in &inodes {
        let mut next = Some(0);
        while let Some(from) = next {
            next = change(&scratch, *inode, |op, record| clear(op, record, from..u64::MAX, 100)).unwrap();
        }
        assert_eq!(record(&scratch, *inode).blocks(scratch.volume.superblock()), 0);
    }
    scratch.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn as_the_model(kind in 0..KINDS.len(), steps in prop::collection::vec(step(), 1..40)) {
        all(kind, &steps);
    }
}

#[test]
fn a_deep_tree_grows_and_shrinks() {
    // 84 extents a block: three levels above the leaves of 30,000.
    let scratch = Scratch::new("-b 1024 -I 256 -O extents,metadata_csum,64bit", 60, 1);
    let inode = scratch.inode("file-0");
    let mut random = Random(1);
    let mut numbers: Vec<u64> = (0..30_000).collect();
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, random.below(at as u64 + 1) as usize);
    }
    let many = |numbers: &[u64], edit: fn(&mut Operation<'_>, &mut Record, u64) -> Result<()>| {
        for some in numbers.chunks(100) {
            change(&scratch, inode, |op, record| some.iter().try_for_each(|number| edit(op, record, number * 2)))
                .unwrap();
        }
    };
    many(&numbers, |op, record, block| fill(op, record, block..block + 1, Content::Unwritten).map(drop));
    assert_eq!(record(&scratch, inode).raw().i_block[6], 3, "depth");
    scratch.check();
    many(&numbers[..15_000], |op, record, block| convert(op, record, block..block + 1));
    assert_eq!(mapped(&scratch, &record(&scratch, inode)).values().filter(|(_, written)| *written).count(), 15_000);
    scratch.check();
    many(&numbers[..29_000], |op, record, block| clear(op, record, block..block + 1, 1).map(drop));
    let left: Vec<u64> = mapped(&scratch, &record(&scratch, inode)).into_keys().collect();
    let mut expected: Vec<u64> = numbers[29_000..].iter().map(|number| number * 2).collect();
    expected.sort_unstable();
    assert_eq!(left, expected);
    scratch.check();
    many(&numbers[29_000..], |op, record, block| clear(op, record, block..block + 1, 1).map(drop));
    assert_eq!(record(&scratch, inode).blocks(scratch.volume.superblock()), 0);
    assert_eq!(record(&scratch, inode).raw().i_block[6], 0, "depth");
    scratch.check();
}

#[test]
fn a_full_file_system_changes_nothing() {
    for (options, megabytes) in KINDS {
        eprintln!("{options}");
        let scratch = Scratch::new(options, *megabytes, 2);
        let (inode, other) = (scratch.inode("file-0"), scratch.inode("file-1"));
        // Full but for some blocks, fewer and fewer, until nothing can be filled.
        let block_size = scratch.volume.block_size();
        let mut len = (*megabytes << 20) / block_size;
        let mut at = 0;
        while len > 0 {
            let before = scratch.volume.superblock_now().unwrap();
            match change(&scratch, inode, |op, record| fill(op, record, at..at + len, Content::Written)) {
                Ok(_) => at += len,
                Err(Error::NoSpace) => {
                    assert_eq!(before.as_bytes(), scratch.volume.superblock_now().unwrap().as_bytes());
                    len /= 2;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let full = change(&scratch, other, |op, record| fill(op, record, 0..1, Content::Written));
        assert!(matches!(full, Err(Error::NoSpace)));
        scratch.check();
        // Holes all over, and a file in them.
        for hole in (0..at).step_by(7).take(300) {
            let answer = change(&scratch, inode, |op, record| clear(op, record, hole..hole + 3, 10));
            // A part of a cluster gives nothing back, and the map may need a block to say that it is gone.
            assert!(matches!(answer, Ok(None) | Err(Error::NoSpace)), "{answer:?}");
        }
        let mut len = 0;
        while change(&scratch, other, |op, record| fill(op, record, len..len + 10, Content::Written)).is_ok() {
            len += 10;
        }
        assert!(len > 0 || scratch.volume.superblock().cluster_blocks > 3);
        scratch.check();
    }
}

#[test]
fn contents_lie_where_the_map_says() {
    for (options, megabytes) in KINDS {
        let scratch = Scratch::new(options, *megabytes, 1);
        let inode = scratch.inode("file-0");
        let block_size = scratch.volume.block_size();
        let mut random = Random(*megabytes);
        let mut content = vec![0; 400 * block_size as usize];
        for _ in 0..60 {
            let start = random.below(380);
            let range = start..start + 1 + random.below(20);
            change(&scratch, inode, |op, record| {
                for Filled { run, .. } in fill(op, record, range.clone(), Content::Written)? {
                    let State::Written(block) = run.state else { panic!("{run:?}") };
                    for at in 0..run.len {
                        let bytes = vec![1 + random.below(250) as u8; block_size as usize];
                        op.writer.write_at(&bytes, (block + at) * block_size)?;
                        content[((run.logical + at) * block_size) as usize..][..bytes.len()].copy_from_slice(&bytes);
                    }
                }
                Ok(())
            })
            .unwrap();
        }
        scratch.check();
        let copy = scratch.path.with_extension("copy");
        scratch.debugfs(&format!("dump file-0 {}", copy.display()));
        let copy = std::fs::read(copy).unwrap();
        assert!(copy.len() > 300 * block_size as usize && copy == content[..copy.len()], "{options}");
    }
}

/// File systems where nothing but the code itself stands between damage and what it may do: without checksums.
const UNCHECKED: &[&str] = &[
    "-b 1024 -I 256 -O extents,bigalloc,64bit -C 4096",
    "-b 1024 -I 256 -O extents,64bit,flex_bg",
    "-b 2048 -I 128 -O extents,meta_bg,^resize_inode",
    "-b 1024",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn damage_does_no_harm(
        kind in 0..UNCHECKED.len(),
        steps in prop::collection::vec(step(), 1..30),
        damage in prop::collection::vec((0usize..6, 0u64..1024, any::<u8>()), 1..10),
    ) {
        let scratch = Scratch::new(UNCHECKED[kind], 20, FILES);
        let inodes: Vec<u32> = (0..FILES).map(|file| scratch.inode(&format!("file-{file}"))).collect();
        for inode in &inodes {
            for at in 0..300 {
                change(&scratch, *inode, |op, record| fill(op, record, at * 2..at * 2 + 1, Content::Written)).unwrap();
            }
        }
        let group = scratch.volume.group(0).unwrap();
        let block = |number: u64| number * scratch.volume.block_size();
        let file = record(&scratch, inodes[0]);
        // The child of the root, or the first block of pointers.
        let at = if file.has(inode_flags::EXTENTS) { 16 } else { 48 };
        let tree = u32::from_le_bytes(file.raw().i_block[at..at + 4].try_into().unwrap());
        let places = [
            1024,
            scratch.volume.superblock().desc_offset(0).unwrap(),
            block(group.block_bitmap),
            block(group.inode_bitmap),
            scratch.volume.inode_offset(inodes[0]).unwrap(),
            block(tree.into()),
        ];
        let damaged = scratch.changed(|file| {
            for (place, at, byte) in &damage {
                // Of a record and of descriptors what is used.
                let at = if [1, 4].contains(place) { at % 128 } else { *at };
                std::os::unix::fs::FileExt::write_all_at(file, &[*byte], places[*place] + at).unwrap();
            }
        });
        // An error is fine; a panic is not, nor is work without end.
        let Ok(scratch) = damaged else { return Ok(()) };
        for step in steps {
            let _ = match step {
                Step::Fill(file, range, content) => {
                    change(&scratch, inodes[file], |op, record| fill(op, record, range.clone(), content)).map(drop)
                }
                Step::Comb(file, range) => scratch.operate(|op| {
                    let new = super::super::inodes::allocate(op, inodes[file], range.start % 2 == 0)?;
                    super::super::inodes::free(op, new, range.end % 2 == 0)
                }),
                Step::Convert(file, range) => {
                    change(&scratch, inodes[file], |op, record| convert(op, record, range.clone()))
                }
                Step::Clear(file, range, limit) => {
                    change(&scratch, inodes[file], |op, record| clear(op, record, range.clone(), limit)).map(drop)
                }
                Step::Shift(file, from, by) => {
                    change(&scratch, inodes[file], |op, record| shift(op, record, from, by))
                }
                Step::Commit => scratch.writing.commit(&scratch.volume),
            };
        }
        let _ = scratch.writing.close(&scratch.volume);
    }
}

#[test]
fn a_file_that_grows_stays_together() {
    let scratch = Scratch::new("-b 4096 -I 256 -O extents,64bit,flex_bg,metadata_csum", 300, 2);
    let (inode, other) = (scratch.inode("file-0"), scratch.inode("file-1"));
    for at in (0..16_384).step_by(32) {
        change(&scratch, inode, |op, record| fill(op, record, at..at + 32, Content::Written)).unwrap();
        if at % 4096 == 0 {
            change(&scratch, other, |op, record| fill(op, record, at..at + 1, Content::Written)).unwrap();
        }
    }
    let inode = record(&scratch, inode).inode(scratch.volume.superblock()).unwrap();
    let mut runs = 0;
    let each = &mut |run: Run| {
        runs += usize::from(run.state != State::Hole);
        true
    };
    scratch.volume.map(&inode, 0, each).unwrap();
    assert!(runs <= 6, "64 MiB in {runs} runs, with four blocks of another file between");
    scratch.check();
}
