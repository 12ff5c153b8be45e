//! ext against e2fsprogs, without root: trees made by `mke2fs -d`, and answers of debugfs.

#![allow(clippy::unwrap_used)]

mod ext_image;
mod walk;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;

use ext_image::{Image, open, run, scratch};
use filesystems::ext::hash::NameHash;
use filesystems::{FileSystem, Kind, ext};
use images::disk::Memory;

fn populate(root: &Path) {
    for len in [0, 1, 59, 60, 61, 150, 1000, 70_000, 300_000] {
        let bytes: Vec<u8> = (0..len).map(|index| (index * 31 % 251 + 1) as u8).collect();
        fs::write(root.join(format!("file-{len}")), bytes).unwrap();
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    for index in 0..60 {
        sparse.write_all_at(b"data in a sea of zeros", index * 150_001).unwrap();
    }
    // Data at the end, because mke2fs 1.47.0 with inline_data forgets a hole there.
    sparse.write_all_at(b"end", 12_000_000).unwrap();
    fs::hard_link(root.join("file-1000"), root.join("hard-link")).unwrap();
    for len in [1, 59, 60, 61, 159, 900] {
        symlink("t".repeat(len), root.join(format!("link-{len}"))).unwrap();
    }
    fs::write(root.join("n".repeat(255)), "long name").unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    for count in [1, 4, 600] {
        let directory = root.join(format!("with-{count}"));
        fs::create_dir(&directory).unwrap();
        for index in 0..count {
            fs::write(directory.join(format!("entry-{index:05}-{}", "x".repeat(index % 60))), "").unwrap();
        }
    }
    toolbox::run(toolbox::command("mkfifo").arg(root.join("fifo")));
}

/// What `mke2fs -d` copies of a record; without lost+found.
type Copied = BTreeMap<Vec<u8>, (Kind, u16, (u32, u32), u64, u32, i64, Option<Vec<u8>>, Option<String>)>;

fn copied(tree: walk::Tree) -> Copied {
    let keep = |(path, record): (Vec<u8>, walk::Record)| {
        // A directory's size is its own affair, and the root's mode and times are mke2fs's.
        let directory = record.kind == Kind::Directory;
        let size = if directory { 0 } else { record.size };
        let links = if directory { 0 } else { record.links };
        let modified = if directory { 0 } else { record.modified.seconds };
        let parts =
            (record.kind, record.permissions, record.owner, size, links, modified, record.target, record.content);
        (!path.is_empty() && path != b"lost+found").then_some((path, parts))
    };
    tree.into_iter().filter_map(keep).collect()
}

fn check(fs: &dyn FileSystem, source: &Path, options: &str) {
    let (want, have) = (copied(walk::of_host(source)), copied(walk::of_file_system(fs)));
    for (path, record) in &want {
        assert_eq!(have.get(path), Some(record), "{options}: {}", String::from_utf8_lossy(path));
    }
    assert_eq!(want.len(), have.len(), "{options}");
}

/// Rebuilds directories with hash trees and checks everything.
fn index_directories(image: &Image) {
    let fsck = toolbox::command("e2fsck").args(["-fyD"]).arg(&image.path).output().unwrap();
    assert!(fsck.status.code().is_some_and(|code| code <= 1), "{fsck:?}");
}

fn case(options: &str) {
    let source = scratch();
    populate(source.path());
    let image = Image::new(options, 48, Some(source.path()));
    check(&*image.open(), source.path(), options);
    index_directories(&image);
    check(&*image.open(), source.path(), &format!("{options}, indexed"));
}

macro_rules! cases {
    ($($name:ident: $options:expr;)*) => {
        $(#[test] fn $name() { case($options) })*
    };
}

cases! {
    ext2: "-t ext2 -b 4096";
    ext2_1k: "-t ext2 -b 1024";
    ext2_revision_0: "-t ext2 -b 1024 -r 0 -O none";
    ext2_64k: "-t ext2 -b 65536";
    ext3: "-t ext3 -b 2048 -j";
    ext4: "-t ext4 -O extent,64bit,flex_bg,metadata_csum,dir_index,huge_file,has_journal -I 256";
    ext4_1k: "-t ext4 -b 1024 -O extent,metadata_csum,dir_index -I 128";
    ext4_16k: "-t ext4 -b 16384 -O extent,metadata_csum,dir_index,inline_data -I 256";
    ext4_64k: "-t ext4 -b 65536 -O extent,64bit,metadata_csum,dir_index -I 256";
    ext4_gdt_csum: "-t ext4 -O extent,uninit_bg,64bit,dir_index,flex_bg -I 256";
    ext4_bigalloc: "-t ext4 -b 1024 -C 8192 -O extent,bigalloc,metadata_csum,dir_index -I 256";
    ext4_inline_data: "-t ext4 -O extent,inline_data,metadata_csum,dir_index -I 512";
    ext4_meta_bg: "-t ext4 -b 1024 -g 512 -O extent,meta_bg,^resize_inode,metadata_csum,dir_index -I 256";
    ext4_large_dir: "-t ext4 -b 1024 -O extent,large_dir,metadata_csum,metadata_csum_seed,dir_index -I 256";
    ext4_without_filetype: "-t ext4 -b 1024 -O extent,^filetype,dir_index,metadata_csum -I 256";
    ext4_quota_project: "-t ext4 -O extent,quota,project,metadata_csum,verity -I 256";
    ext4_sparse_super2: "-t ext4 -O extent,sparse_super2,mmp,orphan_file,has_journal,metadata_csum -I 256";
    ext4_casefold: "-t ext4 -O extent,casefold,metadata_csum,dir_index -I 256";
}

#[test]
fn name_hashes_are_those_of_debugfs() {
    let image = Image::new("-t ext4 -b 1024", 4, None);
    let seed = "01234567-89ab-cdef-0123-456789abcdef";
    let bytes: Vec<u8> =
        (0..16).map(|index| u8::from_str_radix(&seed.replace('-', "")[index * 2..][..2], 16).unwrap()).collect();
    let words = [0, 4, 8, 12].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    let names = [
        "a",
        "abc",
        "file-name.txt",
        "sixteen-bytes-ab",
        "seventeen-bytes-a",
        "exactly-32-bytes-long-name-here.",
        "größe-Ünïcödé",
    ];
    let long = "long-name-".repeat(25);
    // By number: debugfs takes a name that it does not know for legacy.
    for version in 0..6 {
        for name in names.iter().copied().chain([long.as_str()]) {
            for (option, seed) in [(format!("-s {seed}"), words), (String::new(), [0; 4])] {
                let answer = image.debugfs(&format!("dx_hash -h {version} {option} {name}"));
                let (_, hash) = answer.split_once(" is 0x").unwrap_or_else(|| panic!("{answer}"));
                let digits = hash.split(|digit: char| !digit.is_ascii_hexdigit()).next().unwrap();
                let want = u32::from_str_radix(digits, 16).unwrap();
                let have = NameHash::new(version, 0, seed).unwrap().of(name.as_bytes());
                assert_eq!(have, want, "{version} {option} {name}");
            }
        }
    }
    assert_eq!(NameHash::new(1, 2, words), NameHash::new(4, 0, words), "s_flags says unsigned");
    assert_eq!(NameHash::new(6, 0, words), None, "SipHash needs a key");
}

#[test]
fn the_identity_is_that_of_blkid() {
    for options in [
        "-t ext2 -L label -U 01234567-89ab-cdef-fedc-ba9876543210",
        "-t ext3 -j",
        "-t ext4 -O extent -L sixteen-bytes-ab",
    ] {
        let image = Image::new(options, 4, None);
        let identity = (ext::DRIVER.probe)(&*image.memory()).unwrap().unwrap();
        let tag = |tag: &str| {
            let path = image.path.to_str().unwrap();
            run("blkid", &["-p", "-s", tag, "-o", "value", path]).trim().to_string()
        };
        assert_eq!(identity.kind, tag("TYPE"), "{options}");
        assert_eq!(identity.uuid.unwrap(), tag("UUID"), "{options}");
        let label = identity.label.map(|label| String::from_utf8(label).unwrap());
        assert_eq!(label.unwrap_or_default(), if options.contains("-L") { tag("LABEL") } else { String::new() });
    }
}

#[test]
fn encrypted_directories_are_listed_and_their_content_is_refused() {
    let source = scratch();
    fs::create_dir(source.path().join("secret")).unwrap();
    for name in ["one", "100%", "x%2F"] {
        fs::write(source.path().join("secret").join(name), "ciphertext").unwrap();
    }
    let image = Image::new("-t ext4 -b 1024 -O extent,encrypt,metadata_csum -I 256", 8, Some(source.path()));
    // EXT4_ENCRYPT_FL and EXT4_EXTENTS_FL.
    image.debugfs_write("set_inode_field secret flags 0x80800\nset_inode_field secret/one flags 0x80800\n");
    let fs = image.open();
    let secret = fs.lookup(fs.root(), b"secret").unwrap();
    let names: Vec<_> = walk::entries(&*fs, secret)
        .into_iter()
        .map(|(name, node, _)| (String::from_utf8(name).unwrap(), node))
        .collect();
    let mut sorted: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
    sorted.sort();
    assert_eq!(sorted, ["100%25", "one", "x%252F"]);
    for (name, node) in &names {
        assert_eq!(fs.lookup(secret, name.as_bytes()).unwrap(), *node, "{name}");
    }
    assert!(fs.lookup(secret, b"100%").is_err());
    let one = fs.lookup(secret, b"one").unwrap();
    let error = fs.read_at(one, &mut [0; 4], 0).unwrap_err();
    assert!(matches!(&error, images::Error::Unsupported(why) if why.contains("encrypted")), "{error}");
    assert_eq!(fs.stat(one).unwrap().size, 10);
}

#[test]
fn a_damaged_index_is_not_needed() {
    let source = scratch();
    populate(source.path());
    let image = Image::new("-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256", 48, Some(source.path()));
    index_directories(&image);
    let blocks = image.debugfs("bmap with-600 0");
    let root: usize = blocks.trim().parse().unwrap();
    let mut bytes = image.bytes();
    assert_eq!(bytes[root * 1024 + 0x1d], 8, "info_length of a hash tree's root");
    bytes[root * 1024 + 0x28] ^= 0xff;
    let damaged = open(Arc::new(Memory::new("damaged", bytes))).unwrap();
    check(&*damaged, source.path(), "a damaged index");
}

#[test]
fn ext4_view_reads_the_same() {
    let source = scratch();
    populate(source.path());
    for options in ["-t ext4 -O extent,64bit,metadata_csum,dir_index -I 256", "-t ext2 -b 1024"] {
        let image = Image::new(options, 48, Some(source.path()));
        index_directories(&image);
        let other = ext4_view::Ext4::load(Box::new(image.bytes())).unwrap();
        let tree = walk::of_file_system(&*image.open());
        for (path, record) in &tree {
            let mut full = b"/".to_vec();
            full.extend_from_slice(path);
            let full = ext4_view::Path::new(&full);
            let meta = other.symlink_metadata(full).unwrap();
            assert_eq!(u32::from(meta.mode() & 0o7777), u32::from(record.permissions));
            assert_eq!(meta.len(), record.size);
            match record.kind {
                // ext4-view does not read holes in block maps.
                Kind::File if path == b"sparse" && options.contains("ext2") => {}
                Kind::File => {
                    use sha2::{Digest, Sha256};
                    let hash: String =
                        Sha256::digest(other.read(full).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(Some(hash), record.content, "{}", full.display());
                }
                Kind::Directory => assert_eq!(other.read_dir(full).unwrap().count() - 2, {
                    let prefix = if path.is_empty() { Vec::new() } else { [path.as_slice(), b"/"].concat() };
                    let below = |other: &&Vec<u8>| {
                        !other.is_empty() && other.starts_with(&prefix) && !other[prefix.len()..].contains(&b'/')
                    };
                    tree.keys().filter(below).count()
                }),
                _ => {}
            }
        }
    }
}

#[test]
fn names_of_equal_hash_that_overflow_into_the_next_leaf_are_found() {
    // With a seed that is known, pairs of names with the same hash; no other tree than theirs has so many.
    let seed = "01234567-89ab-cdef-0123-456789abcdef";
    let words = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];
    let function = NameHash::new(1, 0, words).unwrap();
    let mut hashes: Vec<(u32, u32)> =
        (0..1 << 20).map(|index: u32| (function.of(format!("{index:024}").as_bytes()), index)).collect();
    hashes.sort_unstable();
    let source = scratch();
    let directory = source.path().join("pairs");
    fs::create_dir(&directory).unwrap();
    let pairs: Vec<_> = hashes.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    assert!(pairs.len() > 100, "{}", pairs.len());
    // With some other names between them, or leaves of an even number of entries would never part a pair.
    for index in pairs.iter().copied().flatten().map(|(_, index)| *index).chain(0..101) {
        fs::write(directory.join(format!("{index:024}")), "").unwrap();
    }
    let options = format!("-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256 -E hash_seed={seed}");
    let image = Image::new(&options, 16, Some(source.path()));
    index_directories(&image);
    let dump = image.debugfs("htree_dump pairs");
    assert!(dump.contains("Hash 0x") && dump.contains("Number of entries"), "{dump}");
    // The lowest bit of a hash in the index says that the leaf before ends with the same hash.
    let root: usize = image.debugfs("bmap pairs 0").trim().parse().unwrap();
    let bytes = image.bytes();
    let count = usize::from(u16::from_le_bytes([bytes[root * 1024 + 34], bytes[root * 1024 + 35]]));
    let overflows = (1..count).filter(|entry| bytes[root * 1024 + 32 + entry * 8] & 1 == 1).count();
    assert!(overflows > 0, "{dump}");
    check(&*image.open(), source.path(), &options);
}

#[test]
fn many_threads_read_one_file_system() {
    let source = scratch();
    populate(source.path());
    let image = Image::new("-t ext4 -O extent,metadata_csum -I 256", 48, Some(source.path()));
    let fs = image.open();
    let want = walk::of_file_system(&*fs);
    let fs = image.open();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(walk::of_file_system(&*fs), want));
        }
    });
}

#[test]
fn an_external_journal_is_known_and_refused_by_name() {
    let image = Image::new("-O journal_dev -b 1024", 8, None);
    assert_eq!((ext::DRIVER.probe)(&*image.memory()).unwrap().unwrap().kind, "jbd");
    let error = open(image.memory()).err().expect("refused");
    assert!(matches!(&error, images::Error::Unsupported(why) if why.contains("external journal")), "{error}");
}

#[test]
fn names_are_found_in_another_case_by_the_hash_tree() {
    let source = scratch();
    fs::create_dir(source.path().join("folded")).unwrap();
    for index in 0..400 {
        fs::write(source.path().join(format!("folded/Größe-{index:04}-Name")), "").unwrap();
    }
    let image =
        Image::new("-t ext4 -b 1024 -O extent,casefold,dir_index,metadata_csum -I 256", 16, Some(source.path()));
    // EXT4_CASEFOLD_FL and EXT4_EXTENTS_FL.
    image.debugfs_write("set_inode_field folded flags 0x40080000\n");
    index_directories(&image);
    assert!(image.debugfs("stat folded").contains("Flags: 0x40081000"), "indexed");
    let fs = image.open();
    let folded = fs.lookup(fs.root(), b"folded").unwrap();
    for index in 0..400 {
        let own = fs.lookup(folded, format!("Größe-{index:04}-Name").as_bytes()).unwrap();
        assert_eq!(fs.lookup(folded, format!("GRÖSSE-{index:04}-nAME").as_bytes()).unwrap(), own);
    }
    assert!(fs.lookup(folded, "größe-0400-name".as_bytes()).is_err());
    assert!(fs.lookup(fs.root(), b"FOLDED").is_err(), "the root is not folded");
    assert!(fs.properties(fs.root()).case_insensitive);
}
