//! What was deleted from ext and FAT: the search through all that is left, and everything that it yields.
#![no_main]

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use filesystems::{Deleted, FileSystem, Kind, Options, Parent, State};
use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("deleted"));

/// Nodes whose content is looked at, and living files whose versions are.
const MOST: usize = 60;

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((replay, input)) = input.split_first() else { return };
    let Some(disk) = SEEDS.patched(input) else { return };
    let mut options = Options::default();
    options.replay = replay % 4 != 0;
    let fs = match filesystems::open(Arc::new(disk), &options) {
        Ok(fs) => fs,
        Err(error) => return exercise::one_line(&error),
    };
    let forensics = match fs.forensics() {
        Ok(forensics) => forensics,
        Err(error) => return exercise::one_line(&error),
    };
    match forensics.deleted() {
        Ok(list) => all(&*fs, &list),
        Err(error) => exercise::one_line(&error),
    }
    let mut living = Vec::new();
    let _ = fs.read_dir(fs.root(), 0, &mut |entry| {
        living.push(entry.node);
        living.len() < MOST
    });
    for node in living.iter().step_by(9) {
        let mut seen = 0;
        let versions = forensics.versions(*node, &mut |one| {
            content(&*fs, one);
            seen += 1;
            seen < MOST
        });
        if let Err(error) = versions {
            exercise::one_line(&error);
        }
    }
}

fn all(fs: &dyn FileSystem, list: &[Deleted]) {
    let nodes: HashSet<_> = list.iter().map(|one| one.node).collect();
    for (index, one) in list.iter().enumerate() {
        if let Parent::Deleted(parent) = one.parent {
            assert!(nodes.contains(&parent), "the directory of {one:?} is not in the list");
        }
        if let Some(name) = &one.name {
            assert!(!name.is_empty() && !name.contains(&0) && !name.contains(&b'/'), "{one:?}");
        }
        if index < MOST {
            content(fs, one);
        }
    }
}

fn content(fs: &dyn FileSystem, one: &Deleted) {
    let stat = match fs.stat(one.node) {
        Ok(stat) => stat,
        Err(error) => return exercise::one_line(&error),
    };
    assert!(one.lost.iter().all(|lost| lost.start < lost.end && lost.end <= stat.size), "{one:?} of {}", stat.size);
    assert!(one.lost.windows(2).all(|pair| pair[0].end < pair[1].start), "{one:?}");
    assert!(one.lost.is_empty() || !matches!(one.state, State::Intact | State::Unproven), "{one:?}");
    let _ = (fs.xattrs(one.node), fs.read_link(one.node));
    let _ = fs.forensics().and_then(|forensics| forensics.versions(one.node, &mut |_| true));
    let _ = fs.read_dir(one.node, 0, &mut |entry| !entry.name.is_empty());
    if stat.kind != Kind::File {
        return;
    }
    let mut buf = vec![0; 5000];
    for at in [0, 4000, stat.size / 2, stat.size.saturating_sub(1), stat.size] {
        let end = at.saturating_add(buf.len() as u64).min(stat.size);
        let is_gone = one.lost.iter().any(|lost| lost.start < end && at < lost.end);
        match fs.read_at(one.node, &mut buf, at) {
            Ok(len) => {
                assert_eq!(len as u64, end.saturating_sub(at), "a short read at {at} of {one:?}");
                assert!(!is_gone, "what is gone is read at {at} of {one:?}");
            }
            Err(error) => exercise::one_line(&error),
        }
    }
    for at in one.lost.iter().take(MOST).map(|lost| lost.start).chain([0]).filter(|at| *at < stat.size) {
        if let Ok(extent) = fs.extent_at(one.node, at) {
            assert!(extent.len > 0 && extent.len <= stat.size - at, "{extent:?} at {at} of {one:?}");
        }
    }
}
