//! Orphans in the list and in the file.

use super::*;
use crate::ext::write::operation::Operation;
use crate::ext::write::orphans;
use crate::ext::write::record::Record;

/// Each in a list and in a file: added, found after a crash, removed in any order.
#[test]
fn orphans_are_kept_in_a_list_and_in_a_file() {
    // The orphan file itself is inode 12.
    let numbers = [14, 17, 15, 20];
    for options in [
        "-t ext3 -b 1024 -J size=1",
        "-b 1024 -O has_journal,orphan_file,extent,64bit,metadata_csum -J size=1",
        "-b 1024 -O has_journal,orphan_file,extent -J size=1",
    ] {
        let (disk, opened) = reopen(image(options, 8));
        let Opened { volume, writing, .. } = &opened;
        let change = |number: u32, add: bool| {
            let change = if add { orphans::add } else { orphans::remove };
            writing
                .operate(volume, |op| {
                    let mut record = op.record(number)?;
                    change(op, &mut record)?;
                    op.put(&mut record)
                })
                .unwrap();
        };
        let sorted = |volume: &Volume| {
            let mut all = orphans::all(volume).unwrap();
            all.sort_unstable();
            all
        };
        for number in numbers {
            let make = |op: &mut Operation<'_>| {
                let offset = volume.inode_offset(number)?;
                op.put(&mut Record::new(volume.superblock(), number, offset, 0))
            };
            writing.operate(volume, make).unwrap();
            change(number, true);
            change(number, true);
        }
        assert_eq!(sorted(volume), [14, 15, 17, 20], "{options}");
        writing.commit(volume).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("crashed", bytes_of(&*disk)));
        let superblock = Superblock::read(&*disk).unwrap();
        assert!(superblock.needs_recovery());
        let in_file = superblock.features.has_ro_compat(ro_compat::ORPHAN_PRESENT);
        assert_eq!(in_file, options.contains("orphan_file"));
        let replayed = journal::replay(disk, &superblock, &images::Budget::default()).unwrap();
        let superblock = Superblock::read(&*replayed.disk).unwrap();
        assert_eq!(superblock.raw.s_last_orphan.get() == 0, in_file);
        assert_eq!(sorted(&Volume::new(replayed.disk, superblock)), [14, 15, 17, 20], "{options}");
        for (removed, left) in [(15, &[14, 17, 20][..]), (20, &[14, 17]), (14, &[17]), (14, &[17]), (17, &[])] {
            change(removed, false);
            assert_eq!(sorted(volume), left, "{options}");
        }
        assert_eq!(volume.superblock_now().unwrap().s_last_orphan.get(), 0);
    }
}
