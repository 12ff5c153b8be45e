//! What is particular to FAT: names, permissions, times, the marks of a volume that is being written.

use filesystems::{Allocation, Changes, FileSystem, FileSystemMut, NewContent, NodeId, Rename, Time};
use images::Error;

use super::checked::{assert_clean, bytes, memory};
use super::{new, open_to_write, volume};

fn floppy() -> Vec<u8> {
    volume(1440, &["-F", "12"])
}

fn create(writer: &dyn FileSystemMut, dir: NodeId, name: &str) -> images::Result<NodeId> {
    writer.create(dir, name.as_bytes(), &new(NewContent::File))
}

fn names(fs: &dyn FileSystem, dir: NodeId) -> Vec<String> {
    let mut names = Vec::new();
    fs.read_dir(dir, 0, &mut |entry| {
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    })
    .unwrap();
    names
}

#[test]
fn names_and_their_case() {
    let disk = memory(floppy());
    let fs = open_to_write(disk.clone());
    let (root, writer) = (fs.root(), fs.writer(fs.root()).unwrap());
    for name in ["a:b", "question?", "end ", "...", "line\nbreak", "back\\slash"] {
        assert!(matches!(create(writer, root, name), Err(Error::Invalid)), "{name:?}");
    }
    assert!(matches!(create(writer, root, &"x".repeat(256)), Err(Error::NameTooLong)));
    let file = create(writer, root, "A long name of a file.text").unwrap();
    for name in ["a LONG name of a file.TEXT", "ALONGN~1.TEX", "alongn~1.tex", "A long name of a file.text.."] {
        assert_eq!(fs.lookup(root, name.as_bytes()).unwrap(), file, "{name}");
        assert!(matches!(create(writer, root, name), Err(Error::Exists)), "{name}");
    }
    assert!(create(writer, root, "dots at the end...").is_ok());
    writer
        .rename((root, b"a long NAME of a file.text"), (root, b"A LONG NAME OF A FILE.TEXT"), Rename::Replace)
        .unwrap();
    writer.rename((root, b"A LONG NAME OF A FILE.TEXT"), (root, b"short.txt"), Rename::Replace).unwrap();
    writer.rename((root, b"short.txt"), (root, b"SHORT.txt"), Rename::Replace).unwrap();
    assert_eq!(names(fs.as_ref(), root), ["SHORT.txt", "dots at the end"]);
    assert_eq!(fs.lookup(root, b"short.TXT").unwrap(), file, "it stays what it is");
    let exchanged = writer.rename((root, b"SHORT.txt"), (root, b"dots at the end"), Rename::Exchange);
    assert!(matches!(exchanged, Err(Error::Unsupported(_))));
    writer.close().unwrap();
    assert_clean(&bytes(disk.as_ref()), "names");
}

/// More aliases of one beginning than there are numbers of one digit.
#[test]
fn aliases_of_many_names_differ() {
    let disk = memory(volume(8 << 10, &["-F", "16", "-s", "1"]));
    let fs = open_to_write(disk.clone());
    let writer = fs.writer(fs.root()).unwrap();
    let dir = writer.create(fs.root(), b"d", &new(NewContent::Directory)).unwrap();
    let all: Vec<String> = (0..1500).map(|number| format!("longfilename {number}.text")).collect();
    for name in &all {
        create(writer, dir, name).unwrap();
    }
    assert_eq!(names(fs.as_ref(), dir), all);
    writer.close().unwrap();
    assert_clean(&bytes(disk.as_ref()), "aliases"); // fsck.fat compares the short names.
}

#[test]
fn what_fat_does_not_have_is_refused() {
    let fs = open_to_write(memory(floppy()));
    let (root, writer) = (fs.root(), fs.writer(fs.root()).unwrap());
    let file = create(writer, root, "file").unwrap();
    for content in [NewContent::Symlink(b"file"), NewContent::Fifo, NewContent::BlockDevice(1, 2), NewContent::Socket] {
        assert!(matches!(writer.create(root, b"other", &new(content)), Err(Error::NotPermitted)));
    }
    assert!(matches!(writer.link(file, root, b"other"), Err(Error::NotPermitted)));
    let owner = Changes { owner: Some(1000), size: Some(5), ..Changes::default() };
    assert!(matches!(writer.set_stat(file, &owner), Err(Error::NotPermitted)));
    assert_eq!(fs.stat(file).unwrap().size, 0, "all or nothing");
    writer.set_stat(file, &Changes { owner: Some(0), group: Some(0), ..Changes::default() }).unwrap();
    assert!(matches!(writer.set_xattr(file, b"user.a", None, Default::default()), Err(Error::Unsupported(_))));
    assert!(matches!(writer.allocate(file, 0..512, Allocation::PunchHole), Err(Error::Unsupported(_))));
    for (at, len) in [(u64::from(u32::MAX), 1), (u64::MAX, 2), (1 << 32, 0)] {
        assert!(matches!(writer.write_at(file, &vec![0; len], at), Err(Error::TooLarge)), "{at}");
    }
    let long = Changes { size: Some(1 << 32), ..Changes::default() };
    assert!(matches!(writer.set_stat(file, &long), Err(Error::TooLarge)));
    assert!(matches!(writer.write_at(file, b"x", 2 << 20), Err(Error::NoSpace)));
    assert!(matches!(writer.write_at(root, b"x", 0), Err(Error::IsDirectory)));
    assert!(matches!(writer.create(file, b"x", &new(NewContent::File)), Err(Error::NotDirectory)));
    assert_eq!((fs.stat(file).unwrap().size, names(fs.as_ref(), root)), (0, vec!["file".to_owned()]));
}

#[test]
fn permissions_and_times() {
    let disk = memory(floppy());
    let fs = open_to_write(disk.clone());
    let writer = fs.writer(fs.root()).unwrap();
    let file = create(writer, fs.root(), "file").unwrap();
    let chmod = |permissions| writer.set_stat(file, &Changes { permissions: Some(permissions), ..Changes::default() });
    for (wanted, shown) in [(0o444, 0o555), (0o644, 0o755), (0o500, 0o555), (0o4777, 0o755)] {
        chmod(wanted).unwrap();
        assert_eq!(fs.stat(file).unwrap().permissions, shown, "{wanted:o}");
    }
    let at = |seconds| Some(Time { seconds, nanoseconds: 500_000_000 });
    writer
        .set_stat(file, &Changes { modified: at(1_000_000_001), accessed: at(1_000_000_001), ..Changes::default() })
        .unwrap();
    let stat = fs.stat(file).unwrap();
    assert_eq!((stat.modified.seconds, stat.accessed.seconds), (1_000_000_000, 999_993_600), "2 seconds, and a day");
    writer.set_stat(file, &Changes { modified: at(0), ..Changes::default() }).unwrap();
    assert_eq!(fs.stat(file).unwrap().modified.seconds, 315_532_800, "there is nothing before 1980");
    writer.close().unwrap();
    assert_clean(&bytes(disk.as_ref()), "times");
}

/// The marks lie in the boot sector and, but for FAT12, in the FAT.
#[test]
fn a_volume_that_is_written_is_not_clean() {
    for (kind, kilobytes, state) in [("12", 1440, 37), ("16", 10 << 10, 37), ("32", 36 << 10, 65)] {
        let empty = volume(kilobytes, &["-F", kind, "-s", "1"]);
        let disk = memory(empty.clone());
        let fs = open_to_write(disk.clone());
        let writer = fs.writer(fs.root()).unwrap();
        writer.sync(None, false).unwrap();
        assert!(bytes(disk.as_ref()) == empty, "FAT{kind}: nothing was changed");
        create(writer, fs.root(), "a").unwrap();
        let fat = usize::from(u16::from_le_bytes([empty[14], empty[15]])) * 512;
        let (at, bit) = if kind == "16" { (fat + 3, 0x80) } else { (fat + 7, 0x08) };
        let now = bytes(disk.as_ref());
        assert_eq!((now[state] & 1, now[at] & bit), (1, if kind == "12" { now[at] & bit } else { 0 }), "FAT{kind}");
        writer.remove(fs.root(), b"a").unwrap();
        writer.close().unwrap();
        let closed = bytes(disk.as_ref());
        assert_eq!((closed[state], closed[at]), (empty[state], empty[at]), "FAT{kind}");
        assert_clean(&closed, kind);
        assert!(matches!(create(writer, fs.root(), "b"), Err(Error::ReadOnly(_))), "it was closed");
        assert!(writer.close().is_ok());

        // What was not clean before is written with a note, and does not become clean by that.
        let mut dirty = empty.clone();
        dirty[state] |= 1;
        let disk = memory(dirty);
        let fs = open_to_write(disk.clone());
        assert!(fs.properties(fs.root()).notes.iter().any(|note| note.contains("not unmounted cleanly")));
        let writer = fs.writer(fs.root()).unwrap();
        create(writer, fs.root(), "a").unwrap();
        writer.close().unwrap();
        assert_eq!(bytes(disk.as_ref())[state] & 1, 1);
    }
}

#[test]
fn an_open_file_outlives_its_name() {
    let disk = memory(floppy());
    let fs = open_to_write(disk.clone());
    let (root, writer, free) = (fs.root(), fs.writer(fs.root()).unwrap(), fs.space(fs.root()).unwrap());
    let holds = fs.holds().unwrap();
    let file = create(writer, root, "file").unwrap();
    writer.write_at(file, &[1; 3000], 0).unwrap();
    writer.sync(None, false).unwrap();
    writer.remove(root, b"file").unwrap();
    let other = create(writer, root, "file").unwrap();
    assert_ne!(file, other);
    writer.write_at(other, &[2; 3000], 0).unwrap();
    writer.write_at(file, &[3; 3000], 3000).unwrap();
    assert_eq!(filesystems::read_file(fs.as_ref(), file, 9000).unwrap(), [[1; 3000], [3; 3000]].concat());
    holds.forget(file, 1);
    assert!(matches!(fs.stat(file), Err(Error::NotFound)));
    writer.remove(root, b"file").unwrap();
    holds.forget(other, 1);
    assert_eq!(fs.space(root).unwrap(), free);
    // One that is open at the end is given back then.
    let file = create(writer, root, "last").unwrap();
    writer.write_at(file, &[4; 3000], 0).unwrap();
    writer.remove(root, b"last").unwrap();
    writer.close().unwrap();
    assert_clean(&bytes(disk.as_ref()), "open files");
}

/// Space that a file has behind its end goes back when nobody holds it any more.
#[test]
fn space_that_was_not_used_goes_back() {
    let disk = memory(floppy());
    let fs = open_to_write(disk.clone());
    let (root, writer, free) = (fs.root(), fs.writer(fs.root()).unwrap(), fs.space(fs.root()).unwrap().blocks_free);
    for (name, len) in [("empty", 0), ("some", 700)] {
        let file = create(writer, root, name).unwrap();
        writer.write_at(file, &vec![1; len], 0).unwrap();
        writer.allocate(file, 0..100 * 512, Allocation::KeepSize).unwrap();
        assert_eq!(fs.stat(file).unwrap().size, len as u64);
        assert_eq!(fs.space(root).unwrap().blocks_free, free - 100);
        fs.holds().unwrap().forget(file, 1);
        assert_eq!(fs.space(root).unwrap().blocks_free, free - len.div_ceil(512) as u64);
        writer.remove(root, name.as_bytes()).unwrap();
    }
    let file = create(writer, root, "open").unwrap();
    writer.allocate(file, 0..5000, Allocation::KeepSize).unwrap();
    writer.close().unwrap();
    assert_clean(&bytes(disk.as_ref()), "preallocated");
}

/// Nothing is flushed for each of many small files, and little is written.
#[test]
fn many_files_cost_few_writes() {
    use images::disk::Counting;
    let disk = std::sync::Arc::new(Counting::new(memory(volume(64 << 10, &["-F", "16", "-s", "4"]))));
    let fs = open_to_write(disk.clone());
    let writer = fs.writer(fs.root()).unwrap();
    let dir = writer.create(fs.root(), b"dir", &new(NewContent::Directory)).unwrap();
    for number in 0..2000 {
        let file = create(writer, dir, &format!("a small file {number}")).unwrap();
        writer.write_at(file, &[number as u8; 1500], 0).unwrap();
        fs.holds().unwrap().forget(file, 1);
    }
    writer.sync(None, false).unwrap();
    let written = disk.take_written();
    assert!(written.flushes <= 4 && written.writes <= 2000 + 200, "{written:?}");
    let (reads, _) = disk.take();
    assert!(reads <= 2000 + 500, "{reads} reads");
}
