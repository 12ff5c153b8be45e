//! The log as a ring: it wraps, fills and is never overwritten before its time.

use super::*;
use crate::ext::write::operation::Operation;

const EXT3: &str = "-b 1024 -O has_journal,filetype,sparse_super -J size=1";

/// Replays in memory: the block as it is then.
fn replayed(bytes: Vec<u8>, block: u64) -> Vec<u8> {
    let ext = ext::mount(Arc::new(Memory::new("m", bytes)), &Options::default()).unwrap();
    ext.volume().block(block).unwrap().to_vec()
}

#[test]
fn many_transactions_wrap_the_log() {
    let (disk, opened) = reopen(image(EXT3, 8));
    let blocks = opened.volume.superblock().blocks;
    for round in 1..=700u64 {
        let fill = |op: &mut Operation<'_>| {
            // A few blocks, or as many as a commit may have, at the end of the file system, where nobody uses them.
            let count = if round % 90 == 0 { 240 } else { round % 7 + 1 };
            (0..count).try_for_each(|index| op.replace(blocks - 1 - index, vec![round as u8; 1024]))
        };
        opened.writing.operate(&opened.volume, fill).unwrap();
        set_times(&opened, 1000 + round as i64, blocks - 300);
        opened.writing.commit(&opened.volume).unwrap();
        if round % 50 == 0 {
            let left = bytes_of(&*disk);
            assert_eq!(times(Arc::new(Memory::new("m", left.clone())), blocks - 300).0, 1000 + round as i64);
            assert_eq!(replayed(left, blocks - 1), [round as u8; 1024]);
        }
    }
    opened.writing.close(&opened.volume).unwrap();
    assert_clean(&bytes_of(&*disk));
}

#[test]
fn what_was_revoked_is_not_replayed() {
    let (disk, opened) = reopen(image(EXT3, 8));
    let Opened { volume, writing, .. } = &opened;
    let block = volume.superblock().blocks - 1;
    writing.operate(volume, |op| op.replace(block, vec![1; 1024])).unwrap();
    writing.commit(volume).unwrap();
    writing.operate(volume, |op| op.release(block..block + 1, true)).unwrap();
    let taken = |op: &mut Operation<'_>| Ok(op.first_released(block..block + 1));
    assert_eq!(writing.operate(volume, taken).unwrap(), Some(block..block + 1), "not before the commit");
    writing.commit(volume).unwrap();
    assert_eq!(writing.operate(volume, taken).unwrap(), None);
    let write = |op: &mut Operation<'_>| op.writer.write_at(&[2; 1024], block * 1024);
    writing.operate(volume, write).unwrap();
    writing.commit(volume).unwrap();
    assert_eq!(replayed(bytes_of(&*disk), block), [2; 1024], "content is in its place");
    assert_eq!(e2fsck(&bytes_of(&*disk), "-fy").2[block as usize * 1024..][..1024], [2; 1024]);
    // Metadata again: the newest copy counts.
    writing.operate(volume, |op| op.replace(block, vec![3; 1024])).unwrap();
    writing.commit(volume).unwrap();
    assert_eq!(replayed(bytes_of(&*disk), block), [3; 1024]);
    writing.close(volume).unwrap();
    assert_eq!(bytes_of(&*disk)[block as usize * 1024..], [3; 1024]);
}

#[test]
fn what_no_journal_holds_is_refused_and_all_else_goes_on() {
    let (disk, opened) = reopen(image(EXT3, 8));
    let Opened { volume, writing, .. } = &opened;
    let blocks = volume.superblock().blocks;
    let fill = |count: u64, byte: u8| {
        writing.operate(volume, |op| (0..count).try_for_each(|index| op.replace(blocks - 1 - index, vec![byte; 1024])))
    };
    fill(200, 1).unwrap();
    // Alone it fits, but not together.
    fill(900, 2).unwrap();
    let error = fill(1100, 3).unwrap_err().to_string();
    assert!(error.contains("1100 changed blocks at once, more than the journal holds"), "{error}");
    fill(200, 4).unwrap();
    writing.commit(volume).unwrap();
    let left = bytes_of(&*disk);
    assert_eq!(replayed(left.clone(), blocks - 1), [4; 1024]);
    assert_eq!(replayed(left, blocks - 900), [2; 1024]);
}

#[test]
fn an_operation_that_fails_changes_nothing() {
    let (_, opened) = reopen(image(EXT3, 8));
    let Opened { volume, writing, .. } = &opened;
    let block = volume.superblock().blocks - 1;
    writing.operate(volume, |op| op.replace(block, vec![1; 1024])).unwrap();
    let fails = |op: &mut Operation<'_>| {
        op.replace(block, vec![2; 1024])?;
        op.replace(block - 1, vec![2; 1024])?;
        op.release(block..block + 1, true)?;
        Err::<(), _>(images::Error::NotEmpty)
    };
    writing.operate(volume, fails).unwrap_err();
    assert_eq!(*volume.block(block).unwrap(), [1; 1024]);
    assert_ne!(*volume.block(block - 1).unwrap(), [2; 1024]);
}
