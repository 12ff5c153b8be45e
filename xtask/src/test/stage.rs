//! A place that root and an ordinary user can both reach: the programs under test, and scratch images.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::mount::{GuestMount, User, is_root};
use crate::walk::{Field, Manifest, compare};

/// Differences of one comparison that are printed.
const SHOWN: usize = 20;

/// The programs, copied to where everybody may run them, and a directory for images.
pub struct Stage {
    directory: TempDir,
    pub program: PathBuf,
    walker: PathBuf,
    /// Whether there is time for everything.
    pub long: bool,
}

impl Stage {
    pub fn new(program: &Path, long: bool) -> Result<Self> {
        let directory = TempDir::with_prefix("imgmount-test-")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let copy = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = directory.path().join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o755))?;
            Ok(to)
        };
        let (program, walker) = (copy(program, "imgmount")?, copy(&std::env::current_exe()?, "xtask")?);
        Ok(Self { directory, program, walker, long })
    }

    /// Where an image of this name goes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The users that tests run as: an ordinary one always, root if we are it.
    pub fn users() -> &'static [User] {
        if is_root() { &[User::Nobody, User::Myself] } else { &[User::Myself] }
    }

    /// What `user` sees through a mount of imgmount, which is unmounted again.
    pub fn seen(&self, user: User, arguments: &[String], extents: bool) -> Result<Manifest> {
        let mount = GuestMount::new(&self.program, user, arguments)?;
        let manifest = mount.manifest(&self.walker, extents)?;
        mount.unmount()?;
        Ok(manifest)
    }
}

/// An error that lists the differences, if there are any.
pub fn equal(wanted: &Manifest, seen: &Manifest, ignored: &[Field]) -> Result<()> {
    let differences = compare(wanted, seen, ignored);
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = differences.iter().take(SHOWN).map(|difference| format!("  {difference}")).collect();
    let (all, paths) = (differences.len(), wanted.entries.len());
    bail!("{all} differences in {paths} paths, the first are:\n{}", lines.join("\n"))
}

/// The arguments as imgmount gets them.
pub fn arguments<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
