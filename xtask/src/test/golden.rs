//! The guest of this repository: what imgmount shows of it is what the kernel and mtools showed when it was made.

use std::fs;

use super::report::Report;
use super::stage::{Stage, arguments, equal};
use crate::walk::{self, Field, Manifest};
use crate::workspace;

/// Where the guest's fstab wants its EFI system partition.
const ESP: &str = "boot/efi";

pub fn run(report: &mut Report, stage: &Stage) {
    for user in Stage::users() {
        report.step(&format!("golden demo guest, {user:?}"), || {
            let golden = workspace::root().join("tests/golden/demo");
            for name in ["base.qcow2", "guest.qcow2"] {
                fs::copy(golden.join(name), stage.path(name))?;
            }
            let image = stage.path("guest.qcow2").display().to_string();
            let seen = stage.seen(*user, &arguments(["-a", &image, "-i"]), true)?;
            let (system, inside) = split(seen, ESP);
            let (wanted, _) = split(walk::load(&golden.join("root.json"), true)?, ESP);
            equal(&wanted, &system, &[])?;
            let from_mtools = [
                Field::Owner,
                Field::Mode,
                Field::Directories,
                Field::Mtime,
                Field::Atime,
                Field::Ctime,
                Field::Blocks,
                Field::Data,
            ];
            equal(&walk::load(&golden.join("esp.json"), false)?, &inside, &from_mtools)
        });
    }
}

/// What is not below a mount point, and what is, with paths from there.
pub fn split(manifest: Manifest, point: &str) -> (Manifest, Manifest) {
    let Manifest { seen_by, entries } = manifest;
    let (inside, outside) = entries
        .into_iter()
        .partition(|entry| entry.path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let mut inside = Manifest { seen_by, entries: inside };
    for entry in &mut inside.entries {
        let rest = entry.path.get(point.len() + 1..).unwrap_or_default();
        entry.path = if rest.is_empty() { ".".to_owned() } else { rest.to_owned() };
    }
    (Manifest { seen_by, entries: outside }, inside)
}
