//! Deleted files come back: ours against extundelete, ext4magic, debugfs and tsk_recover, on images of the kernel.

mod remains;
mod rounds;
mod used;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::report::Report;
use super::stage::Stage;
use crate::command::{any_output, command, read, run as run_command};
use crate::mount::KernelMount;
use crate::specimen::Noise;

/// Files that are deleted in each case, and others that stay.
const DELETED: u64 = 120;
const KEPT: u64 = 40;
/// The size of each image in bytes.
const SIZE: u64 = 192 << 20;
/// Of the files that come back, so many in a hundred must be under their own path.
const UNDER_THEIR_PATH: usize = 95;

/// How long another tool may take, in seconds: ext4magic does not always come to an end.
const OTHERS_END: &str = "20";

/// Between writing, deleting and recovering.
const SECONDS_APART: Duration = Duration::from_millis(2100);

struct Case {
    name: &'static str,
    mke2fs: &'static [&'static str],
    /// Some files lie in many pieces: in ext4 they have extents outside the inode, on which ext4magic crashes.
    pieces: bool,
    /// Nothing is lost: every file must come back, unless new files were written afterwards.
    all: bool,
}

const CASES: &[Case] = &[
    // The kernel wipes the pointers of a deleted inode, and there is no journal.
    Case { name: "ext2", mke2fs: &["-t", "ext2", "-b", "4096"], pieces: true, all: false },
    Case { name: "ext3", mke2fs: &["-t", "ext3", "-b", "4096"], pieces: true, all: true },
    Case { name: "ext4", mke2fs: &["-t", "ext4", "-b", "4096"], pieces: true, all: true },
    Case { name: "ext4 in one piece", mke2fs: &["-t", "ext4", "-b", "4096"], pieces: false, all: true },
    Case { name: "ext4 1k", mke2fs: &["-t", "ext4", "-b", "1024", "-J", "size=16"], pieces: true, all: true },
    Case { name: "ext4 bigalloc", mke2fs: &["-t", "ext4", "-b", "4096", "-O", "bigalloc"], pieces: true, all: true },
    Case {
        name: "ext4 no checksums",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^metadata_csum_seed,uninit_bg"],
        pieces: true,
        all: true,
    },
];

/// SHA-256 in hexadecimal digits, by path.
type Hashes = BTreeMap<String, String>;

/// What each tool brought back, of how many.
struct Score {
    case: String,
    deleted: usize,
    ours: Ours,
    others: Vec<(&'static str, Other)>,
}

/// What another tool brought back, and whether it ran to its end.
struct Other {
    found: usize,
    ended: bool,
}

struct Ours {
    found: usize,
    /// How many of these are called intact.
    promised: usize,
    under_their_path: usize,
    wrong: Vec<String>,
}

pub fn run(report: &mut Report, stage: &Stage) {
    let mut scores = Vec::new();
    for case in CASES {
        for used_after in [false, true] {
            let name = format!("{}{}", case.name, if used_after { ", used after" } else { "" });
            report.step(&format!("recovery {name}"), || {
                let score = score(stage, case, &name, used_after)?;
                let checked = check(&score, case.all && !used_after);
                scores.push(score);
                checked
            });
        }
    }
    print(&scores);
    rounds::run(report, stage);
}

fn check(score: &Score, all: bool) -> Result<()> {
    let ours = &score.ours;
    ensure!(ours.wrong.is_empty(), "called intact, and is not what was deleted: {}", ours.wrong.join(", "));
    for (tool, other) in &score.others {
        ensure!(ours.found >= other.found, "{tool} brought back {} files, we {}", other.found, ours.found);
    }
    if all {
        ensure!(ours.found == score.deleted, "{} of {} files came back", ours.found, score.deleted);
        // A test of promises needs some.
        ensure!(ours.promised * 2 >= score.deleted, "only {} of {} are called intact", ours.promised, score.deleted);
        ensure!(
            ours.under_their_path * 100 >= score.deleted * UNDER_THEIR_PATH,
            "{} of {} files came back under their own path",
            ours.under_their_path,
            score.deleted
        );
    }
    Ok(())
}

fn print(scores: &[Score]) {
    let Some(first) = scores.first() else { return };
    print!(
        "\n{:28} {:>7} {:>8} {:>8} {:>9}",
        "files that came back whole", "deleted", "imgmount", "(intact)", "(by path)"
    );
    first.others.iter().for_each(|(tool, _)| print!(" {tool:>11}"));
    println!();
    for score in scores {
        let ours = &score.ours;
        let Ours { found, promised, under_their_path, .. } = ours;
        print!("{:28} {:>7} {found:>8} {promised:>8} {under_their_path:>9}", score.case, score.deleted);
        for (_, other) in &score.others {
            let crashed = if other.ended { "" } else { "crashed: " };
            print!(" {:>11}", format!("{crashed}{}", other.found));
        }
        println!();
    }
    println!();
}

fn score(stage: &Stage, case: &Case, name: &str, used_after: bool) -> Result<Score> {
    let image = stage.path("deleted.img");
    let (deleted, ever) = make(case, &image, used_after)?;
    let before = hash_of(&image)?;
    let ours = ours(stage, &image, &deleted, &ever)?;
    ensure!(hash_of(&image)? == before, "the image was changed");
    let others = others(&image)?.into_iter().map(|(tool, found, ended)| {
        let found = deleted.values().filter(|hash| found.contains(*hash)).count();
        (tool, Other { found, ended })
    });
    let others = others.collect();
    fs::remove_file(&image)?;
    Ok(Score { case: name.to_owned(), deleted: deleted.len(), ours, others })
}

/// The hashes of what other tools bring back, and whether each ran to its end.
fn others(image: &Path) -> Result<Vec<(&'static str, BTreeSet<String>, bool)>> {
    let tools = [
        ("extundelete", extundelete as fn(&Path, &Path) -> Result<bool>),
        ("ext4magic", ext4magic),
        ("debugfs", debugfs),
        ("tsk_recover", tsk_recover),
    ];
    let run = tools.into_iter().map(|(tool, recover)| {
        let directory = tempfile::TempDir::with_prefix("imgmount-recovery-")?;
        // Each on a copy: some of them write to the image.
        let copy = directory.path().join("copy.img");
        fs::copy(image, &copy)?;
        let out = directory.path().join("out");
        fs::create_dir(&out)?;
        let ended = recover(&copy, &out).with_context(|| tool)?;
        Ok((tool, hashes(&out)?.into_values().collect(), ended))
    });
    run.collect()
}

/// Makes an image from which files were deleted; returns their hashes, and those of all files that ever were in it.
fn make(case: &Case, image: &Path, used_after: bool) -> Result<(Hashes, BTreeSet<String>)> {
    File::create(image)?.set_len(SIZE)?;
    run_command(command("mke2fs", ["-q", "-F"]).args(case.mke2fs).arg(image))?;
    let mut mount = KernelMount::new(image, None, "rw")?;
    let root = mount.path();
    for number in 0..DELETED + KEPT {
        let path = root.join(path_of(number));
        fs::create_dir_all(path.parent().context("a path in a directory")?)?;
        fs::write(&path, Noise::new(number + 1).bytes(size_of(number)))?;
    }
    // Some grow in turns and are in many pieces.
    for round in 0..if case.pieces { 30 } else { 0 } {
        for number in [3, 5, DELETED + 1] {
            let mut file = File::options().append(true).open(root.join(path_of(number)))?;
            file.write_all(&Noise::new(1000 * number + round).bytes(9000))?;
            file.sync_all()?;
        }
    }
    // What was mounted since is known to have left the cache: only then can a file be called intact.
    mount.unmount()?;
    mount = KernelMount::new(image, None, "rw")?;
    let root = mount.path();
    let all = hashes(root)?;
    // ext4magic tells before from after by whole seconds.
    std::thread::sleep(SECONDS_APART);
    let is_deleted = |path: &String| (0..DELETED).any(|number| path_of(number).as_os_str() == path.as_str());
    let deleted: Hashes = all.iter().filter(|(path, _)| is_deleted(path)).map(clone).collect();
    for number in 0..DELETED {
        // A third goes with its directory.
        if !number.is_multiple_of(3) {
            fs::remove_file(root.join(path_of(number)))?;
        }
    }
    fs::remove_dir_all(root.join("whole"))?;
    run_command(command("sync", ["-f"]).arg(root))?;
    let mut ever: BTreeSet<String> = all.into_values().collect();
    if used_after {
        for number in 0..60 {
            fs::write(root.join(format!("new-{number}")), Noise::new(5000 + number).bytes(size_of(number) * 2))?;
        }
        ever.extend(hashes(root)?.into_values());
    }
    mount.unmount()?;
    std::thread::sleep(SECONDS_APART);
    Ok((deleted, ever))
}

fn clone((path, hash): (&String, &String)) -> (String, String) {
    (path.clone(), hash.clone())
}

/// Where the file with this number is: those below `DELETED` are deleted.
fn path_of(number: u64) -> PathBuf {
    match number {
        DELETED.. => format!("kept/{}/file-{number}", number % 4),
        _ if number.is_multiple_of(3) => format!("whole/{}/deep/deeper/file-{number}.dat", number % 7),
        _ => format!("some/{}/document {number}.txt", number % 5),
    }
    .into()
}

/// From one byte to 20 MB, most of them small.
fn size_of(number: u64) -> usize {
    const SIZES: [usize; 9] = [1, 60, 900, 4096, 5000, 30_000, 70_001, 400_000, 1_200_000];
    match number {
        50 => 20_000_000,
        51 => 6_000_000,
        _ => SIZES[(number % SIZES.len() as u64) as usize] + number as usize,
    }
}

/// The hash of every file that is not empty, by its path below `root`.
fn hashes(root: &Path) -> Result<Hashes> {
    let mut found = Hashes::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && entry.metadata()?.len() > 0 {
                found.insert(path.strip_prefix(root)?.to_string_lossy().into_owned(), hash_of(&path)?);
            }
        }
    }
    Ok(found)
}

fn hash_of(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
    Ok(hexadecimal(hash))
}

fn hash_of_bytes(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn ours(stage: &Stage, image: &Path, deleted: &Hashes, ever: &BTreeSet<String>) -> Result<Ours> {
    let directory = tempfile::TempDir::with_prefix("imgmount-recovery-")?;
    let to = directory.path().join("out");
    let output = any_output(command(&stage.program, ["recover", "-a"]).arg(image).arg("--to").arg(&to))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // 2: not everything was whole, which is no failure here.
    ensure!(matches!(output.status.code(), Some(0 | 2)), "imgmount recover failed: {said}");
    let report = match fs::read(to.join("report.json")) {
        Ok(report) => serde_json::from_slice(&report)?,
        // Nothing was found.
        Err(_) => Value::Null,
    };
    let mut seen = BTreeSet::new();
    let mut ours = Ours { found: 0, promised: 0, under_their_path: 0, wrong: Vec::new() };
    for file in report["files"].as_array().into_iter().flatten() {
        let Some(output) = file["output"].as_str() else { continue };
        let is_promised = match file["outcome"].as_str() {
            Some("recovered") => true,
            Some("unproven") => false,
            _ => continue,
        };
        let path = to.join(output);
        if file["found"]["kind"] != "file" || fs::metadata(&path)?.len() == 0 {
            continue;
        }
        let hash = hash_of(&path)?;
        ensure!(file["sha256"] == hash.as_str(), "{output}: the report has another hash");
        let place = output.strip_prefix("sda/").unwrap_or(output);
        let right = deleted.get(place) == Some(&hash);
        ours.under_their_path += usize::from(right);
        ours.promised += usize::from(is_promised && right);
        // A path that was deleted must have its own content; whatever else comes back must have been a file.
        if is_promised && (deleted.contains_key(place) && !right || !ever.contains(&hash)) {
            ours.wrong.push(output.to_owned());
        }
        seen.insert(hash);
    }
    ours.found = deleted.values().filter(|hash| seen.contains(*hash)).count();
    Ok(ours)
}

/// Runs a tool, whose exit status says nothing of what it found. False if it crashed, or did not end.
fn ends(tool: &mut Command) -> Result<bool> {
    let mut limited = command("timeout", ["--kill-after=1", OTHERS_END]);
    limited.arg(tool.get_program()).args(tool.get_args());
    if let Some(directory) = tool.get_current_dir() {
        limited.current_dir(directory);
    }
    // A shell's way to say that a signal ended it; 124 is the limit's own.
    Ok(any_output(&mut limited)?.status.code().is_some_and(|code| code < 124))
}

fn extundelete(image: &Path, out: &Path) -> Result<bool> {
    ends(command("extundelete", ["--restore-all"]).arg(image).current_dir(out))
}

fn ext4magic(image: &Path, out: &Path) -> Result<bool> {
    let by_tree = ends(command("ext4magic", ["-R", "-d", "by-tree"]).arg(image).current_dir(out))?;
    let by_all = ends(command("ext4magic", ["-M", "-d", "by-all"]).arg(image).current_dir(out))?;
    Ok(by_tree && by_all)
}

fn debugfs(image: &Path, out: &Path) -> Result<bool> {
    let list = read(command("debugfs", ["-R", "lsdel"]).arg(image))?;
    let inodes = list.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    for inode in inodes {
        let dump = format!("dump <{inode}> {}", out.join(inode.to_string()).display());
        any_output(command("debugfs", ["-R", &dump]).arg(image))?;
    }
    Ok(true)
}

fn tsk_recover(image: &Path, out: &Path) -> Result<bool> {
    ends(&mut command("tsk_recover", [image, out]))
}
