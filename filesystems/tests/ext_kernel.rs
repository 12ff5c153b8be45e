//! ext against the kernel: our tree and a loop mount of the same image are equal, path for path. Needs root.

#![allow(clippy::unwrap_used)]

mod ext_image;
mod walk;

use std::ffi::CString;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ext_image::{Image, Mount, is_root, run};
use images::disk::HostFile;
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, fallocate, makedev, mknodat};

/// One loop mount at a time: there are few loop devices.
static LOOP: Mutex<()> = Mutex::new(());

/// Bytes that differ from block to block.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Everything that a tree can hold, through the kernel's mount.
fn populate(root: &Path, block_size: usize, many: usize) {
    for (index, len) in
        [0, 1, 59, 60, 61, 120, 160, 1000, block_size - 1, block_size, 13 * block_size + 5].iter().enumerate()
    {
        fs::write(root.join(format!("file-{len}")), content(*len, index as u64)).unwrap();
    }
    fs::write(root.join("large"), content(3_000_000, 99)).unwrap();

    // Holes of all sizes, and at the indirect levels of block maps; with larger blocks the third begins at gigabytes.
    let sparse = File::create(root.join("sparse")).unwrap();
    let pointers = block_size / 4;
    let mut blocks = vec![1, 11, 13, 12 + pointers, 12 + pointers + 3, 12 + 2 * pointers];
    let mut end = 20 + 9 * pointers;
    if block_size == 1024 {
        blocks.push(12 + pointers + pointers * pointers + 7);
        end += pointers * pointers;
    }
    for block in blocks {
        sparse.write_all_at(&content(block_size / 2, block as u64), (block * block_size) as u64).unwrap();
    }
    sparse.set_len((end * block_size + 17) as u64).unwrap();
    File::create(root.join("all-hole")).unwrap().set_len(5_000_001).unwrap();

    // More extents than fit in one level of leaves.
    let fragmented = File::create(root.join("fragmented")).unwrap();
    for index in 0..1800 {
        fragmented.write_all_at(&content(block_size, index), index * 2 * block_size as u64).unwrap();
    }

    // Hard links, long names, names that are not UTF-8.
    fs::hard_link(root.join("large"), root.join("large-again")).unwrap();
    fs::write(root.join("n".repeat(255)), "long").unwrap();
    let odd = root.join(Path::new(std::ffi::OsStr::new("sp ace\n"))).join("");
    fs::create_dir(&odd).unwrap();
    use std::os::unix::ffi::OsStrExt;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe\x80name")), "not UTF-8").unwrap();

    for len in [1, 58, 59, 60, 61, 100, 200, 1000.min(block_size - 1)] {
        symlink("t".repeat(len), root.join(format!("link-{len}"))).unwrap();
    }

    let node = |name: &str, kind, major, minor| {
        let mode = Mode::from_raw_mode(0o4640);
        mknodat(CWD, CString::new(root.join(name).as_os_str().as_bytes()).unwrap(), kind, mode, makedev(major, minor))
            .unwrap();
    };
    node("char-old", FileType::CharacterDevice, 5, 1);
    node("char-new", FileType::CharacterDevice, 300, 70000);
    node("block-old", FileType::BlockDevice, 255, 255);
    node("block-new", FileType::BlockDevice, 4095, 0xf_ffff);
    node("fifo", FileType::Fifo, 0, 0);
    drop(UnixListener::bind(root.join("socket")).unwrap());

    // Owners beyond 16 bits, every mode bit.
    let owned = root.join("owned");
    fs::write(&owned, "mine").unwrap();
    std::os::unix::fs::chown(&owned, Some(70_001), Some(4_000_000_000)).unwrap();
    fs::set_permissions(&owned, std::os::unix::fs::PermissionsExt::from_mode(0o7751)).unwrap();

    for (name, seconds) in [
        ("1901", -0x7fff_ffff),
        ("1969", -1),
        ("2038", 0x8000_0001),
        ("2300", 10_413_792_000),
        ("2446", 0x3_7fff_fffei64),
    ] {
        let time = match u64::try_from(seconds) {
            Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789),
            Err(_) => SystemTime::UNIX_EPOCH - Duration::new(seconds.unsigned_abs(), 0) + Duration::new(0, 999_999_999),
        };
        let file = File::create(root.join(format!("from-{name}"))).unwrap();
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
    }

    // A chain of directories, directories of all sizes from inline to a hash tree.
    fs::create_dir_all(root.join("a/b/c/d/e/f/g/h/i/j/k/l/m")).unwrap();
    for count in [1, 3, 10, 60, many] {
        let directory = root.join(format!("with-{count}"));
        fs::create_dir(&directory).unwrap();
        for index in 0..count {
            let name = directory.join(format!("entry-{index:05}-{}", "x".repeat(index % 50)));
            if index % 10 == 9 { fs::create_dir(name).unwrap() } else { drop(File::create(name).unwrap()) }
        }
        // Gaps in the blocks.
        for index in (0..count).step_by(7).filter(|index| index % 10 != 9) {
            fs::remove_file(directory.join(format!("entry-{index:05}-{}", "x".repeat(index % 50)))).unwrap();
        }
    }
}

/// Unwritten extents before, behind and around written blocks, and beyond the end. Only extent-mapped files have them.
fn preallocate(root: &Path, block_size: u64) {
    let file = File::create(root.join("preallocated")).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 40 * block_size).unwrap();
    file.write_all_at(&content(5000, 7), 10 * block_size + 100).unwrap();
    fallocate(&file, FallocateFlags::KEEP_SIZE, 40 * block_size, 40 * block_size).unwrap();
    let file = File::create(root.join("punched")).unwrap();
    file.write_all_at(&content(60 * block_size as usize, 8), 0).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 16 * block_size, 16 * block_size).unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, 40 * block_size, 8 * block_size).unwrap();
}

fn case(options: &str, block_size: usize, many: usize) {
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 112, None);
    {
        let mount = Mount::new(&image, "rw");
        populate(&mount.path, block_size, many);
        if options.contains("-O extent") {
            preallocate(&mount.path, block_size as u64);
        }
    }
    let fs = image.open();
    let mount = Mount::new(&image, "ro");
    walk::assert_same(options, &walk::of_host(&mount.path), &walk::of_file_system(&*fs));

    same_statfs(options, &image, &mount);
    drop(mount);
    // Without the superblock's own figure the overhead is counted; with clusters the kernel counts shared ones once.
    if !options.contains("bigalloc") {
        image.debugfs_write("set_super_value overhead_clusters 0\n");
        same_statfs(options, &image, &Mount::new(&image, "ro"));
    }
}

fn same_statfs(options: &str, image: &Image, mount: &Mount) {
    let stat = run("stat", &["-f", "-c", "%S %b %f %a %c %d", mount.path.to_str().unwrap()]);
    let file = File::open(&image.path).unwrap();
    let fs = ext_image::open(Arc::new(HostFile::new(&image.path, file).unwrap())).unwrap();
    let space = fs.space(fs.root()).unwrap();
    let (blocks, files) = ([space.blocks, space.blocks_free, space.blocks_available], [space.files, space.files_free]);
    let ours = [&[u64::from(space.block_size)][..], &blocks, &files].concat();
    assert_eq!(ours.iter().map(u64::to_string).collect::<Vec<_>>().join(" "), stat.trim(), "{options}: statfs");
}

macro_rules! cases {
    ($($name:ident: $options:expr, $block_size:expr, $many:expr;)*) => {
        $(#[test] fn $name() { case($options, $block_size, $many) })*
    };
}

cases! {
    ext2: "-t ext2 -b 4096", 4096, 300;
    ext2_1k: "-t ext2 -b 1024", 1024, 300;
    ext2_without_filetype: "-t ext2 -b 1024 -O ^filetype", 1024, 300;
    ext2_128_byte_inodes: "-t ext2 -b 2048 -I 128", 2048, 300;
    ext3: "-t ext3 -b 4096 -O has_journal,dir_index", 4096, 300;
    ext3_1k: "-t ext3 -b 1024 -O has_journal,dir_index", 1024, 300;
    ext4: "-t ext4 -N 40000 -O extent,64bit,flex_bg,metadata_csum,dir_index,huge_file,dir_nlink,extra_isize,has_journal -I 256", 4096, 20_000;
    ext4_1k: "-t ext4 -b 1024 -O extent,64bit,flex_bg,metadata_csum,dir_index,huge_file,has_journal -I 256", 1024, 3000;
    ext4_2k_csum_seed: "-t ext4 -b 2048 -O extent,64bit,metadata_csum,metadata_csum_seed,dir_index -I 512", 2048, 1000;
    ext4_gdt_csum: "-t ext4 -O extent,uninit_bg,flex_bg,dir_index,has_journal -I 256", 4096, 1000;
    ext4_gdt_csum_64bit: "-t ext4 -O extent,64bit,uninit_bg,dir_index -I 256 -g 8192", 4096, 300;
    ext4_128_byte_inodes: "-t ext4 -O extent,metadata_csum,dir_index -I 128", 4096, 300;
    ext4_bigalloc: "-t ext4 -O extent,64bit,bigalloc,metadata_csum,dir_index -C 65536 -I 256", 4096, 300;
    ext4_bigalloc_1k: "-t ext4 -b 1024 -O extent,64bit,bigalloc,dir_index -C 16384 -I 256", 1024, 300;
    ext4_inline_data: "-t ext4 -O extent,inline_data,metadata_csum,dir_index -I 256", 4096, 300;
    ext4_inline_data_1k_inodes: "-t ext4 -O extent,inline_data,dir_index -I 1024", 4096, 300;
    ext4_meta_bg: "-t ext4 -b 1024 -O extent,meta_bg,^resize_inode,metadata_csum,dir_index -g 1024 -I 256", 1024, 300;
    ext4_meta_bg_64bit: "-t ext4 -O extent,64bit,meta_bg,^resize_inode,flex_bg,metadata_csum,dir_index -I 256", 4096, 300;
    ext4_large_dir: "-t ext4 -b 1024 -O extent,large_dir,metadata_csum,dir_index -N 40000 -I 256", 1024, 20_000;
    ext4_ea_inode: "-t ext4 -O extent,ea_inode,metadata_csum,dir_index -I 256", 4096, 300;
    ext4_sparse_super2: "-t ext4 -O extent,sparse_super2,metadata_csum,dir_index -I 256", 4096, 300;
    ext4_without_extents: "-t ext4 -O ^extent,metadata_csum,dir_index,huge_file -I 256", 4096, 300;
    ext4_without_index: "-t ext4 -O extent,metadata_csum,^dir_index -I 256", 4096, 300;
    ext4_mmp: "-t ext4 -O extent,mmp,metadata_csum,dir_index,orphan_file,has_journal -E mmp_update_interval=1 -I 256", 4096, 100;
}

#[test]
fn a_hash_tree_of_three_levels() {
    let options = "-t ext4 -b 1024 -O extent,large_dir,metadata_csum,dir_index -N 30000 -I 256";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 128, None);
    {
        let mount = Mount::new(&image, "rw");
        fs::create_dir(mount.path.join("deep")).unwrap();
        for index in 0..24_000 {
            File::create(mount.path.join(format!("deep/{index:05}{}", "n".repeat(245)))).unwrap();
        }
    }
    let root: usize = image.debugfs("bmap deep 0").trim().parse().unwrap();
    assert_eq!(image.bytes()[root * 1024 + 0x1e], 2, "indirect_levels");
    let fs = image.open();
    let mount = Mount::new(&image, "ro");
    walk::assert_same(options, &walk::of_host(&mount.path), &walk::of_file_system(&*fs));
}
