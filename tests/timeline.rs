//! `imgmount timeline` against The Sleuth Kit: its rows of live files are those of `fls -m / -r`, and mactime reads it.
//!
//! Needs sleuthkit, e2fsprogs and mtools with dosfstools. What is left out of the comparison, because ours says more:
//! the creation times of ext2 and ext3 (fls has 0), the targets of long symbolic links that lie in an extent, and names
//! with `|`, which would shift the fields.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use sha2::{Digest, Sha256};

fn run(program: &str, arguments: &[&str], directory: &Path) -> Output {
    let mut command = toolbox::command(program);
    command.args(arguments).current_dir(directory).env("LC_ALL", "C").env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1");
    toolbox::output(&mut command)
}

fn imgmount(arguments: &[&str], directory: &Path) -> Output {
    run(env!("CARGO_BIN_EXE_imgmount"), arguments, directory)
}

/// Lines as bytes: names need not be text.
fn lines(output: &[u8]) -> Vec<Vec<u8>> {
    output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn contains(line: &[u8], text: &str) -> bool {
    line.windows(text.len()).any(|part| part == text.as_bytes())
}

/// A directory with files of every kind that an ordinary user can make.
fn tree() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("tree");
    fs::create_dir_all(root.join("docs/deep/deeper")).unwrap();
    fs::create_dir_all(root.join("with blank")).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("docs/file {n}")), "x".repeat(n * 7)).unwrap();
    }
    fs::write(root.join("with blank/new\nline"), "n").unwrap();
    fs::write(root.join("gr\u{fc}n"), "g").unwrap();
    symlink("../short", root.join("docs/link")).unwrap();
    fs::hard_link(root.join("docs/file 1"), root.join("hard")).unwrap();
    for (name, mode) in [("docs/file 2", 0o4755), ("docs/file 3", 0o2644), ("docs/deep", 0o1777), ("hard", 0o000)] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    run("mkfifo", &["tree/fifo"], place.path());
    place
}

fn image(place: &Path, options: &[&str]) -> PathBuf {
    let path = place.join("image");
    fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    run("mke2fs", &[&["-q", "-d", "tree"], options, &["image"]].concat(), place);
    path
}

#[test]
fn live_rows_are_those_of_fls() {
    let place = tree();
    for options in [
        &["-t", "ext4"][..],
        &["-t", "ext4", "-b", "1024", "-O", "inline_data"],
        &["-t", "ext4", "-O", "^filetype,^metadata_csum"],
        &["-t", "ext4", "-I", "128"],
        &["-t", "ext4", "-b", "2048", "-O", "^64bit,^has_journal"],
        &["-t", "ext3"],
        &["-t", "ext2"],
    ] {
        let image = image(place.path(), options);
        let before = Sha256::digest(fs::read(&image).unwrap());
        let ours = imgmount(&["timeline", "-a", "image"], place.path()).stdout;
        let theirs = run("fls", &["-r", "-m", "/", "-z", "UTC", "image"], place.path()).stdout;
        let has_creation = options[1] == "ext4" && !options.contains(&"128");
        let live = |lines: Vec<Vec<u8>>| {
            let mut live: Vec<_> = lines
                .into_iter()
                .filter(|line| !contains(line, "(deleted") && !contains(line, "$OrphanFiles"))
                .map(|line| match has_creation {
                    true => line,
                    false => line[..line.iter().rposition(|byte| *byte == b'|').unwrap()].to_vec(),
                })
                .collect();
            live.sort();
            live
        };
        let (ours, theirs) = (live(lines(&ours)), live(lines(&theirs)));
        assert!(theirs.len() > 300, "{options:?}: fls lists {} files", theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
            assert_eq!(text(ours), text(theirs), "{options:?}");
        }
        assert_eq!(ours, theirs, "{options:?}");
        assert_eq!(Sha256::digest(fs::read(&image).unwrap()), before, "{options:?}: the image changed");
    }
}

#[test]
fn mactime_reads_it() {
    let place = tree();
    image(place.path(), &["-t", "ext4"]);
    let body = imgmount(&["timeline", "-a", "image"], place.path()).stdout;
    fs::write(place.path().join("body"), &body).unwrap();
    let table = run("mactime", &["-b", "body", "-z", "UTC", "-d", "-y"], place.path());
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for name in ["\"/docs/file 299\"", "\"/docs/link -> ../short\"", "\"/with blank/new^line\""] {
        assert!(table.contains(name), "mactime does not list {name}");
    }
    let row = table.lines().find(|line| line.contains("\"/docs/file 2\"")).unwrap();
    assert!(row.contains(",14,") && row.contains(",r/rrwsr-xr-x,"), "{row}");
}

#[test]
fn json_has_the_same_rows() {
    let place = tree();
    image(place.path(), &["-t", "ext4"]);
    let body = imgmount(&["timeline", "-a", "image", "-m", "/dev/sda:/x/"], place.path()).stdout;
    let json = imgmount(&["timeline", "-a", "image", "--json", "-m", "/dev/sda:/x"], place.path()).stdout;
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    let body = lines(&body);
    assert_eq!(rows.len(), body.len());
    assert!(body.iter().all(|line| line.starts_with(b"0|/x/")));
    let link = rows.iter().find(|row| row["path"] == "/x/docs/link").unwrap();
    assert_eq!((&link["target"], &link["kind"]), (&"../short".into(), &"symbolic link".into()));
    assert_eq!(link["deleted"], false);
}

#[test]
fn fat_is_read_too() {
    let place = tree();
    fs::File::create(place.path().join("fat")).unwrap().set_len(16 << 20).unwrap();
    run("mkfs.fat", &["-F", "16", "fat"], place.path());
    run("mmd", &["-i", "fat", "::/a long directory"], place.path());
    run("mcopy", &["-i", "fat", "tree/docs/file 299", "::/a long directory/a file.txt"], place.path());
    let name = |line: &[u8]| String::from_utf8_lossy(line).split('|').nth(1).unwrap().to_owned();
    let ours = imgmount(&["timeline", "-a", "fat"], place.path()).stdout;
    let ours: Vec<_> = lines(&ours).iter().map(|line| name(line)).collect();
    let theirs = run("fls", &["-r", "-m", "/", "fat"], place.path()).stdout;
    // The Sleuth Kit's own files begin with a dollar sign.
    let theirs: Vec<_> = lines(&theirs).iter().map(|line| name(line)).filter(|name| !name.starts_with("/$")).collect();
    assert_eq!(ours, theirs);
}
