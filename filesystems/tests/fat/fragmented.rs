//! Volumes that the fatfs crate writes, in pieces: content, free space, and what reading costs.

use std::io::{Cursor, Write};
use std::sync::Arc;

use filesystems::resolve;
use images::Disk;
use images::disk::{Counting, Memory};

use super::{Random, noise, open, walk_all};

/// A volume formatted by fatfs, filled by `fill`; and how many clusters fatfs says are free.
fn make(size: usize, options: fatfs::FormatVolumeOptions, fill: impl FnOnce(&Written<'_>)) -> (Vec<u8>, u64) {
    let mut bytes = vec![0; size];
    fatfs::format_volume(Cursor::new(&mut bytes[..]), options).unwrap();
    let fs = fatfs::FileSystem::new(Cursor::new(&mut bytes[..]), fatfs::FsOptions::new()).unwrap();
    fill(&fs);
    let free = u64::from(fs.stats().unwrap().free_clusters());
    fs.unmount().unwrap();
    (bytes, free)
}

type Written<'a> = fatfs::FileSystem<Cursor<&'a mut [u8]>>;

fn memory(bytes: Vec<u8>) -> Arc<dyn Disk> {
    Arc::new(Memory::new("m", bytes))
}

#[test]
fn files_in_many_pieces() {
    use fatfs::FatType::{Fat12, Fat16, Fat32};
    for (kind, size, cluster) in [(Fat12, 2 << 20, 512), (Fat16, 16 << 20, 1024), (Fat32, 40 << 20, 512)] {
        let files: Vec<_> = (0..6).map(|seed| noise(seed, 150_000 + seed as usize * 777)).collect();
        let options = fatfs::FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(cluster);
        let (bytes, free) = make(size, options, |written| {
            let sub = written.root_dir().create_dir("a directory with a long name").unwrap();
            let mut open: Vec<_> =
                (0..files.len()).map(|i| sub.create_file(&format!("File {i} in pieces gr\u{fc}n")).unwrap()).collect();
            // All grow by turns, so that hardly two clusters of a file are neighbours.
            let mut random = Random(1);
            let mut written = vec![0; files.len()];
            while written.iter().zip(&files).any(|(done, file)| *done < file.len()) {
                let i = random.below(files.len() as u64) as usize;
                let len = (1 + random.below(3000) as usize).min(files[i].len() - written[i]);
                open[i].write_all(&files[i][written[i]..][..len]).unwrap();
                written[i] += len;
            }
        });
        let disk = memory(bytes);
        let fs = open(disk.clone()).unwrap();
        let seen = walk_all(fs.as_ref());
        assert_eq!(seen.len(), 1 + files.len());
        for (i, file) in files.iter().enumerate() {
            let seen = &seen[&format!("/a directory with a long name/File {i} in pieces gr\u{fc}n")];
            assert!(seen.content.as_ref().unwrap() == file, "{kind:?} {i}");
            let mut random = Random(i as u64);
            for _ in 0..300 {
                let offset = random.below(file.len() as u64 + 1000);
                let mut buf = vec![0; random.below(9000) as usize];
                let len = fs.read_at(seen.node, &mut buf, offset).unwrap();
                let rest = file.get(offset as usize..).unwrap_or_default();
                assert_eq!(len, rest.len().min(buf.len()));
                assert!(buf[..len] == rest[..len]);
            }
            let mut mapped = 0;
            while mapped < file.len() as u64 {
                mapped += fs.extent_at(seen.node, mapped).unwrap().len;
            }
            assert_eq!(mapped, file.len() as u64, "extents end with the file");
            assert!(fs.extent_at(seen.node, mapped).is_err());
        }
        assert_eq!(fs.space(fs.root()).unwrap().blocks_free, free);
        // The same from several threads, with nothing cached.
        let fs = open(disk).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(walk_all(fs.as_ref()).keys().collect::<Vec<_>>(), seen.keys().collect::<Vec<_>>())
                });
            }
        });
    }
}

#[test]
fn an_extent_is_a_place_of_the_host_file() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let image = super::tools::format(dir.path(), "image", 8192, &["-F", "16", "-s", "1"]);
    let (source, content) = (dir.path().join("source"), noise(5, 20_000));
    std::fs::write(&source, &content).unwrap();
    super::tools::run("mcopy", &["-i", image.to_str().unwrap(), source.to_str().unwrap(), "::f"]);
    let fs = open(super::tools::disk(&image)).unwrap();
    let node = fs.lookup(fs.root(), b"f").unwrap();
    let extent = fs.extent_at(node, 1234).unwrap();
    let images::Data::Host(file, offset) = extent.data else { panic!("{:?}", extent.data) };
    let mut buf = vec![0; extent.len as usize];
    file.read_exact_at(&mut buf, offset).unwrap();
    assert!(buf == content[1234..][..buf.len()]);
    assert_eq!(buf.len(), 20_000 - 1234, "one run, cut at the end of the file");
}

/// Reading costs the directory once, the file's part of the FAT once, and then one read of the disk a run.
#[test]
fn random_access_has_a_budget() {
    const SIZE: usize = 48 << 20;
    let content = noise(9, SIZE / 2);
    let options = fatfs::FormatVolumeOptions::new().fat_type(fatfs::FatType::Fat32).bytes_per_cluster(512);
    let (bytes, _) = make(SIZE, options, |written| {
        written.root_dir().create_file("big").unwrap().write_all(&content).unwrap();
    });
    let counting = Arc::new(Counting::new(memory(bytes)));
    let fs = open(counting.clone()).unwrap();
    let (reads, _) = counting.take();
    assert!(reads <= 40, "{reads} reads to recognise and open");
    let node = resolve(fs.as_ref(), b"/big", true).unwrap();
    let mut buf = [0; 4096];
    fs.read_at(node, &mut buf, content.len() as u64 - 4096).unwrap();
    let (reads, bytes) = counting.take();
    // 49,152 clusters are 192 KiB of FAT, in pages of 4 KiB.
    assert!(reads <= 48 + 6 && bytes <= 54 * 4096, "{reads} reads of {bytes} bytes for the first access");
    let mut random = Random(4);
    for _ in 0..1000 {
        let offset = random.below(content.len() as u64 - 4096);
        fs.read_at(node, &mut buf, offset).unwrap();
        assert!(buf[..] == content[offset as usize..][..4096]);
        fs.stat(node).unwrap();
        fs.lookup(fs.root(), b"BIG").unwrap();
    }
    assert_eq!(counting.take(), (1000, 1000 * 4096), "one read each, nothing for names and attributes");
    let mut all = vec![0; content.len()];
    fs.read_at(node, &mut all, 0).unwrap();
    assert!(all == content);
    assert_eq!(counting.take().0, 1, "neighbouring clusters are one read");
}
