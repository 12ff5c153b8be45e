//! What an operation may allocate: a front asks for names that are not there by the million.

#![allow(clippy::unwrap_used)]

mod ext_image;

use allocation_counter::measure;
use ext_image::{Image, scratch};
use filesystems::FileSystem;
use filesystems::view::Mounts;
use images::Error;

/// Asks as the FUSE front does, for a name that is not there and whether that may be remembered.
fn absent(fs: &dyn FileSystem, path: &str) -> u64 {
    let dir = filesystems::resolve(fs, path.as_bytes(), true).unwrap();
    let ask = || {
        assert!(matches!(fs.lookup(dir, b"no such name"), Err(Error::NotFound)));
        assert!(!fs.properties(dir).case_insensitive);
    };
    // What is read then is kept.
    ask();
    measure(|| (0..100).for_each(|_| ask())).count_total
}

#[test]
fn a_name_that_is_not_there_costs_no_allocation() {
    let tree = scratch();
    std::fs::create_dir(tree.path().join("few")).unwrap();
    std::fs::create_dir(tree.path().join("many")).unwrap();
    for index in 0..3000 {
        std::fs::write(tree.path().join(format!("many/file-{index:06}")), "").unwrap();
    }
    for options in
        ["-t ext4 -O extent,metadata_csum,dir_index", "-t ext2 -O ^dir_index", "-t ext4 -O extent,inline_data -I 1024"]
    {
        let image = Image::new(&format!("{options} -N 8192"), 64, Some(tree.path()));
        // It also builds the hash trees that mke2fs leaves out. 1: it changed something.
        let fsck = toolbox::command("e2fsck").args(["-fyD"]).arg(&image.path).output().unwrap();
        assert!(matches!(fsck.status.code(), Some(0 | 1)), "{fsck:?}");
        let fs = image.open();
        let mut mounts = Mounts::new(fs.clone());
        mounts.mount(b"few", fs.clone()).unwrap();
        for path in ["/", "/few", "/many"] {
            assert_eq!(absent(&*fs, path), 0, "{options} {path}");
            assert_eq!(absent(&mounts, path), 0, "{options} {path}, mounted");
        }
    }
}
