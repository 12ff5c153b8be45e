//! What we write, read by mtools and by the fatfs crate.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use filesystems::{FileSystem, FileSystemMut, NewContent, NodeId, Rename};

use super::checked::{assert_clean, bytes, file, memory, run};
use super::{new, open_to_write, volume};

/// A tree with names and sizes of all kinds: paths, and the content of files.
fn make(fs: &dyn FileSystem, writer: &dyn FileSystemMut) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let dir = |parent: NodeId, name: &str| writer.create(parent, name.as_bytes(), &new(NewContent::Directory)).unwrap();
    let (deep, many) = (dir(fs.root(), "a directory"), dir(fs.root(), "MANY"));
    let deeper = dir(deep, "deeper");
    for name in ["a directory", "MANY", "a directory/deeper"] {
        all.insert(name.to_owned(), None);
    }
    let mut put = |parent: NodeId, path: &str, name: &str, content: Vec<u8>| {
        let node = writer.create(parent, name.as_bytes(), &new(NewContent::File)).unwrap();
        for (at, part) in (0..).step_by(5000).zip(content.chunks(5000)) {
            writer.write_at(node, part, at).unwrap();
        }
        all.insert(format!("{path}{name}"), Some(content));
    };
    for name in
        ["README.TXT", "lower.txt", "MIXED.txt", "CamelCase.Txt", ".hidden", "exactly13char", "two.dots.c", "Grüße.txt"]
    {
        put(fs.root(), "", name, name.as_bytes().to_vec());
    }
    put(deep, "a directory/", &"x".repeat(255), vec![7; 70_000]);
    for len in [0, 1, 511, 512, 513, 4096, 40_000] {
        put(
            deeper,
            "a directory/deeper/",
            &format!("a file of {len} bytes"),
            (0..len).map(|at| (at / 3) as u8).collect(),
        );
    }
    for number in 0..300 {
        put(many, "MANY/", &format!("longfilename number {number}.text"), number.to_string().into_bytes());
    }
    writer.rename((fs.root(), b"lower.txt"), (deeper, b"moved and renamed"), Rename::Replace).unwrap();
    let moved = all.remove("lower.txt").unwrap();
    all.insert("a directory/deeper/moved and renamed".to_owned(), moved);
    writer.rename((deep, b"deeper"), (many, b"Deeper"), Rename::NoReplace).unwrap();
    all.into_iter().map(|(path, content)| (path.replace("a directory/deeper", "MANY/Deeper"), content)).collect()
}

fn read_by_fatfs(dir: &fatfs::Dir<'_, Cursor<Vec<u8>>>, path: &str, all: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in dir.iter().map(Result::unwrap) {
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        // fatfs does not know of short names in lower case.
        let path = format!("{path}{name}");
        if entry.is_dir() {
            read_by_fatfs(&entry.to_dir(), &format!("{path}/"), all);
            all.insert(path, None);
        } else {
            let mut content = Vec::new();
            entry.to_file().read_to_end(&mut content).unwrap();
            assert_eq!(content.len() as u64, entry.len());
            all.insert(path, Some(content));
        }
    }
}

#[test]
fn other_programs_read_what_we_write() {
    for args in [&["-F", "12", "-s", "8"][..], &["-F", "16", "-s", "1"], &["-F", "32", "-s", "1"]] {
        let kilobytes = if args[1] == "32" { 36 << 10 } else { 10 << 10 };
        let disk = memory(volume(kilobytes, args));
        let fs = open_to_write(disk.clone());
        let writer = fs.writer(fs.root()).unwrap();
        let wanted = make(fs.as_ref(), writer);
        writer.close().unwrap();
        let bytes = bytes(disk.as_ref());
        assert_clean(&bytes, &format!("{args:?}"));

        let image = file(&bytes);
        let target = tempfile::tempdir().unwrap();
        run("mcopy", &image, &["-s", "-n", "::*", target.path().to_str().unwrap()]);
        for (path, content) in &wanted {
            let path = target.path().join(path);
            match content {
                Some(content) => assert!(&std::fs::read(&path).unwrap() == content, "{args:?}: {path:?}"),
                None => assert!(path.is_dir(), "{args:?}: {path:?}"),
            }
        }
        let listing = run("mdir", &image, &["-a", "::"]);
        assert!(listing.contains("lower") || listing.contains("README   TXT"), "{listing}");

        let other = fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).unwrap();
        let mut found = BTreeMap::new();
        read_by_fatfs(&other.root_dir(), "", &mut found);
        let fold = |tree: BTreeMap<String, Option<Vec<u8>>>| {
            tree.into_iter().map(|(path, content)| (path.to_lowercase(), content)).collect::<BTreeMap<_, _>>()
        };
        assert!(fold(found) == fold(wanted), "{args:?}: what fatfs reads differs");
        let status = other.read_status_flags().unwrap();
        assert!(!status.dirty() && !status.io_error());
    }
}
