//! The ceiling of sequential reading: a FUSE server that answers zeros, with the settings of imgmount's mounts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::command::{command, pass_through, run};
use crate::mount::User;
use crate::workspace;

/// How long the server may take to mount.
const PATIENCE: Duration = Duration::from_secs(10);

/// Builds the server and puts it where an ordinary user can run it.
pub fn build(directory: &Path) -> Result<PathBuf> {
    pass_through(&mut workspace::cargo(&["build", "--release", "--quiet", "--example", "zeros"]))?;
    let to = directory.join("zeros");
    fs::copy(workspace::target().join("release/examples/zeros"), &to)?;
    Ok(to)
}

/// A mount of zeros by an ordinary user, gone when it is dropped.
pub struct Zeros {
    directory: TempDir,
    server: Child,
}

impl Zeros {
    pub fn mount(program: &Path, size: u64) -> Result<Self> {
        let directory = TempDir::with_prefix("imgmount-zeros-")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
        let server = User::Nobody.command(program).arg(size.to_string()).arg(directory.path()).spawn()?;
        let mut zeros = Self { directory, server };
        let since = Instant::now();
        // Root may not look into the mount of another user: only the table of mounts tells.
        let point = format!(" {} ", zeros.directory.path().display());
        while !fs::read_to_string("/proc/self/mounts")?.contains(&point) {
            ensure!(zeros.server.try_wait()?.is_none() && since.elapsed() < PATIENCE, "the server of zeros failed");
            sleep(Duration::from_millis(5));
        }
        Ok(zeros)
    }

    /// The file of zeros.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("zeros")
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // It ends when it is unmounted; if it cannot be, it is ended.
        if run(command("umount", ["-l"]).arg(self.directory.path())).is_err() {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
