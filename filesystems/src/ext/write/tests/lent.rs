//! Journals of file systems that have none.

use super::*;

#[test]
fn a_file_system_without_a_journal_is_lent_one() {
    for (options, megabytes) in [
        ("-b 1024 -O none,filetype,sparse_super", 16),
        ("-b 4096 -O none,filetype,sparse_super,large_file,resize_inode", 24),
        ("-b 1024 -O none,extent,64bit,flex_bg,metadata_csum,filetype,sparse_super", 16),
    ] {
        let bytes = image(options, megabytes);
        let before = Superblock::read(&Memory::new("before", bytes.clone())).unwrap().raw;
        let (disk, opened) = reopen(bytes.clone());
        assert!(bytes_of(&*disk) == bytes, "nothing is written before there is something to write");
        set_times(&opened, 1001, opened.volume.superblock().blocks - 1);
        opened.writing.commit(&opened.volume).unwrap();
        let during = Superblock::read(&*disk).unwrap();
        assert!(during.needs_recovery() && during.raw.s_journal_inum.get() == 8);
        opened.writing.close(&opened.volume).unwrap();
        let after = Superblock::read(&*disk).unwrap().raw;
        assert_eq!(after.s_feature_compat, before.s_feature_compat);
        assert_eq!(after.s_feature_incompat, before.s_feature_incompat);
        assert_eq!(after.s_free_blocks_count_lo, before.s_free_blocks_count_lo);
        assert_eq!((after.s_state.get(), after.s_journal_inum.get()), (1, 0));
        cut(bytes, 4);
    }
}

#[test]
fn a_journal_that_was_lent_is_given_back_after_a_crash() {
    let (disk, opened) = reopen(image("-b 1024 -O none,filetype,sparse_super", 16));
    let free = opened.volume.superblock().blocks - 1;
    set_times(&opened, 1001, free);
    opened.writing.commit(&opened.volume).unwrap();
    let (again, opened) = reopen(bytes_of(&*disk));
    assert!(opened.volume.superblock().features.has_compat(compat::HAS_JOURNAL));
    set_times(&opened, 1002, free);
    opened.writing.close(&opened.volume).unwrap();
    assert_clean(&bytes_of(&*again));
    assert!(!Superblock::read(&*again).unwrap().features.has_compat(compat::HAS_JOURNAL));
    assert_eq!(times(again, free).0, 1002);
}

#[test]
fn a_file_system_without_room_for_a_journal_is_marked() {
    let (disk, opened) = reopen(image("-b 1024 -O none,filetype,sparse_super", 2));
    set_times(&opened, 1001, opened.volume.superblock().blocks - 1);
    opened.writing.commit(&opened.volume).unwrap();
    let during = Superblock::read(&*disk).unwrap();
    assert_eq!((during.raw.s_state.get(), during.needs_recovery()), (0, false));
    opened.writing.close(&opened.volume).unwrap();
    assert_eq!(Superblock::read(&*disk).unwrap().raw.s_state.get(), 1);
    assert_clean(&bytes_of(&*disk));
}
