//! Blocks that were discarded: they read as zeros, and nothing else tells.
//!
//! A discard takes whole free runs, but for a rest at both ends that is shorter than the device's unit: so the middle
//! of each of a file's runs shows it.

use super::found::Found;
use crate::ext::layout::mode;
use crate::ext::run;
use crate::ext::volume::Volume;
use crate::forensics::{Evidence, State};
use crate::length::in_memory;

/// Takes the promise from files that read as zeros where blocks may have been discarded. One block of each of their runs
/// is read, in the order of the disk.
pub(super) fn doubt(volume: &Volume, found: &mut [Found]) {
    let (disk, size) = (volume.disk(), volume.block_size());
    let mut wanted: Vec<(u64, usize)> = Vec::new();
    for (index, found) in found.iter().enumerate() {
        // What a directory holds is known from its names, wherever they were found.
        if found.deleted.state != State::Intact || found.version.inode.mode & mode::TYPE == mode::DIRECTORY {
            continue;
        }
        let end = found.version.inode.size.div_ceil(size);
        for run in found.version.runs.iter().filter(|run| run.logical < end) {
            if let run::State::Written(at) = run.state {
                wanted.push((at + run.len.min(end - run.logical) / 2, index));
            }
        }
    }
    wanted.sort_unstable();
    let mut block = vec![0; in_memory(size)];
    for (number, index) in wanted {
        let at = number * size;
        let Some(deleted) = found.get_mut(index).map(|found| &mut found.deleted) else { continue };
        if deleted.state != State::Intact {
            continue;
        }
        let is_hole = disk.extent_at(at).is_ok_and(|extent| extent.data.reads_zero());
        if is_hole || disk.read_at(&mut block, at).is_err() || block.iter().all(|byte| *byte == 0) {
            deleted.state = State::Unproven;
            deleted.evidence.push(Evidence {
                what: "block of zeros, as a discard leaves it,",
                offset: at,
                transaction: None,
                in_journal: false,
                checksum: None,
            });
        }
    }
}
