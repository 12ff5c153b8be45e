//! The power is cut at every moment: QEMU finds nothing wrong but lost space, what was flushed is there, and what snapshots
//! and backing files have is as it was.

use std::path::Path;
use std::sync::Arc;

use ::images::disk::{Cut, Memory, PowerCut};
use ::images::{Budget, Disk, FORMATS, Format, Opener, Request, Result};

use crate::images::{Kind, Source};
use crate::tools::{Folder, Random, open_as, read_all};

/// How many cuts of one image are looked at, and how many of these QEMU looks at.
#[derive(Clone, Copy)]
struct Counts {
    /// At most so many, of those that lose nothing and those that do.
    looked_at: usize,
    checked: usize,
    /// How many lose some of what was not flushed.
    reordered: usize,
}

const SHORT: Counts = Counts { looked_at: 40, checked: 6, reordered: 100 };
const LONG: Counts = Counts { looked_at: 2000, checked: 50, reordered: 500 };
/// How often the long run does other things to each image.
const ROUNDS: u64 = 25;

/// Opens the backing file, whatever it is called.
pub struct Base(pub Vec<u8>);

impl Opener for Base {
    fn open(&self, _: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Ok(Arc::new(Memory::new("base", self.0.clone())))
    }

    fn formats(&self) -> &'static [Format] {
        FORMATS
    }
}

/// What the disk holds after each step of the test; and how many of these were flushed, by the steps of the file.
struct History {
    states: Vec<Vec<u8>>,
    flushed: Vec<(usize, usize)>,
}

/// Writes, zeros, discards and flushes.
fn scenario(disk: &dyn Disk, cut: &PowerCut, model: Vec<u8>, seed: u64) -> History {
    let writer = disk.writer(0..disk.size()).unwrap();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut history = History { states: vec![model], flushed: vec![(0, 0)] };
    for round in 0..24u8 {
        let mut now = history.states.last().unwrap().clone();
        let at = random.below(now.len() as u64 - 1) as usize;
        let len = (random.below(90_000) as usize + 1).min(now.len() - at);
        match random.below(8) {
            0 => {
                writer.zero_at(at as u64, len as u64).unwrap();
                now[at..at + len].fill(0);
            }
            1 => {
                writer.discard_at(at as u64, len as u64).unwrap();
                now = read_all(disk);
            }
            2 | 3 => {
                writer.flush().unwrap();
                history.flushed.push((cut.steps(), history.states.len() - 1));
                continue;
            }
            _ => {
                let data: Vec<u8> = (0..len).map(|at| round ^ (at / 300) as u8 | 1).collect();
                writer.write_at(&data, at as u64).unwrap();
                now[at..at + len].copy_from_slice(&data);
            }
        }
        history.states.push(now);
    }
    writer.flush().unwrap();
    history.flushed.push((cut.steps(), history.states.len() - 1));
    history
}

impl History {
    /// Fails unless each byte is what it was when it was flushed last, or was made to be after that.
    fn check(&self, cut: &Cut, now: &[u8]) {
        let (_, flushed) = self.flushed.iter().rfind(|(steps, _)| *steps <= cut.steps).unwrap();
        let states = &self.states[*flushed..];
        if now == states[0] {
            return;
        }
        let wrong = (0..now.len()).find(|&at| states.iter().all(|state| state[at] != now[at]));
        assert_eq!(wrong, None, "after {} steps a byte is what it never was since it was flushed", cut.steps);
    }
}

fn cut(kind: &Kind, seed: u64, counts: Counts) {
    let folder = Folder::new();
    let model = kind.make(&folder);
    let base = if kind.source == Source::Backing { folder.read("base") } else { Vec::new() };
    let (opener, budget) = (Base(base), Budget::default());
    let request = Request { opener: &opener, snapshot: None, budget: &budget };
    let file = Arc::new(PowerCut::new("image", folder.read("image")));
    let disk = open_as("qcow2", file.clone(), &request).unwrap();
    let history = scenario(&*disk, &file, model, seed);
    let table = |bytes: &[u8]| bytes[48..60].to_vec();
    let has_grown = table(&folder.read("image")) != table(&read_all(&*file));
    assert!(
        has_grown || !kind.options.contains("refcount_bits=64"),
        "the refcount table is where it was: {} to {} bytes",
        folder.read("image").len(),
        file.size()
    );
    let all: Vec<Cut> = file.prefixes().chain(file.reordered(seed, counts.reordered)).collect();
    let every = all.len().div_ceil(counts.looked_at);
    let all: Vec<Cut> = all.into_iter().rev().step_by(every).collect();
    let every = all.len().div_ceil(counts.checked);
    for (index, cut) in all.into_iter().enumerate() {
        let bytes = read_all(&cut.disk);
        let left = open_as("qcow2", Arc::new(Memory::new("cut", bytes.clone())), &request).unwrap();
        history.check(&cut, &read_all(&*left));
        if index % every == 0 {
            folder.write("cut", &bytes);
            // Lost space is status 3.
            let checked = toolbox::command("qemu-img").args(["check", "-f", "qcow2"]).arg(folder.path("cut")).output();
            let checked = checked.unwrap();
            let text = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(matches!(checked.status.code(), Some(0 | 3)), "{kind:?}, {} steps: {text}", cut.steps);
            if kind.source == Source::Snapshot {
                folder.run("qemu-img convert -l snapshot.name=before -O raw cut before");
                assert!(folder.read("before") == folder.read("content"), "the snapshot has changed");
            }
        }
    }
    folder.write("image", &read_all(&*file));
    kind.check(&folder, history.states.last().unwrap());
}

fn kinds() -> Vec<Kind> {
    let kind = |source, options: &str| Kind { source, options: options.to_owned(), size: 600 * 512 };
    vec![
        // The refcount table grows.
        Kind { size: 7800 * 512, ..kind(Source::Backing, "cluster_size=512,refcount_bits=64") },
        kind(Source::Full, "cluster_size=1k"),
        kind(Source::Compressed, "cluster_size=4k"),
        kind(Source::Backing, "cluster_size=64k"),
        kind(Source::Backing, "compat=0.10,cluster_size=4k"),
        kind(Source::Snapshot, "cluster_size=4k"),
        kind(Source::Snapshot, "cluster_size=16k,extended_l2=on"),
        kind(Source::Empty, "cluster_size=512,refcount_bits=1"),
    ]
}

#[test]
fn a_cut_of_the_power_leaves_what_was_flushed() {
    for (kind, seed) in kinds().iter().zip(1..) {
        cut(kind, seed, SHORT);
    }
}

#[test]
#[ignore = "takes minutes: a part of the long run"]
fn many_cuts_of_the_power_leave_what_was_flushed() {
    for seed in 100..100 + ROUNDS {
        kinds().iter().for_each(|kind| cut(kind, seed, LONG));
    }
}
