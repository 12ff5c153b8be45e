//! Large directories: linear ones, hash trees that split and grow, long names, names of the same hash.

use filesystems::{NewContent, Rename};
use images::Error;

use crate::walk;
use crate::written::{FEATURES, Written, ext4};

/// Makes so many files, checks them, and removes all but every third, then these too.
fn fill_and_empty(case: &str, options: &str, megabytes: u64, count: usize, name: impl Fn(usize) -> String) {
    let written = Written::new(options, megabytes);
    let root = written.fs.root();
    let dir = written.directory(root, "dir");
    let node = written.file(dir, name(0));
    for index in 1..count {
        // Links to a few inodes, so that there are enough.
        let of = if index % 30_000 == 1 { written.file(dir, name(index)) } else { node };
        if of == node {
            match written.writer().link(node, dir, name(index).as_bytes()) {
                Err(Error::TooManyLinks) => drop(written.file(dir, name(index))),
                answer => answer.unwrap_or_else(|error| panic!("{case}: {index}: {error}")),
            }
        }
    }
    assert!(matches!(written.make(dir, name(count / 2), NewContent::File), Err(Error::Exists)));
    assert_eq!(walk::entries(&*written.fs, dir).len(), count);
    let image = written.close(&format!("{case}, full"));

    let written = Written::of(image);
    let dir = written.lookup(root, "dir").unwrap();
    for index in (0..count).filter(|index| index % 3 != 0) {
        written.remove(dir, name(index)).unwrap_or_else(|error| panic!("{case}: {index}: {error}"));
    }
    let image = written.close(&format!("{case}, thinned out"));

    let written = Written::of(image);
    let dir = written.lookup(root, "dir").unwrap();
    for index in (0..count).step_by(6) {
        written.rename((dir, &name(index)), (dir, &format!("new {index}")), Rename::Replace).unwrap();
    }
    for index in (0..count).step_by(3) {
        let name = if index % 6 == 0 { format!("new {index}") } else { name(index) };
        written.remove(dir, name).unwrap_or_else(|error| panic!("{case}: {index}: {error}"));
    }
    written.writer().remove_dir(root, b"dir").unwrap();
    written.close(&format!("{case}, emptied"));
}

#[test]
fn directories_of_some_thousand_names_on_every_feature_set() {
    for (case, options) in FEATURES.iter().filter(|(_, o)| o.contains("extent")) {
        fill_and_empty(case, options, if options.contains("65536") { 32 } else { 16 }, 2_500, |index| {
            format!("a name of some length {index}")
        });
    }
}

#[test]
fn long_names() {
    for (case, options) in
        FEATURES.iter().filter(|(case, o)| o.contains("extent") && *case != "ext4 without hash trees")
    {
        let name = |index: usize| format!("{index:0>width$}", width = [255, 254, 200, 120][index % 4]);
        fill_and_empty(case, options, if options.contains("65536") { 32 } else { 16 }, 1_500, name);
    }
}

#[test]
fn very_many_names() {
    let name = |index| format!("{index:07} and something more");
    // Links take no inodes; the long run has as many as one directory of a mail server.
    let count = if std::env::var_os("IMGMOUNT_SEQUENCES").is_some() { 100_000 } else { 20_000 };
    fill_and_empty("ext4", ext4!(" -b 4096 -N 40000"), 128, count, name);
}

/// So many long names in so small blocks that the root of the hash tree has two levels of nodes below it.
#[test]
fn a_hash_tree_of_three_levels() {
    let written = Written::new(ext4!(",large_dir -b 1024 -N 2000"), 64);
    let dir = written.directory(written.fs.root(), "dir");
    let node = written.file(dir, "first");
    let name = |index| format!("{index:0>250}");
    (0..40_000).for_each(|index| written.writer().link(node, dir, name(index).as_bytes()).unwrap());
    (0..40_000).step_by(3).for_each(|index| written.remove(dir, name(index)).unwrap());
    (0..40_000).step_by(6).for_each(|index| written.writer().link(node, dir, name(index).as_bytes()).unwrap());
    written.close("deep");
}

#[test]
fn a_hash_tree_of_two_levels_may_be_full() {
    let written = Written::new(ext4!(" -b 1024 -N 2000"), 64);
    let dir = written.directory(written.fs.root(), "dir");
    let node = written.file(dir, "first");
    let name = |index| format!("{index:0>250}");
    let link = |index| written.writer().link(node, dir, name(index).as_bytes());
    let full = (0..40_000).find(|index| link(*index).is_err()).unwrap();
    assert!(full > 20_000 && matches!(link(full), Err(Error::NoSpace)), "{full}");
    assert!(written.fs.space(dir).unwrap().blocks_free > 1000, "it is the tree that is full");
    written.remove(dir, name(7)).unwrap();
    written.close("full");
}

/// Names that the hash `tea` does not tell apart: of every sixteen bytes, the upper bits of the first and the fifth are
/// both set or not, which leaves TEA's key as good as the same.
fn colliding(count: usize, len: usize) -> Vec<Vec<u8>> {
    let name = |index: usize| {
        let mut name = vec![b'n'; len];
        for (bit, block) in name.chunks_exact_mut(16).enumerate() {
            if index >> bit & 1 == 1 {
                block[0] |= 0x80;
                block[4] |= 0x80;
            }
        }
        name
    };
    (0..count).map(name).collect()
}

#[test]
fn names_of_the_same_hash() {
    for (case, options) in [("with checksums", ext4!(" -b 1024")), ("without", "-b 1024 -O none,filetype,dir_index")] {
        let image = crate::ext_image::Image::new(options, 16, None);
        image.debugfs_write("set_super_value def_hash_version tea\n");
        let written = Written::of(image);
        let root = written.fs.root();
        let names = colliding(200, 176);
        for (index, name) in names.iter().enumerate() {
            written.file(root, name);
            written.file(root, format!("another {index}"));
        }
        for name in &names {
            assert!(matches!(written.make(root, name, NewContent::File), Err(Error::Exists)));
        }
        let image = written.close(case);
        let written = Written::of(image);
        for name in names.iter().step_by(2) {
            written.remove(root, name).unwrap();
        }
        for name in names.iter().step_by(2) {
            assert!(matches!(written.lookup(root, name), Err(Error::NotFound)));
            written.file(root, name);
        }
        written.close(case);
    }
}
