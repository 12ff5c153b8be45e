//! Versions of living files, and the free space.

use super::*;

fn versions(fs: &dyn FileSystem, node: NodeId) -> Vec<Deleted> {
    let mut versions = Vec::new();
    let each = &mut |version: &Deleted| {
        versions.push(version.clone());
        true
    };
    fs.forensics().unwrap().versions(node, each).unwrap();
    versions
}

#[test]
fn versions_of_a_living_file() {
    let options = "-t ext4 -O extent,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=8";
    let Some(_one) = turn(options) else { return };
    let image = Image::new(options, 64, None);
    {
        let mount = Mount::new(&image, "rw");
        let path = mount.path.join("file");
        fs::write(&path, content(30_000, 1)).unwrap();
        sync();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(mount.path.join("new"), content(50_000, 2)).unwrap();
        sync();
        File::options().write(true).open(&path).unwrap().set_len(10_000).unwrap();
        sync();
    }
    let fs = image.open();
    let node = fs.lookup(fs.root(), b"file").unwrap();
    let versions = versions(&*fs, node);
    let sizes: Vec<u64> = versions.iter().map(|version| fs.stat(version.node).unwrap().size).collect();
    assert!(sizes.contains(&30_000), "{versions:?}");
    let old = &versions[sizes.iter().position(|size| *size == 30_000).unwrap()];
    // The first part is still the file's, and may have been written since; the rest is free.
    assert_eq!(old.state, State::Unproven);
    let (bytes, was) = (read(&*fs, old.node).unwrap(), content(30_000, 1));
    // The kernel has zeroed the rest of the last block that it kept.
    assert!(bytes[..10_000] == was[..10_000] && bytes[12_288..] == was[12_288..]);
    assert!(fs.forensics().unwrap().deleted().unwrap().is_empty());
    let new = fs.lookup(fs.root(), b"new").unwrap();
    assert!(self::versions(&*fs, new).iter().all(|version| version.version < 2));
}

#[test]
fn free_space_is_what_the_bitmaps_say() {
    for options in [
        "-t ext4 -b 1024 -O extent,metadata_csum,uninit_bg,filetype",
        "-t ext4 -C 65536 -O bigalloc,extent,64bit,filetype",
        "-t ext2 -b 4096",
    ] {
        let image = Image::new(options, 64, None);
        let fs = image.open();
        let free = fs.forensics().unwrap().unallocated().unwrap();
        let space = fs.space(fs.root()).unwrap();
        let (mut at, mut data) = (0, 0);
        while at < free.size() {
            let extent = free.extent_at(at).unwrap();
            data += if matches!(extent.data, images::Data::Hole) { 0 } else { extent.len };
            at += extent.len;
        }
        assert_eq!(free.size(), 64 << 20, "{options}");
        assert_eq!(data, space.blocks_free * u64::from(space.block_size), "{options}");
    }
}
