//! Mounts by the kernel and by imgmount, that are gone when they are dropped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use toolbox::NOBODY;

use crate::command::{any_output, command, run};
use crate::walk::Manifest;

/// How long an unmounted server may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The user who runs xtask.
    Myself,
    /// An ordinary user, when xtask runs as root.
    Nobody,
}

impl User {
    /// A command of this user.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match self {
            Self::Myself => command(program, [""; 0]),
            Self::Nobody => {
                let mut command = toolbox::as_nobody(&command(program, [""; 0]));
                command.stdin(Stdio::null());
                command
            }
        }
    }

    /// Hands a file or directory to this user.
    fn give(self, path: &Path) -> Result<()> {
        if self == Self::Nobody {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A part of an image in bytes: offset and length.
pub type Range = (u64, u64);

/// A mount by the kernel through a loop device, which goes with it.
pub struct KernelMount(TempDir);

impl KernelMount {
    /// Mounts a part of an image with mount's own options, for example `ro,noload`.
    pub fn new(image: &Path, range: Option<Range>, options: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("imgmount-kernel-")?;
        let mut options = format!("loop,{options}");
        if let Some((offset, length)) = range {
            options.push_str(&format!(",offset={offset},sizelimit={length}"));
        }
        run(command("mount", ["-o", &options]).arg(image).arg(directory.path()))?;
        Ok(Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Unmounts; unlike a drop it says what went wrong.
    pub fn unmount(self) -> Result<()> {
        run(&mut command("umount", [self.path()]))
    }
}

impl Drop for KernelMount {
    fn drop(&mut self) {
        release(&mut self.0, "umount", &["-l"]);
    }
}

/// A mount by imgmount.
pub struct GuestMount {
    directory: TempDir,
    program: PathBuf,
    user: User,
    /// The process that serves it.
    pub server: u32,
    mounted: bool,
}

impl GuestMount {
    /// Runs `imgmount ARGUMENTS DIR` as `user`, with a directory of its own.
    pub fn new(program: &Path, user: User, arguments: &[String]) -> Result<Self> {
        let directory = TempDir::with_prefix("imgmount-guest-")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let (point, pid_file) = (directory.path().join("mnt"), directory.path().join("pid"));
        fs::create_dir(&point)?;
        fs::write(&pid_file, "")?;
        for path in [&point, &pid_file, &directory.path().to_owned()] {
            user.give(path)?;
        }
        let mut mount = Self { directory, program: program.to_owned(), user, server: 0, mounted: true };
        run(user.command(program).args(arguments).arg("--pid-file").arg(&pid_file).arg(&point))?;
        let text = fs::read_to_string(&pid_file)?;
        mount.server = text.trim().parse().with_context(|| format!("the pid file holds {text:?}"))?;
        Ok(mount)
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// What the user who mounted sees; `walker` is xtask, where that user can run it.
    pub fn manifest(&self, walker: &Path, extents: bool) -> Result<Manifest> {
        if self.user == User::Myself {
            return Manifest::of(&self.path(), extents);
        }
        let mut command = self.user.command(walker);
        command.arg("manifest").arg(self.path()).args(extents.then_some("--extents"));
        let output = any_output(&mut command)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// `imgmount unmount DIR`: afterwards the server must be gone.
    pub fn unmount(mut self) -> Result<()> {
        run(self.user.command(&self.program).arg("unmount").arg(self.path()))?;
        self.mounted = false;
        if runs(self.server) {
            bail!("`imgmount unmount` returned and process {} still runs", self.server);
        }
        Ok(())
    }
}

impl Drop for GuestMount {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        let point = self.path();
        let (program, flags) = if is_root() { ("umount", "-l") } else { ("fusermount3", "-uz") };
        let _ = command(program, [""; 0]).arg(flags).arg(&point).output();
        let since = Instant::now();
        while self.server != 0 && runs(self.server) && since.elapsed() < GONE {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Removing the directory under a live mount would reach into the guest.
        if is_mounted(&point) {
            self.directory.disable_cleanup(true);
        }
    }
}

/// A directory that is bound to a second place, where other users can reach it.
pub struct Bind(TempDir);

impl Bind {
    pub fn new(source: &Path) -> Result<Self> {
        let directory = TempDir::with_prefix("imgmount-bind-")?;
        run(command("mount", ["--bind"]).arg(source).arg(directory.path()))?;
        Ok(Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        release(&mut self.0, "umount", &["-l"]);
    }
}

fn release(directory: &mut TempDir, program: &str, flags: &[&str]) {
    if is_mounted(directory.path()) {
        let _ = command(program, [""; 0]).arg(directory.path()).output();
    }
    if is_mounted(directory.path()) {
        let _ = command(program, [""; 0]).args(flags).arg(directory.path()).output();
    }
    if is_mounted(directory.path()) {
        directory.disable_cleanup(true);
    }
}

/// Whether a process runs; one that has ended and that nobody has asked after does not.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// Whether something is mounted here; unknown counts as yes.
pub fn is_mounted(path: &Path) -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return true };
    let path = path.to_string_lossy();
    table.lines().any(|line| line.split(' ').nth(4) == Some(&path))
}
