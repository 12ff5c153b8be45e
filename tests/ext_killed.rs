//! The process that serves a mount is killed while files are written: what was synced is there, and e2fsck asks nothing.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use images::disk::HostFile;

/// How often it is killed on each file system; `IMGMOUNT_KILLS` asks for more.
const KILLS: u64 = 8;

const KINDS: [&str; 3] = [
    "-b 4096 -O none,has_journal,extent,64bit,metadata_csum,filetype,dir_index,sparse_super -J size=4",
    "-b 1024 -O none,has_journal,filetype,dir_index,sparse_super -J size=1",
    "-b 1024 -O none,filetype,dir_index,sparse_super",
];

/// What file `number` has.
fn content(number: u64) -> Vec<u8> {
    let len = 1 + number * 977 % 30_000;
    (0..len).map(|at| (at * 7 + number * 31) as u8).collect()
}

/// Writes files, renames every third and removes every fifth, until something fails. Gives what was synced: names and numbers.
fn write(mount: &Path, is_over: &AtomicBool) -> Vec<(String, u64)> {
    let mut synced = Vec::new();
    for number in 0.. {
        let name = format!("file {number}");
        let path = mount.join(&name);
        let made = File::create(&path).and_then(|mut file| {
            file.write_all(&content(number))?;
            file.sync_all()
        });
        if made.is_err() || is_over.load(Ordering::SeqCst) {
            break;
        }
        // What is done next need not be there, but then the file is there under its first name.
        if number % 3 == 0 {
            let _ = fs::rename(&path, mount.join(format!("renamed {number}")));
        } else if number % 5 == 0 {
            let _ = fs::remove_file(&path);
        } else {
            synced.push((name, number));
        }
    }
    synced
}

fn e2fsck(image: &Path, option: &str) -> (Option<i32>, String) {
    let output = toolbox::command("e2fsck").arg(option).arg(image).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One kill, after so many milliseconds. Gives how many files were synced.
fn kill(options: &str, milliseconds: u64) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let (image, mount, pid) =
        (directory.path().join("image"), directory.path().join("mount"), directory.path().join("pid"));
    fs::create_dir(&mount).unwrap();
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let mut mke2fs = toolbox::command("mke2fs");
    toolbox::run(mke2fs.args(["-q", "-F"]).args(options.split(' ')).arg(&image).env("MKE2FS_CONFIG", "/dev/null"));
    let mut command = toolbox::command(env!("CARGO_BIN_EXE_imgmount"));
    command.arg("--rw").arg("-a").arg(&image).args(["-m", "/dev/sda", "--pid-file"]).arg(&pid).arg(&mount);
    toolbox::run(&mut command);
    let pid = fs::read_to_string(&pid).unwrap();
    let is_over = AtomicBool::new(false);
    let synced = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mount, &is_over));
        std::thread::sleep(Duration::from_millis(milliseconds));
        toolbox::run(toolbox::command("kill").args(["-KILL", pid.trim()]));
        is_over.store(true, Ordering::SeqCst);
        writer.join().unwrap()
    });
    assert!(toolbox::unmount(&mount), "cannot unmount {}", mount.display());
    let (status, said) = e2fsck(&image, "-fp");
    assert!(matches!(status, Some(0 | 1)), "{options}, killed after {milliseconds} ms: {status:?} {said}");
    let (status, said) = e2fsck(&image, "-fn");
    assert_eq!(status, Some(0), "{options}, killed after {milliseconds} ms: {said}");
    let fs = filesystems::ext::mount(Arc::new(HostFile::open(&image).unwrap()), &Default::default()).unwrap();
    let fs: &dyn filesystems::FileSystem = &fs;
    for (name, number) in &synced {
        let file = fs.lookup(fs.root(), name.as_bytes()).unwrap_or_else(|error| panic!("{options}: {name}: {error}"));
        let want = content(*number);
        let mut found = vec![0; want.len() + 1];
        let len = fs.read_at(file, &mut found, 0).unwrap();
        assert!(found[..len] == want, "{options}: {name} differs, killed after {milliseconds} ms");
    }
    synced.len()
}

#[test]
fn what_was_synced_survives_a_kill() {
    let kills = std::env::var("IMGMOUNT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for options in KINDS {
        let synced: usize = (0..kills).map(|round| kill(options, 10 + round * 7919 % 400)).sum();
        assert!(synced > 0, "{options}: nothing was synced before any of the kills");
    }
}
