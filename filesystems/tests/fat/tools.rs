//! Volumes that mkfs.fat and mtools make, read by us, by mtools and by blkid.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filesystems::{Kind, Time, identify, read_file, resolve};
use images::disk::HostFile;
use images::{Disk, Error};

use super::{noise, open, walk_all};

/// Runs a tool in UTC.
pub fn run(program: &str, args: &[&str]) -> String {
    toolbox::run(toolbox::command(program).args(args).env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1"))
}

pub fn disk(path: &Path) -> Arc<dyn Disk> {
    Arc::new(HostFile::new(path, File::open(path).unwrap()).unwrap())
}

/// A volume of so many KiB, formatted.
pub fn format(dir: &Path, name: &str, kilobytes: u64, args: &[&str]) -> PathBuf {
    let path = dir.join(name);
    File::create(&path).unwrap().set_len(kilobytes << 10).unwrap();
    run("mkfs.fat", &[args, &[path.to_str().unwrap()]].concat());
    path
}

/// Every kind of volume: type, sector size, sectors a cluster, size in KiB.
const VOLUMES: [(&str, &str, &str, u64); 13] = [
    ("12", "512", "1", 1440),
    ("12", "512", "8", 8 << 10),
    ("12", "4096", "1", 8 << 10),
    ("12", "512", "64", 64 << 10),
    ("16", "512", "1", 8 << 10),
    ("16", "512", "4", 32 << 10),
    ("16", "1024", "2", 32 << 10),
    ("16", "2048", "16", 256 << 10),
    ("16", "4096", "1", 64 << 10),
    ("32", "512", "1", 40 << 10),
    ("32", "512", "8", 300 << 10),
    ("32", "4096", "1", 300 << 10),
    ("32", "512", "64", 2200 << 10),
];

/// A tree with names of all kinds, and with files and directories that end before, at and after a cluster's end.
fn make_tree(root: &Path) {
    let write = |name: &str, content: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("README.TXT", b"upper");
    write("lower.txt", b"both parts in lower case");
    write("MIXED.txt", b"extension in lower case");
    write("mixed.TXT", b"");
    fs::remove_file(root.join("mixed.TXT")).unwrap();
    write("base.TXT", b"base in lower case");
    write("CamelCase.Txt", b"a long name");
    write("a long name with spaces.text", b"long");
    write("two.dots.in.it", b"dots");
    write(".hidden", b"hidden");
    write("exactly13char", b"13");
    write("exactly 26 characters long", b"26");
    write(&"x".repeat(255), b"255");
    write("Grüße aus Köln.txt", b"umlauts");
    write("日本語のファイル.txt", b"japanese");
    write("empty", b"");
    write("deep/er/and/deeper/file", b"deep");
    fs::create_dir(root.join("empty directory")).unwrap();
    for len in [1, 511, 512, 513, 4095, 4096, 4097, 32768, 32769, 100_000] {
        write(&format!("sizes/{len}"), &noise(len as u64, len));
    }
    for number in 0..120 {
        write(&format!("many/file number {number} of many.txt"), format!("{number}").as_bytes());
    }
    for (name, time) in [("README.TXT", "2001-02-03 04:05:06"), ("sizes/1", "2099-12-31 23:59:58")] {
        run("touch", &["-d", time, root.join(name).to_str().unwrap()]);
    }
}

/// The paths below a directory of the host, and the content of the files.
fn host_tree(root: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let (mut all, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = directories.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("/{}", path.strip_prefix(root).unwrap().display());
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            all.push((name, content));
            if path.is_dir() {
                directories.push(path);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn every_kind_of_volume() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    make_tree(&tree);
    let want = host_tree(&tree);
    for (kind, sector, cluster, kilobytes) in VOLUMES {
        let what = format!("FAT{kind}, {sector} bytes a sector, {cluster} sectors a cluster");
        let image =
            format(dir.path(), "image", kilobytes, &["-F", kind, "-S", sector, "-s", cluster, "-n", "MY LABEL"]);
        let image_text = image.to_str().unwrap();
        let mut args = vec!["-i", image_text, "-s", "-p", "-m"];
        let top: Vec<String> =
            fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().path().display().to_string()).collect();
        args.extend(top.iter().map(String::as_str));
        run("mcopy", &[&args[..], &["::"]].concat());

        let fs = open(disk(&image)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let seen = walk_all(fs.as_ref());
        let paths: Vec<_> = seen.keys().cloned().collect();
        assert_eq!(paths, want.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), "{what}");
        for (path, content) in &want {
            let seen = &seen[path];
            match content {
                Some(content) => assert!(seen.content.as_ref().unwrap() == content, "{what}: {path}"),
                None => assert_eq!(seen.stat.kind, Kind::Directory, "{what}: {path}"),
            }
            assert_eq!(resolve(fs.as_ref(), path.as_bytes(), false).unwrap(), seen.node);
            assert_eq!(resolve(fs.as_ref(), path.to_uppercase().as_bytes(), false).is_ok(), !path.contains('ß'));
            assert_eq!(seen.stat.links, 2 * u32::from(content.is_none()) + seen_links(path, content.is_some()));
        }
        assert_eq!(seen["/README.TXT"].stat.modified, Time { seconds: 981_173_106, nanoseconds: 0 });
        assert_eq!(seen["/sizes/1"].stat.modified, Time { seconds: 4_102_444_798, nanoseconds: 0 });

        // mtools counts what is free by the FAT; mkfs.fat and mcopy keep FSInfo up to date.
        let (properties, space) = (fs.properties(fs.root()), fs.space(fs.root()).unwrap());
        let listing = run("mdir", &["-i", image_text, "::"]);
        let digits: String = listing
            .lines()
            .rev()
            .find(|line| line.contains("bytes free"))
            .unwrap()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        assert_eq!(digits, (space.blocks_free * u64::from(space.block_size)).to_string(), "{what}");
        assert!(properties.notes.is_empty(), "{:?}", properties.notes);

        let (_, identity) = identify(&disk(&image)).unwrap().unwrap();
        let blkid = run("blkid", &["-p", "-o", "export", image_text]);
        let value = |key| blkid.lines().find_map(|line: &str| line.strip_prefix(key)).map(|v| v.replace('\\', ""));
        assert_eq!(value("TYPE="), Some(identity.kind), "{what}");
        assert_eq!(value("UUID="), identity.uuid, "{what}");
        assert_eq!(value("LABEL=").map(String::into_bytes), identity.label, "{what}");
        assert_eq!(properties.identity.label.as_deref(), Some(&b"MY LABEL"[..]));
    }
}

/// Links beyond a directory's own two: its subdirectories.
fn seen_links(path: &str, is_file: bool) -> u32 {
    u32::from(is_file || matches!(path, "/deep" | "/deep/er" | "/deep/er/and"))
}

#[test]
fn short_names_and_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let image = format(dir.path(), "image", 32 << 10, &["-F", "16", "-s", "4"]);
    let image_text = image.to_str().unwrap();
    let source = dir.path().join("source");
    fs::write(&source, "content").unwrap();
    let put = |name: &str| run("mcopy", &["-i", image_text, source.to_str().unwrap(), &format!("::{name}")]);
    put("A long name.text");
    put("readonly.txt");
    put("HIDDEN.SYS");
    run("mattrib", &["-i", image_text, "+r", "::readonly.txt"]);
    run("mattrib", &["-i", image_text, "+h", "+s", "::HIDDEN.SYS"]);
    put("gone");
    run("mdel", &["-i", image_text, "::gone"]);
    let fs = open(disk(&image)).unwrap();
    let find = |name: &str| fs.lookup(fs.root(), name.as_bytes());
    let node = find("A long name.text").unwrap();
    for name in ["ALONGN~1.TEX", "alongn~1.tex", "a LONG name.TEXT", "A long name.text.", "A long name.text..."] {
        assert_eq!(find(name).unwrap(), node, "{name}");
    }
    for name in ["gone", "A long name", "A long name.text ", "", ".", "..", "...", "ALONGN~2.TEX"] {
        assert!(matches!(find(name), Err(Error::NotFound)), "{name}");
    }
    assert!(matches!(fs.lookup(fs.root(), b"\xff\xfe"), Err(Error::NotFound)));
    assert!(matches!(fs.lookup(node, b"x"), Err(Error::NotDirectory)));
    assert!(matches!(fs.read_dir(node, 0, &mut |_| true), Err(Error::NotDirectory)));
    assert!(matches!(fs.read_link(node), Err(Error::Invalid)));
    assert!(matches!(fs.read_at(fs.root(), &mut [0], 0), Err(Error::IsDirectory)));
    assert_eq!(fs.stat(find("readonly.txt").unwrap()).unwrap().permissions, 0o555);
    assert_eq!(fs.stat(find("hidden.sys").unwrap()).unwrap().permissions, 0o755);
    assert_eq!(fs.stat(node).unwrap().blocks, 4);
    assert!(fs.stat(node).unwrap().created.is_some());
    assert_eq!(
        walk_all(fs.as_ref()).keys().map(String::as_str).collect::<Vec<_>>(),
        ["/A long name.text", "/HIDDEN.SYS", "/readonly.txt"]
    );
}

#[test]
fn labels_of_all_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let label = |image: &Path| identify(&disk(image)).unwrap().unwrap().1.label;
    for (kind, cluster) in [("12", "64"), ("16", "4"), ("32", "1")] {
        let image = format(dir.path(), "none", 40 << 10, &["-F", kind, "-s", cluster]);
        assert_eq!(label(&image), None);
        run("mlabel", &["-i", image.to_str().unwrap(), "::NEW ONE"]);
        assert_eq!(label(&image).as_deref(), Some(&b"NEW ONE"[..]), "in the root directory");
        assert_eq!(walk_all(open(disk(&image)).unwrap().as_ref()).len(), 0, "a label is no file");
    }
}

#[test]
fn reading_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let image = format(dir.path(), "image", 8192, &["-F", "12"]);
    let tree = dir.path().join("d");
    fs::create_dir(&tree).unwrap();
    for number in 0..300 {
        fs::write(tree.join(format!("a name of {number} parts {}", "p".repeat(number % 200))), "").unwrap();
    }
    run("mcopy", &["-s", "-i", image.to_str().unwrap(), tree.to_str().unwrap(), "::"]);
    let fs = open(disk(&image)).unwrap();
    let dir = fs.lookup(fs.root(), b"D").unwrap();
    let (mut from, mut one_by_one, mut at_once) = (0, Vec::new(), Vec::new());
    loop {
        let mut more = false;
        fs.read_dir(dir, from, &mut |entry| {
            assert!(entry.next > from);
            (from, more) = (entry.next, true);
            one_by_one.push((entry.name.to_vec(), entry.node));
            false
        })
        .unwrap();
        if !more {
            break;
        }
    }
    fs.read_dir(dir, 0, &mut |entry| {
        at_once.push((entry.name.to_vec(), entry.node));
        true
    })
    .unwrap();
    assert_eq!(at_once.len(), 300);
    assert_eq!(one_by_one, at_once);
    assert!(fs.read_dir(dir, u64::MAX, &mut |_| panic!("nothing is there")).is_ok());
}

#[test]
fn a_volume_with_one_fat_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let image = format(dir.path(), "image", 40 << 10, &["-F", "32", "-s", "1", "-f", "2"]);
    let source = dir.path().join("source");
    let content = noise(3, 5000);
    fs::write(&source, &content).unwrap();
    run("mcopy", &["-i", image.to_str().unwrap(), source.to_str().unwrap(), "::file"]);
    let mut bytes = fs::read(&image).unwrap();
    let fat_size = u32::from_le_bytes(bytes[36..40].try_into().unwrap()) as usize * 512;
    let fat = usize::from(bytes[14]) * 512;
    // The first FAT is destroyed, and the boot sector says that only the second one counts.
    bytes[fat..fat + fat_size].fill(0);
    let read = |bytes: &[u8]| {
        let fs = open(Arc::new(images::disk::Memory::new("m", bytes.to_vec()))).unwrap();
        read_file(fs.as_ref(), fs.lookup(fs.root(), b"file")?, 1 << 20)
    };
    assert!(matches!(read(&bytes), Err(Error::Corrupt { .. })));
    bytes[40] = 0x81;
    assert_eq!(read(&bytes).unwrap(), content);
    bytes[40] = 0x82;
    assert!(identify(&(Arc::new(images::disk::Memory::new("m", bytes)) as Arc<dyn Disk>)).unwrap().is_none());
}

#[test]
fn what_the_boot_sector_and_fsinfo_say() {
    let dir = tempfile::tempdir().unwrap();
    let image = format(dir.path(), "image", 40 << 10, &["-F", "32", "-s", "1", "-n", "OLD"]);
    let source = dir.path().join("source");
    fs::write(&source, noise(3, 5000)).unwrap();
    run("mcopy", &["-i", image.to_str().unwrap(), source.to_str().unwrap(), "::file"]);
    let sound = fs::read(&image).unwrap();
    let patched = |patches: &[(usize, &[u8])]| {
        let mut bytes = sound.clone();
        for (at, patch) in patches {
            bytes[*at..][..patch.len()].copy_from_slice(patch);
        }
        open(Arc::new(images::disk::Memory::new("m", bytes))).unwrap()
    };
    let free = |patches: &[(usize, &[u8])]| {
        let fs = patched(patches);
        fs.space(fs.root()).unwrap().blocks_free
    };
    let properties = |patches: &[(usize, &[u8])]| {
        let fs = patched(patches);
        fs.properties(fs.root()).clone()
    };
    let label = |patches: &[(usize, &[u8])]| properties(patches).identity.label;
    let counted = free(&[]);
    let hint = |value: u32| free(&[(512 + 488, &value.to_le_bytes())]);
    assert_eq!(hint(77), 77, "the hint counts");
    assert_eq!(hint(u32::MAX), counted, "unknown: counted");
    assert_eq!(hint(100_000_000), counted, "impossible: counted");
    assert_eq!(free(&[(512 + 488, &[77, 0, 0, 0]), (512, b"xxxx")]), counted, "no FSInfo: counted");
    assert!(properties(&[]).notes.is_empty());
    assert_eq!(properties(&[(65, &[1])]).notes, ["m was not unmounted cleanly"]);
    let root = sound.windows(11).rposition(|name| name == b"OLD        ").unwrap();
    assert_eq!(label(&[(71, b"BOOT")]).as_deref(), Some(&b"OLD"[..]), "the root directory's counts");
    assert_eq!(label(&[(root, &[0xe5]), (71, b"BOOT")]).as_deref(), Some(&b"BOOT"[..]));
    assert_eq!(label(&[(root, b"NO NAME    "), (71, b"BOOT")]).as_deref(), Some(&b"BOOT"[..]));
    assert_eq!(label(&[(root, &[0xe5]), (71, b"NO NAME    ")]), None);
    assert_eq!(label(&[(66, &[0x28]), (root, &[0xe5])]), None, "only a serial number follows");
    assert_eq!(properties(&[(66, &[0])]).identity.uuid, None);
}
