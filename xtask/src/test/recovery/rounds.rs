//! What comes back of file systems that were used after the deletes: every content whose bytes are all still on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::remains::{Remains, Told};
use super::used::{self, Content, Fate, Past};
use super::{hash_of, hashes};
use crate::command::{any_output, command};
use crate::test::Report;
use crate::test::stage::Stage;

struct Case {
    name: &'static str,
    mke2fs: &'static [&'static str],
    block: usize,
    inode: usize,
    /// Options of the mount.
    options: &'static str,
    /// The image is taken from a running guest.
    running: bool,
}

impl Case {
    const fn new(name: &'static str, block: usize, inode: usize, mke2fs: &'static [&'static str]) -> Self {
        Self { name, mke2fs, block, inode, options: "rw", running: false }
    }
}

const EXT4: &[&str] = &["-t", "ext4", "-b", "4096", "-J", "size=16"];

const CASES: &[Case] = &[
    Case::new("ext4", 4096, 256, EXT4),
    Case { running: true, ..Case::new("ext4, running", 4096, 256, EXT4) },
    Case { options: "rw,data=journal", ..Case::new("ext4, data=journal", 4096, 256, EXT4) },
    Case::new("ext4 small journal", 4096, 256, &["-t", "ext4", "-b", "4096", "-J", "size=4"]),
    Case::new("ext4 fast commit", 4096, 256, &["-t", "ext4", "-b", "4096", "-O", "fast_commit", "-J", "size=16"]),
    Case::new("ext4 small inodes", 4096, 128, &["-t", "ext4", "-b", "4096", "-I", "128", "-J", "size=4"]),
    Case::new(
        "ext4 no checksums",
        4096,
        256,
        &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^metadata_csum_seed,uninit_bg", "-J", "size=8"],
    ),
    Case::new("ext3", 4096, 256, &["-t", "ext3", "-b", "4096", "-J", "size=8"]),
    Case::new("ext3 1k small journal", 1024, 128, &["-t", "ext3", "-b", "1024", "-I", "128", "-J", "size=2"]),
    Case::new("ext4 1k", 1024, 256, &["-t", "ext4", "-b", "1024", "-J", "size=8"]),
    Case::new("ext4 1k small journal", 1024, 256, &["-t", "ext4", "-b", "1024", "-J", "size=1"]),
    Case::new("ext4 bigalloc", 4096, 256, &["-t", "ext4", "-b", "4096", "-O", "bigalloc", "-J", "size=8"]),
    Case::new("ext4 inline data", 4096, 256, &["-t", "ext4", "-b", "4096", "-O", "inline_data", "-J", "size=8"]),
];
const SEEDS: u64 = 2;
/// Of so many contents that an inode leads to one may not come back. One of 5,837 was seen once, with bigalloc, and not again; the
/// kernel's timing makes each run another.
const MISSED_ONE_IN: usize = 50;
/// An image on which less than this many contents are left tests nothing.
const FEWEST_LEFT: usize = 100;

/// Of the contents of one fate.
#[derive(Default)]
struct Score {
    /// How many are on the disk.
    there: usize,
    back: usize,
    /// How many of these are called intact.
    promised: usize,
    /// How many other tools brought back, and whether each ran to its end.
    others: BTreeMap<&'static str, (usize, bool)>,
    /// The paths of the others, by what is told of them.
    missing: BTreeMap<Told, Vec<String>>,
}

type Scores = BTreeMap<Fate, Score>;

pub fn run(report: &mut Report, stage: &Stage) {
    let mut all: Vec<(&str, Scores)> = Vec::new();
    for case in CASES {
        for seed in 1..=SEEDS {
            report.step(&format!("recovery {}, used for six rounds, {seed}", case.name), || {
                let scores = score(stage, case, seed)?;
                let checked = check(&scores);
                all.push((case.name, scores));
                checked
            });
        }
    }
    print(&all);
}

/// Whatever an inode leads to has to come back, of files that were deleted.
fn check(scores: &Scores) -> Result<()> {
    for (fate, score) in scores.iter().filter(|(fate, _)| **fate != Fate::Changed) {
        let told = score.missing.get(&Told::Whole).map(Vec::as_slice).unwrap_or_default();
        let most = score.there / MISSED_ONE_IN;
        ensure!(told.len() <= most, "{fate:?}: an inode leads to all blocks of what did not come back: {told:?}");
        for (tool, (found, _)) in &score.others {
            ensure!(score.back >= *found, "{fate:?}: {tool} brought back {found} contents, we {}", score.back);
        }
    }
    let there: usize = scores.values().map(|score| score.there).sum();
    ensure!(there >= FEWEST_LEFT, "only {there} contents are still on the disk");
    Ok(())
}

fn print(all: &[(&str, Scores)]) {
    if all.is_empty() {
        return;
    }
    println!(
        "\n{:24} {:17} {:>6} {:>6} {:>8}  told of the others: {:>6} {:>6} {:>6}",
        "contents on the disk", "", "there", "back", "(intact)", "inode", "place", "none"
    );
    let mut total: BTreeMap<Fate, [usize; 6]> = BTreeMap::new();
    for (name, scores) in all {
        for (fate, score) in scores {
            let missing = |told| score.missing.get(&told).map_or(0, Vec::len);
            let [whole, place, no] = [Told::Whole, Told::Place, Told::No].map(missing);
            let row = [score.there, score.back, score.promised, whole, place, no];
            println!("{}{}", line(name, *fate, &row), others(score));
            total.entry(*fate).or_default().iter_mut().zip(row).for_each(|(sum, one)| *sum += one);
        }
    }
    for (fate, row) in total {
        println!("{}", line("all", fate, &row));
    }
    println!();
}

fn line(name: &str, fate: Fate, [there, back, promised, whole, place, no]: &[usize; 6]) -> String {
    let (fate, gap) = (format!("{fate:?}"), "");
    format!("{name:24} {fate:17} {there:>6} {back:>6} {promised:>8}  {gap:19} {whole:>6} {place:>6} {no:>6}")
}

fn others(score: &Score) -> String {
    let one = |(tool, (found, ended)): (&&str, &(usize, bool))| {
        format!("  {tool} {found}{}", if *ended { "" } else { " (crashed)" })
    };
    score.others.iter().map(one).collect()
}

fn score(stage: &Stage, case: &Case, seed: u64) -> Result<Scores> {
    let image = stage.path("used.img");
    let past = used::make(&image, case.mke2fs, case.options, case.running, seed)?;
    let before = hash_of(&image)?;
    let found = ours(stage, &image, &past)?;
    ensure!(hash_of(&image)? == before, "the image was changed");
    let others = if seed == 1 { super::others(&image)? } else { Vec::new() };
    let disk = fs::read(&image)?;
    let remains = Remains::new(&disk, case.block, case.inode);
    let mut scores = Scores::new();
    for content in past.contents {
        let Some(told) = told(&remains, &content) else { continue };
        let score = scores.entry(content.fate).or_default();
        score.there += 1;
        for (tool, hashes, ended) in &others {
            let (count, _) = score.others.entry(tool).or_insert((0, *ended));
            *count += usize::from(hashes.contains(&content.hash));
        }
        match found.get(&content.hash) {
            Some(promised) => (score.back, score.promised) = (score.back + 1, score.promised + usize::from(*promised)),
            None => score.missing.entry(told).or_default().push(content.path),
        }
    }
    fs::remove_file(&image)?;
    Ok(scores)
}

/// What is told of a content whose bytes are all on the disk.
fn told(remains: &Remains<'_>, content: &Content) -> Option<Told> {
    if remains.is_inline(&content.bytes) {
        return Some(Told::Whole);
    }
    Some(remains.told(content.bytes.len(), &remains.places(&content.bytes)?))
}

/// The hashes of what came back, and whether it is promised.
fn ours(stage: &Stage, image: &Path, past: &Past) -> Result<BTreeMap<String, bool>> {
    let directory = tempfile::TempDir::with_prefix("imgmount-recovery-")?;
    let to = directory.path().join("out");
    let mut recover = command(&stage.program, ["recover", "--versions", "-a"]);
    let output = any_output(recover.arg(image).arg("--to").arg(&to))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // 2: not everything was whole, which is no failure here.
    ensure!(matches!(output.status.code(), Some(0 | 2)), "imgmount recover failed: {said}");
    let report: Value = serde_json::from_slice(&fs::read(to.join("report.json"))?)?;
    let written = hashes(&to)?;
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in report["files"].as_array().into_iter().flatten() {
        let is_promised = match file["outcome"].as_str() {
            Some("recovered") => true,
            Some("unproven") => false,
            _ => continue,
        };
        // What is empty is not in it.
        let Some((output, hash)) = file["output"].as_str().and_then(|output| Some((output, written.get(output)?)))
        else {
            continue;
        };
        let place = output.strip_prefix("sda/").unwrap_or(output);
        let path = place.split('#').next().unwrap_or(place);
        let right = past.ever.was(path, hash);
        if is_promised && !right {
            wrong.push(output.to_owned());
        }
        *found.entry(hash.clone()).or_default() |= is_promised && right;
    }
    ensure!(wrong.is_empty(), "called intact, and is not what was there: {}", wrong.join(", "));
    Ok(found)
}
