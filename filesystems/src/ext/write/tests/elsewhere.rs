//! What went wrong in other programs that write ext file systems.

use super::*;

const EXT4: &str = "-b 1024 -O has_journal,extent,64bit,metadata_csum,filetype,sparse_super -J size=1";

/// An image with transactions that only its journal has, of times up to `seconds`.
fn dirty(options: &str, megabytes: u64, seconds: i64) -> (Vec<u8>, u64) {
    let (disk, opened) = reopen(image(options, megabytes));
    let free = opened.volume.superblock().blocks - 1;
    for seconds in 1001..=seconds {
        set_times(&opened, seconds, free);
        opened.writing.commit(&opened.volume).unwrap();
    }
    (bytes_of(&*disk), free)
}

/// What the journal of an image says of itself.
fn journal_of(bytes: &[u8]) -> journal::superblock::Superblock {
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.to_vec()));
    let superblock = Superblock::read(&*disk).unwrap();
    journal::open(&Volume::new(disk, superblock)).unwrap().superblock
}

/// What the disk has of a time, whatever its journal has.
fn time_on_disk(bytes: &[u8]) -> u32 {
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.to_vec()));
    let superblock = Superblock::read(&*disk).unwrap();
    Volume::new(disk, superblock).inode(ROOT).unwrap().raw.i_mtime.get()
}

#[test]
fn the_superblock_has_a_new_checksum_whenever_it_is_written() {
    let disk = Arc::new(PowerCut::new("d", image(EXT4, 8)));
    let opened = open(disk.clone()).unwrap();
    set_times(&opened, 1001, opened.volume.superblock().blocks - 1);
    opened.writing.commit(&opened.volume).unwrap();
    opened.writing.close(&opened.volume).unwrap();
    for cut in disk.prefixes() {
        Superblock::read(&cut.disk).unwrap();
    }
    assert_clean(&bytes_of(&*disk));
}

#[test]
fn nothing_is_written_past_a_journal_that_is_not_replayed() {
    let (bytes, free) = dirty(EXT4, 8, 1005);
    assert_ne!(time_on_disk(&bytes), 1005);
    let disk = Arc::new(PowerCut::new("d", bytes));
    let opened = open(disk.clone()).unwrap();
    assert_eq!(time_on_disk(&bytes_of(&*disk)), 1005, "replayed before anything else");
    assert!(opened.notes[0].contains("replayed onto the disk: 5 transactions"), "{:?}", opened.notes);
    assert!(!Superblock::read(&*disk).unwrap().needs_recovery());
    set_times(&opened, 2000, free);
    opened.writing.commit(&opened.volume).unwrap();
    opened.writing.close(&opened.volume).unwrap();
    for cut in disk.prefixes() {
        assert!([1005, 2000].contains(&times(Arc::new(cut.disk), free).0), "after {} steps", cut.steps);
    }
    assert_eq!(time_on_disk(&e2fsck(&bytes_of(&*disk), "-fy").2), 2000, "Linux replays nothing older over it");
}

#[test]
fn a_transaction_without_its_commit_block_does_not_count() {
    let (bytes, free) = dirty(EXT4, 8, 1003);
    let log = {
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.clone()));
        let superblock = Superblock::read(&*disk).unwrap();
        journal::open(&Volume::new(disk, superblock)).unwrap()
    };
    let (mut block, mut last) = (Vec::new(), 0);
    for number in log.superblock.first..log.superblock.last {
        log.read(number, &mut block).unwrap();
        if let Some(journal::log::Content::Commit(_)) = log.record(&block).map(|record| record.content) {
            last = log.offset(number).unwrap() as usize;
        }
    }
    let mut cut = bytes;
    cut[last..last + 1024].fill(0);
    let (disk, opened) = reopen(cut.clone());
    assert_eq!(times(disk, free).0, 1002);
    // Its number is not used again: what is left of it must never look whole.
    assert!(journal_of(&bytes_of(&**opened.volume.disk())).sequence > journal_of(&cut).sequence + 2);
}

#[test]
fn a_scattered_journal() {
    let options = "-b 1024 -g 1024 -O has_journal,extent,64bit,metadata_csum,filetype,sparse_super -J size=2";
    let bytes = image(options, 12);
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.clone()));
    let superblock = Superblock::read(&*disk).unwrap();
    assert!(journal::open(&Volume::new(disk, superblock)).unwrap().runs().len() > 1, "in one piece");
    cut(bytes, 4);
}

#[test]
fn a_clean_file_system_whose_journal_is_not_empty_is_not_replayed() {
    let (mut bytes, free) = dirty(EXT4, 8, 1005);
    let (before, sequence) = (time_on_disk(&bytes), journal_of(&bytes).sequence);
    let superblock = Superblock::read(&Memory::new("m", bytes.clone())).unwrap();
    let mut raw = superblock.raw.clone();
    raw.s_feature_incompat = (raw.s_feature_incompat.get() & !incompat::RECOVER).into();
    superblock.seal(&mut raw);
    bytes[1024..2048].copy_from_slice(raw.as_bytes());
    let (disk, opened) = reopen(bytes.clone());
    assert!(bytes_of(&*disk) == bytes && time_on_disk(&bytes) == before);
    set_times(&opened, 2000, free);
    opened.writing.commit(&opened.volume).unwrap();
    let crashed = bytes_of(&*disk);
    assert!(journal_of(&crashed).sequence > sequence + 5, "no number of those that lie there");
    assert_eq!(times(Arc::new(Memory::new("m", crashed)), free).0, 2000);
}

#[test]
fn nothing_is_left_to_be_replayed_after_closing() {
    let (disk, opened) = reopen(image(EXT4, 8));
    set_times(&opened, 1001, opened.volume.superblock().blocks - 1);
    opened.writing.close(&opened.volume).unwrap();
    let bytes = bytes_of(&*disk);
    assert!(!Superblock::read(&*disk).unwrap().needs_recovery());
    assert_eq!((journal_of(&bytes).start, time_on_disk(&bytes)), (None, 1001));
    assert!(opened.writing.operate(&opened.volume, |_| Ok(())).is_err(), "it is closed");
}

#[test]
fn a_file_system_that_is_only_read_is_not_written() {
    let (bytes, free) = dirty(EXT4, 8, 1005);
    let disk = Arc::new(PowerCut::new("d", bytes));
    assert_eq!(times(disk.clone(), free).0, 1005);
    assert_eq!(disk.steps(), 0);
}

#[test]
fn a_feature_that_a_replayed_transaction_turned_on_is_refused_before_the_disk_is_written() {
    let (disk, opened) = reopen(image(EXT4, 8));
    let turn_on = |raw: &mut ext::layout::SuperBlock| {
        raw.s_feature_ro_compat = (raw.s_feature_ro_compat.get() | 0x8000).into();
        Ok(())
    };
    opened.writing.operate(&opened.volume, |op| op.change_superblock(turn_on)).unwrap();
    opened.writing.commit(&opened.volume).unwrap();
    let disk = Arc::new(PowerCut::new("d", bytes_of(&*disk)));
    let error = open(disk.clone()).err().unwrap().to_string();
    assert_eq!(error, "not written: feature verity");
    assert_eq!(disk.steps(), 0);
}
