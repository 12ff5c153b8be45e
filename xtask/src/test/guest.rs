//! A whole Debian, found with `-i` in every kind of image, against the kernel's mount of its root volume.

use anyhow::{Result, ensure};

use super::golden::split;
use super::report::Report;
use super::stage::{Stage, arguments, equal};
use crate::guest::{Guest, RAW, VARIANTS, Variant};
use crate::mount::{Bind, User};
use crate::walk::{Field, Manifest};
use crate::workspace;

const ESP: &str = "boot/efi";

pub fn run(report: &mut Report, stage: &Stage) {
    let mut made = None;
    report.step("guest: made, and walked by the kernel", || {
        let guest = Guest::get(&workspace::target())?;
        let mount = guest.kernel_mount()?;
        let wanted = Manifest::of(mount.path(), true)?;
        mount.unmount()?;
        let files = wanted.entries.iter().filter(|entry| entry.kind == "file").count();
        ensure!(files >= 30_000, "the guest has {files} files, fewer than 30,000");
        // The directory may be one that an ordinary user cannot reach.
        let place = Bind::new(guest.directory())?;
        made = Some((guest, place, wanted));
        Ok(())
    });
    let Some((guest, place, wanted)) = made else { return };
    let mut walk = |variant: Variant, user: User| {
        report.step(&format!("walk guest {}, {user:?}", variant.name), || {
            let image = place.path().join(guest.image(variant)?).display().to_string();
            let seen = stage.seen(user, &arguments(["-a", &image, "-i"]), true)?;
            compare(&wanted, seen)
        });
    };
    for variant in VARIANTS.iter().filter(|variant| stage.long || variant.short) {
        walk(*variant, User::Nobody);
    }
    walk(RAW, User::Myself);
}

fn compare(wanted: &Manifest, seen: Manifest) -> Result<()> {
    let (system, inside) = split(seen, ESP);
    ensure!(inside.entries.len() == 6, "the EFI system partition shows {} paths, want 6", inside.entries.len());
    let without_esp = Manifest {
        seen_by: wanted.seen_by,
        entries: wanted.entries.iter().filter(|entry| entry.path != ESP).cloned().collect(),
    };
    equal(&without_esp, &system, &[] as &[Field])
}
