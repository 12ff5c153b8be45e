//! What a search may cost: each block of the disk is read once.

use super::*;
use images::{Disk, Extent, Properties, Writer};

/// Counts how often each part of a disk is read.
struct Recording {
    inner: Arc<dyn Disk>,
    /// By part: how often.
    counts: Mutex<Vec<u32>>,
    part: u64,
}

impl std::fmt::Display for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Recording {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> images::Result<()> {
        let mut counts = self.counts.lock().unwrap();
        for part in offset / self.part..(offset + buf.len() as u64).div_ceil(self.part) {
            counts[part as usize] += 1;
        }
        self.inner.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> images::Result<Extent<'_>> {
        self.inner.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, bytes: std::ops::Range<u64>) -> images::Result<Writer> {
        self.inner.writer(bytes)
    }
}

/// Every block is read once at most in a search, whatever it is: tables, bitmaps, maps, directories, the journal. One
/// block of each run of an intact file is looked at, which may be in the free space that was searched.
#[test]
fn each_block_is_read_once() {
    for options in [
        "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=4",
        "-t ext4 -b 1024 -O extent,64bit,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=16",
        "-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 128 -J size=4",
    ] {
        let Some(_one) = turn(options) else { return };
        let image = Image::new(options, 200, None);
        let files = populate(&Mount::new(&image, "rw").path);
        {
            let mount = Mount::new(&image, "rw");
            // Directories of many blocks, that live and that do not, and a journal that wraps.
            for directory in 0..30 {
                let path = mount.path.join(format!("many {directory}"));
                fs::create_dir(&path).unwrap();
                (0..200).for_each(|index| fs::write(path.join(format!("{index:0100}")), "x").unwrap());
                sync();
            }
            (0..15).for_each(|index| fs::remove_dir_all(mount.path.join(format!("many {index}"))).unwrap());
            sync();
            for path in files.keys().filter(|path| !path.starts_with("dir")) {
                fs::remove_file(mount.path.join(path)).unwrap();
            }
        }
        let part: u64 = if options.contains("-b 1024") { 1024 } else { 4096 };
        let counts = Mutex::new(vec![0; (image.bytes().len() as u64 / part) as usize]);
        let disk = Arc::new(Recording { inner: image.memory(), counts, part });
        let fs = ext_image::open(disk.clone()).unwrap();
        disk.counts.lock().unwrap().fill(0);
        let list = fs.forensics().unwrap().deleted().unwrap();
        assert!(list.len() > 100, "{}", list.len());
        let counts = disk.counts.lock().unwrap().clone();
        let intact = list.iter().filter(|deleted| deleted.state == State::Intact);
        let content: BTreeSet<Vec<u8>> = intact
            .filter(|deleted| fs.stat(deleted.node).unwrap().kind == Kind::File)
            .flat_map(|deleted| {
                let mut bytes = read(&*fs, deleted.node).unwrap();
                bytes.resize(bytes.len().next_multiple_of(part as usize), 0);
                bytes.chunks(part as usize).map(Vec::from).collect::<Vec<_>>()
            })
            .collect();
        let bytes = image.bytes();
        let is_content = |block: usize| content.contains(&bytes[block * part as usize..][..part as usize]);
        let again: Vec<usize> = (0..counts.len()).filter(|block| counts[*block] > 1 && !is_content(*block)).collect();
        let read = counts.iter().filter(|count| **count > 0).count() as u64 * part;
        println!("{options}: {} nodes, {} KiB read", list.len(), read >> 10);
        assert!(again.is_empty(), "{options}: {} blocks are read again: {again:?}", again.len());
        disk.counts.lock().unwrap().fill(0);
        fs.forensics().unwrap().deleted().unwrap();
        fs.stat(list[0].node).unwrap();
        assert!(disk.counts.lock().unwrap().iter().all(|count| *count == 0), "the search is done once");
    }
}

/// Two thousand deleted inodes of 4 KiB, that the default budget holds and a small one does not: what fits is listed and
/// nothing of it promised, and all memory goes back.
#[test]
fn what_a_search_keeps_is_counted_in_bytes() {
    let image = Image::new("-t ext4 -b 4096 -I 4096 -N 2048 -O ^has_journal,^metadata_csum,^uninit_bg", 32, None);
    let at = image.inode_at("<20>", 4096);
    let mut bytes = image.bytes();
    let mut record = vec![0u8; 4096];
    record[..2].copy_from_slice(&0o100_644u16.to_le_bytes());
    record[4] = 5;
    record[20..24].copy_from_slice(&1_700_000_001u32.to_le_bytes());
    record[128] = 32;
    record[160..164].copy_from_slice(&0xea02_0000u32.to_le_bytes());
    record[4000..].fill(7);
    for index in 0..2000 {
        bytes[at + index * 4096..][..4096].copy_from_slice(&record);
    }
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("inodes", bytes));
    let listed = |budget: &images::Budget| {
        let mut options = filesystems::Options::default();
        options.budget = budget.clone();
        let fs = filesystems::open(disk.clone(), &options).unwrap();
        let list = fs.forensics().unwrap().deleted().unwrap();
        let held = budget.limit() - budget.free();
        assert!(held >= list.len() as u64 * 4096, "what is found is counted: {held} bytes of {}", list.len());
        list.len()
    };
    assert_eq!(listed(&images::Budget::default()), 2000);
    let small = images::Budget::new(4 << 20);
    let some = listed(&small);
    assert!((100..800).contains(&some), "{some}");
    assert_eq!(small.free(), small.limit());
}
