//! The program on made-up trees, a place to mount it, and the users who do.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use toolbox::NOBODY;

/// The program `synthetic`. Cargo builds examples only together with all tests, so it is asked to.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let mut cargo = toolbox::command(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--example", "synthetic"]);
        if profile.file_name() == Some(OsStr::new("release")) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "cargo build --example synthetic");
        profile.join("examples/synthetic")
    })
}

/// Who runs the commands of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum User {
    Me,
    Other,
}

/// Me; and if I am root, an ordinary user as well.
pub fn users() -> Vec<User> {
    if toolbox::is_root() { vec![User::Me, User::Other] } else { vec![User::Me] }
}

/// A directory to mount on, and what is mounted there.
pub struct Place {
    pub user: User,
    pub dir: TempDir,
    /// Where this user finds the program.
    pub program: PathBuf,
}

impl Place {
    pub fn new(user: User) -> Self {
        assert!(Path::new("/dev/fuse").exists(), "no /dev/fuse");
        let dir = tempfile::Builder::new().prefix("imgmount test").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("m")).unwrap();
        let mut program = program().to_owned();
        if user == User::Other {
            for path in [dir.path(), &dir.path().join("m")] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            // The source tree may lie where only root can look.
            let copy = dir.path().join("synthetic");
            toolbox::copy_program(program, &copy);
            program = copy;
        }
        Self { user, dir, program }
    }

    /// Mounts in the background.
    pub fn mounted(user: User, options: &[&str]) -> Self {
        let place = Self::new(user);
        let output = place.program(options).arg("m").output().unwrap();
        assert!(output.status.success(), "{user:?} {options:?}: {output:?}");
        place
    }

    pub fn point(&self) -> PathBuf {
        self.dir.path().join("m")
    }

    /// Any command, run in the directory that holds the mountpoint `m`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.user {
            User::Me => toolbox::command(program),
            User::Other => toolbox::as_nobody(&toolbox::command(program)),
        };
        command.current_dir(self.dir.path());
        command
    }

    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    pub fn shell(&self, script: &str) -> Output {
        self.command("sh").args(["-c", script]).output().unwrap()
    }

    pub fn unmount(&self, options: &[&str]) -> Output {
        self.program(&["unmount"]).args(options).arg("m").output().unwrap()
    }

    pub fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(&*self.point().to_string_lossy().replace(' ', "\\040"))
    }

    /// The process that serves, by the attribute of the root.
    pub fn server(&self) -> u32 {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(self.point(), "user.imgmount.pid", &mut value[..]).unwrap();
        std::str::from_utf8(&value[..len]).unwrap().parse().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = toolbox::command("fusermount3").arg("-uz").arg(self.point()).output();
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `what` is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        sleep(Duration::from_millis(5));
    }
}

pub fn is_running(pid: u32) -> bool {
    // A process that has ended and that nobody waits for stays as a zombie.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
