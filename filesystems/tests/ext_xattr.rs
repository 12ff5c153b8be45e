//! Extended attributes against the kernel's: getfattr on a loop mount of the same image. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod kernel;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kernel::*;

fn set(path: &Path, name: &str, value: &str) {
    toolbox::run(toolbox::command("setfattr").args(["-h", "-n", name, "-v", value]).arg(path));
}

fn acl(path: &Path, entries: &str) {
    toolbox::run(toolbox::command("setfacl").args(["-m", entries]).arg(path));
}

/// All kinds of attributes, in the inode, in a block, and in both.
fn attributes(root: &Path) {
    for (i, name) in ["plain", "file", "other", "fourth"].iter().enumerate() {
        fs::write(root.join(name), name).unwrap();
        set(&root.join(name), "user.small", "x");
        set(&root.join(name), "user.binary", "0x000102fffe");
        set(&root.join(name), "trusted.of-root", &"t".repeat(i * 100));
        set(&root.join(name), "security.selinux", "system_u:object_r:etc_t:s0");
        // The same large attributes on several files share a block.
        set(&root.join(name), "user.large", &"large".repeat(100));
    }
    set(&root.join("plain"), "user.empty", "");
    acl(&root.join("plain"), "u:1000:rwx,u:70000:r,g:12:rx,m:rx");
    acl(&root.join("file"), "u:0:-,g:4000000000:w");
    let dir = root.join("dir");
    fs::create_dir(&dir).unwrap();
    acl(&dir, "u:5:rwx");
    acl(&dir, "d:u:1:r,d:g:2:w,d:o::-");
    fs::write(dir.join("inherits"), "").unwrap();
    std::os::unix::fs::symlink("target", root.join("link")).unwrap();
    set(&root.join("link"), "trusted.of-a-link", "yes");
    set(&root.join("link"), "security.x", "y");
    for i in 0..8 {
        set(&dir, &format!("user.number{i}"), &i.to_string().repeat(20));
    }
    fs::write(root.join("long name"), "").unwrap();
    set(&root.join("long name"), &format!("user.{}", "n".repeat(250)), "long name");
    toolbox::run(toolbox::command("setfattr").args(["-x", "user.small"]).arg(root.join("other")));
}

/// What the file system says that its nodes may have is what they have.
fn assert_names(image: &Image) {
    let fs = filesystems::ext::mount(std::sync::Arc::new(host_file(&image.path())), &Default::default()).unwrap();
    let tree = image.our_tree();
    let seen = |name: &str| tree.values().any(|record| record.xattrs.contains_key(name.as_bytes()));
    let names = ["security.selinux", "security.capability", "system.posix_acl_access", "system.posix_acl_default"];
    for name in names.into_iter().chain(["user.small", "user.absent", "trusted.of-a-link", "system.data"]) {
        let may = filesystems::FileSystem::may_have_xattr(&fs, name.as_bytes());
        assert_eq!(may, seen(name), "{}: {name}", image.name);
    }
}

#[test]
fn a_tree_without_attributes_says_so() {
    for features in ["none", "^metadata_csum,^uninit_bg", "^extent,^64bit"] {
        let features: &[&str] = if features == "none" { &["-t", "ext4"] } else { &["-t", "ext4", "-O", features] };
        assert_names(&Image::clean("without", 16, features, "acl,user_xattr", |root| {
            fs::create_dir(root.join("dir")).unwrap();
            (0..500).for_each(|n| fs::write(root.join(format!("dir/{n}")), "x").unwrap());
        }));
    }
    // One file among many is enough.
    assert_names(&Image::clean("one", 16, &["-t", "ext4"], "acl,user_xattr", |root| {
        (0..500).for_each(|n| fs::write(root.join(n.to_string()), "x").unwrap());
        acl(&root.join("499"), "u:5:r");
    }));
}

fn compare(image: &Image) {
    assert_names(image);
    let ours = image.our_tree();
    walk::assert_same(&image.name, &image.kernel_tree(), &ours);
    let value = |name: &str| ours.values().find_map(|record| record.xattrs.get(name.as_bytes()));
    assert_eq!(value("user.binary").unwrap(), &[0, 1, 2, 0xff, 0xfe]);
    assert!(value("system.posix_acl_default").unwrap().starts_with(&[2]));
    assert!(value("trusted.of-a-link").is_some() && value("security.selinux").is_some());
}

#[test]
fn ext4_in_inodes_and_blocks() {
    compare(&Image::clean("ext4", 16, &["-t", "ext4"], "acl,user_xattr", attributes));
}

#[test]
fn large_blocks_and_inodes() {
    compare(&Image::clean("512", 16, &["-t", "ext4", "-b", "4096", "-I", "1024"], "acl,user_xattr", attributes));
}

#[test]
fn small_inodes_have_blocks_only() {
    compare(&Image::clean("ext2", 16, &["-t", "ext2", "-I", "128"], "acl,user_xattr", attributes));
    compare(&Image::clean("ext3", 16, &["-t", "ext3", "-I", "128"], "acl,user_xattr", attributes));
}

#[test]
fn inline_data_is_hidden() {
    compare(&Image::clean("inline", 16, &["-t", "ext4", "-O", "inline_data"], "acl,user_xattr", |root| {
        attributes(root);
        fs::write(root.join("short"), "a".repeat(100)).unwrap();
        set(&root.join("short"), "user.x", "y");
    }));
}

/// Values larger than a block, some of them equal: they share an inode.
fn large_values(root: &Path) {
    attributes(root);
    for name in ["one", "two"] {
        let path = root.join(name);
        fs::write(&path, "").unwrap();
        set(&path, "user.shared", &"s".repeat(10_000));
        set(&path, "user.largest", &name.repeat(20_000));
        set(&path, "user.number", name);
    }
}

#[test]
fn values_in_inodes() {
    for features in ["ea_inode", "ea_inode,^metadata_csum", "ea_inode,metadata_csum_seed"] {
        let image = Image::clean(features, 16, &["-t", "ext4", "-O", features], "acl,user_xattr", large_values);
        compare(&image);
        let (tree, shared) = (image.our_tree(), vec![b's'; 10_000]);
        assert!(tree.values().any(|record| record.xattrs.values().any(|value| *value == shared)), "{features}");
    }
}

/// A flipped bit in an attribute block is found by its checksum; in a value of its own, by its hash.
#[test]
fn damage_is_found() {
    let image = Image::clean("damage", 16, &["-t", "ext4", "-b", "4096", "-O", "ea_inode"], "user_xattr", large_values);
    let bytes = fs::read(image.path()).unwrap();
    // The journal has copies of both.
    let value = |block: &[u8]| block.starts_with(&[b's'; 1000]);
    let attributes = |block: &[u8]| block.starts_with(&0xea02_0000u32.to_le_bytes());
    let cases: [(&dyn Fn(&[u8]) -> bool, usize, &str); 2] =
        [(&value, 100, "does not match its hash"), (&attributes, 4000, "checksum")];
    for (is_it, inside, want) in cases {
        let damaged = image.copy();
        let file = fs::OpenOptions::new().write(true).open(damaged.path()).unwrap();
        for at in (0..bytes.len()).step_by(4096).filter(|at| is_it(&bytes[*at..])) {
            file.write_all_at(&[bytes[at + inside] ^ 1], (at + inside) as u64).unwrap();
        }
        let fs = filesystems::ext::mount(std::sync::Arc::new(host_file(&damaged.path())), &Default::default()).unwrap();
        let errors: Vec<String> = all_nodes(&fs)
            .iter()
            .filter_map(|node| filesystems::FileSystem::xattrs(&fs, *node).err().map(|error| error.to_string()))
            .collect();
        assert!(errors.iter().any(|error| error.contains(want)), "{want}: {errors:?}");
    }
}

/// Random changes of attribute areas: an error or other attributes, never a panic or a hang.
#[test]
fn random_damage_is_survived() {
    let features = ["-t", "ext4", "-b", "1024", "-O", "ea_inode,^metadata_csum"];
    let image = Image::clean("fuzz", 8, &features, "acl,user_xattr", large_values);
    let bytes = fs::read(image.path()).unwrap();
    let areas: Vec<usize> =
        (0..bytes.len() - 4).step_by(4).filter(|at| bytes[*at..].starts_with(&0xea02_0000u32.to_le_bytes())).collect();
    assert!(areas.len() > 10);
    let mut random = Random(1);
    let mut random = |below: usize| random.below(below);
    let (mut errors, mut lists) = (0, 0);
    for _ in 0..300 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random(6) {
            let at = areas[random(areas.len())] + random(140);
            bytes[at] = if random(3) == 0 { [0, 1, 0x7f, 0x80, 0xff][random(5)] } else { bytes[at] ^ 1 << random(8) };
        }
        let disk = std::sync::Arc::new(images::disk::Memory::new("fuzz", bytes));
        let Ok(fs) = filesystems::ext::mount(disk, &Default::default()) else { continue };
        for node in all_nodes(&fs) {
            match filesystems::FileSystem::xattrs(&fs, node) {
                Ok(_) => lists += 1,
                Err(_) => errors += 1,
            }
        }
    }
    println!("{lists} lists, {errors} errors");
    assert!(errors > 10 && lists > 100);
}

fn all_nodes(fs: &dyn filesystems::FileSystem) -> Vec<filesystems::NodeId> {
    let mut nodes = vec![fs.root()];
    let mut next = 0;
    while let Some(node) = nodes.get(next).copied().filter(|_| next < 1000) {
        next += 1;
        let _ = fs.read_dir(node, 0, &mut |entry| {
            nodes.push(entry.node);
            true
        });
    }
    nodes
}
