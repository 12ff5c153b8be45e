//! The packages that each purpose needs, and how they get onto the machine.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use toolbox::{PACKAGES, Package};

pub use toolbox::Purpose;

use crate::command::{command, pass_through};
use crate::mount::is_root;
use crate::{bitlocker, fuse};

/// The programs that have been asked for, and nothing else, until [`close_toolbox`].
static TOOLBOX: Mutex<Option<TempDir>> = Mutex::new(None);

/// Sees to it that everything for `purpose` is there, or says in one line what does it. From then on outside programs
/// are only found if they are listed for one of the purposes that were asked for.
pub fn ensure(purpose: Purpose) -> Result<()> {
    install(purpose)?;
    put_into_toolbox(purpose)?;
    if matches!(purpose, Purpose::Demo | Purpose::Test | Purpose::Bench) {
        // Tests and benchmarks also mount as an ordinary user.
        fuse::ensure(purpose != Purpose::Demo)?;
    }
    if purpose == Purpose::Test {
        bitlocker::ensure()?;
    }
    Ok(())
}

fn install(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    println!("missing for {purpose:?}:");
    for package in &missing {
        println!("  {:23} {}", package.name, package.reason);
    }
    if !is_root() || installed("apt-get").is_none() {
        bail!("install them with: sudo apt-get install --no-install-recommends -y {}", names.join(" "));
    }
    pass_through(&mut apt_get(&["-qq", "update"]))?;
    pass_through(apt_get(&["-qq", "-o=Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends"]).args(&names))?;
    match self::missing(purpose).first() {
        Some(package) => {
            let programs = package.programs().collect::<Vec<_>>();
            bail!("apt-get installed {}, yet not all of {programs:?} is there", package.name)
        }
        None => Ok(()),
    }
}

/// Prints the whole table, with what is missing.
pub fn list() {
    println!("{:23} {:9} for", "package", "");
    for package in PACKAGES {
        let state = if is_installed(package) { "installed" } else { "missing" };
        println!("{:23} {state:9} {:?}: {}", package.name, package.purposes, package.reason);
    }
}

fn of(purpose: Purpose) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(move |package| package.purposes.contains(&purpose))
}

fn missing(purpose: Purpose) -> Vec<&'static Package> {
    of(purpose).filter(|package| !is_installed(package)).collect()
}

fn is_installed(package: &Package) -> bool {
    package.programs().all(|program| installed(program).is_some())
}

/// Where a program is, in the toolbox or not.
fn installed(program: &str) -> Option<PathBuf> {
    toolbox::find(program, &toolbox::whole_path())
}

/// Links to the programs of `purpose`, in a directory that everybody may read.
fn put_into_toolbox(purpose: Purpose) -> Result<()> {
    let mut kept = TOOLBOX.lock().expect("nobody panics with it");
    if kept.is_none() {
        let directory = TempDir::with_prefix("imgmount-toolbox-")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        toolbox::open(directory.path());
        *kept = Some(directory);
    }
    let directory = kept.as_ref().context("it was made")?.path();
    for program in of(purpose).flat_map(Package::programs) {
        match symlink(installed(program).with_context(|| program.to_owned())?, directory.join(program)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the toolbox, in the end.
pub fn close_toolbox() {
    drop(TOOLBOX.lock().map(|mut kept| kept.take()));
}

/// apt calls programs of its own.
fn apt_get(arguments: &[&str]) -> Command {
    let mut command = command("apt-get", arguments);
    command.env("PATH", toolbox::whole_path()).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_users_have_no_path() {
        assert!(installed("sh").is_some());
        assert!(installed("no-such-program-anywhere").is_none());
    }

    #[test]
    fn the_demo_needs_nothing_but_fuse_and_what_every_system_has() {
        assert_eq!(of(Purpose::Demo).map(|package| package.name).collect::<Vec<_>>(), ["fuse3", "coreutils"]);
    }
}
