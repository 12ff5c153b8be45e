//! What a mount shows and how it ends, on a tree that is made up in memory (`examples/synthetic.rs`).
//!
//! Everything is done by the user who runs the tests; if that is root, the second half also as user 1000. Needs
//! /dev/fuse and fusermount3 (`apt install fuse3`).

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use tempfile::TempDir;

const EUCLEAN: i32 = 117;
const EOPNOTSUPP: i32 = 95;
const ERANGE: i32 = 34;
const ENODATA: i32 = 61;
const ENXIO: i32 = 6;

/// The program `synthetic`. Cargo builds examples only together with all tests, so it is asked to.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let mut cargo = Command::new(env!("CARGO"));
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
enum User {
    Me,
    Other,
}

/// Me; and if I am root, an ordinary user as well.
fn users() -> Vec<User> {
    if rustix::process::geteuid().is_root() { vec![User::Me, User::Other] } else { vec![User::Me] }
}

/// A directory to mount on, and what is mounted there.
struct Place {
    user: User,
    dir: TempDir,
    /// Where this user finds the program.
    program: PathBuf,
}

impl Place {
    fn new(user: User) -> Self {
        assert!(Path::new("/dev/fuse").exists(), "no /dev/fuse");
        let dir = tempfile::Builder::new().prefix("imgmount test").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("m")).unwrap();
        let mut program = program().to_owned();
        if user == User::Other {
            for path in [dir.path(), &dir.path().join("m")] {
                chown(path, Some(1000), Some(1000)).unwrap();
            }
            // The source tree may lie where only root can look.
            let copy = dir.path().join("synthetic");
            fs::copy(program, &copy).unwrap();
            program = copy;
        }
        Self { user, dir, program }
    }

    /// Mounts in the background.
    fn mounted(user: User, options: &[&str]) -> Self {
        let place = Self::new(user);
        let output = place.program(options).arg("m").output().unwrap();
        assert!(output.status.success(), "{user:?} {options:?}: {output:?}");
        place
    }

    fn point(&self) -> PathBuf {
        self.dir.path().join("m")
    }

    /// Any command, run in the directory that holds the mountpoint `m`.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.user {
            User::Me => Command::new(program),
            User::Other => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "--"]).arg(program);
                command
            }
        };
        command.current_dir(self.dir.path());
        command
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn shell(&self, script: &str) -> Output {
        self.command("sh").args(["-c", script]).output().unwrap()
    }

    fn unmount(&self, options: &[&str]) -> Output {
        self.program(&["unmount"]).args(options).arg("m").output().unwrap()
    }

    fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(&*self.point().to_string_lossy().replace(' ', "\\040"))
    }

    /// The process that serves, by the attribute of the root.
    fn server(&self) -> u32 {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(self.point(), "user.imgmount.pid", &mut value[..]).unwrap();
        std::str::from_utf8(&value[..len]).unwrap().parse().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = Command::new("fusermount3").arg("-uz").arg(self.point()).output();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `what` is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        sleep(Duration::from_millis(5));
    }
}

fn is_running(pid: u32) -> bool {
    // A process that has ended and that nobody waits for stays as a zombie.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn attributes_are_the_file_systems_own() {
    let place = Place::mounted(User::Me, &[]);
    let at = |name: &str| fs::symlink_metadata(place.point().join(name)).unwrap();

    let root = at("");
    assert_eq!((root.ino(), root.uid(), root.gid(), root.mode()), (2, 12, 34, 0o040_755));
    let big = at("big");
    assert_eq!((big.size(), big.blocks(), big.blksize(), big.mode()), (300 << 20, 300 << 11, 4096, 0o100_640));
    assert_eq!((big.mtime(), big.mtime_nsec()), (86_400, 123_456_789));
    let times = at("times");
    assert_eq!((times.atime(), times.atime_nsec()), (-62_135_596_800, 5));
    assert_eq!((times.mtime(), times.mtime_nsec()), (15_032_385_535, 999_999_999));
    assert_eq!(at("program").mode(), 0o104_755);
    assert_eq!(at("null").rdev(), (1 << 8) | 3);
    // What the C library makes of the numbers 259 and 70000.
    assert_eq!(at("disk").rdev(), (70_000 & 0xff) | (259 << 8) | ((70_000 & !0xff) << 12));
    assert!(at("disk").file_type().is_block_device() && at("null").file_type().is_char_device());
    assert!(at("fifo").file_type().is_fifo() && at("socket").file_type().is_socket());
    assert_eq!(fs::read_link(place.point().join("link")).unwrap(), Path::new("many"));
    assert_eq!((at("hard").ino(), at("hard").nlink()), (at("hard too").ino(), 2));
    let odd = place.point().join(OsStr::from_bytes(&[0xff, b'\n', 0xfe]));
    assert_eq!(fs::symlink_metadata(odd).unwrap().ino(), at("hard").ino());
    assert_ne!(at("number one").ino(), 1);

    let figures = rustix::fs::statvfs(place.point()).unwrap();
    assert_eq!((figures.f_frsize, figures.f_blocks, figures.f_bfree, figures.f_bavail), (4096, 1000, 300, 200));
    assert_eq!((figures.f_files, figures.f_ffree, figures.f_namemax), (60_000, 5000, 255));
}

#[test]
fn directories_list_every_name_once_and_numbers_never_change() {
    let place = Place::mounted(User::Me, &[]);
    for _ in 0..2 {
        let entries: Vec<_> = fs::read_dir(place.point().join("flat")).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 20_000);
        let names: HashMap<_, _> = entries.iter().map(|entry| (entry.file_name(), entry.ino())).collect();
        assert_eq!(names.len(), 20_000);
        for entry in entries.iter().step_by(997) {
            assert_eq!(entry.metadata().unwrap().ino(), entry.ino());
            assert!(entry.file_type().unwrap().is_file());
        }
    }
    // Half of the entries do not say their kind themselves, and one cannot be looked at.
    let kinds: HashMap<_, _> = fs::read_dir(place.point())
        .unwrap()
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.file_type())).unwrap())
        .collect();
    assert!(kinds[OsStr::new("many")].as_ref().unwrap().is_dir());
    assert!(kinds[OsStr::new("fifo")].as_ref().unwrap().is_fifo());
    assert!(kinds.contains_key(OsStr::new("lost")));
    // Through the dots as well.
    let up = place.shell("ls -a m/many/dir000 | head -3 | tr '\\n' ' '; ls -d m/many/dir000/../..");
    assert_eq!(text(&up.stdout), ". .. file0000 m/many/dir000/../..\n");
}

#[test]
fn a_directory_can_be_left_and_taken_up_again() {
    let place = Place::mounted(User::Me, &[]);
    let dir = File::open(place.point().join("flat")).unwrap();
    // A buffer for a few names only, so that the kernel goes on in the middle, from `.` to the last.
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(100);
    let mut reader = rustix::fs::RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        names.push(entry.unwrap().file_name().to_owned());
    }
    assert_eq!(names.len(), 20_002);
    assert_eq!(
        (names[0].as_c_str(), names[1].as_c_str(), names[2].as_c_str()),
        (c".", c"..", c"a-file-with-a-name-000000")
    );
    assert_eq!(names[20_001].as_c_str(), c"a-file-with-a-name-019999");
}

#[test]
fn content_from_every_offset() {
    let place = Place::mounted(User::Me, &[]);
    let path = place.point().join("big");
    let node = fs::metadata(&path).unwrap().ino();
    let file = File::open(&path).unwrap();
    let byte = |offset: u64| {
        let n = ((offset + node) % 1_048_573) as usize;
        ((n * 31) >> 3) as u8 ^ n as u8
    };
    let size = 300 << 20;
    for (offset, len) in [(0, 10), (4095, 3), (1_048_570, 100_000), (123_456_789, 2_000_000), (size - 5, 5)] {
        let mut data = vec![0; len];
        file.read_exact_at(&mut data, offset).unwrap();
        assert!(data.iter().enumerate().all(|(n, found)| *found == byte(offset + n as u64)), "{offset}+{len}");
    }
    assert_eq!(file.read_at(&mut [0; 10], size - 4).unwrap(), 4);
    assert_eq!(file.read_at(&mut [0; 10], size).unwrap(), 0);
    // Without the page cache, in the largest pieces.
    let direct = place.shell("dd if=m/big bs=4M iflag=direct status=none | cmp - m/big && echo same");
    assert_eq!(text(&direct.stdout), "same\n", "{direct:?}");
}

#[test]
fn holes_are_found() {
    let place = Place::mounted(User::Me, &[]);
    let file = File::open(place.point().join("sparse")).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(data)).unwrap();
        found.push((data, at));
    }
    let (step, part) = (16u64 << 20, 64u64 << 10);
    let mut wanted = vec![(0, part)];
    wanted.extend((1..8).map(|n| (n * step - part, n * step + part)));
    wanted.push((8 * step - part, 8 * step));
    assert_eq!(found, wanted);
    assert_eq!(seek(&file, SeekFrom::Hole(3 * part)).unwrap(), 3 * part);
    assert_eq!(seek(&file, SeekFrom::Data(8 * step)).unwrap_err().raw_os_error(), ENXIO);
    let copy = place.shell("cp --sparse=auto m/sparse copy && cmp m/sparse copy && du -B1 copy");
    assert_eq!(text(&copy.stdout), "1048576\tcopy\n", "{copy:?}");
}

#[test]
fn extended_attributes() {
    let place = Place::mounted(User::Me, &["-o", "uid=77,gid=78,umask=022"]);
    let path = place.point().join("tagged");
    let get = |name: &str, buffer: &mut [u8]| rustix::fs::getxattr(&path, name, buffer).map_err(|e| e.raw_os_error());
    let mut buffer = vec![0; 65_536];
    assert_eq!(get("user.small", &mut buffer), Ok(5));
    assert_eq!(&buffer[..5], b"value");
    assert_eq!(get("user.small", &mut [0; 4]), Err(ERANGE));
    assert_eq!(get("user.none", &mut buffer), Err(ENODATA));
    assert_eq!(get("user.empty", &mut buffer), Ok(0));
    assert_eq!(get("trusted.large", &mut buffer), Ok(60_000));
    assert_eq!(rustix::fs::getxattr_query(&path, "trusted.large").unwrap(), 60_000);
    assert_eq!(get("system.posix_acl_access", &mut buffer), Ok(4 + 5 * 8));
    let len = rustix::fs::listxattr(&path, &mut buffer[..]).unwrap();
    let names: Vec<_> = buffer[..len].split(|byte| *byte == 0).map(text).collect();
    let wanted = ["user.small", "user.empty", "security.selinux", "trusted.large", "system.posix_acl_access"];
    assert_eq!(names[..5], wanted);
    assert_eq!(names[5..], ["user.imgmount.uid", "user.imgmount.gid", ""]);
    assert_eq!(rustix::fs::listxattr(&path, &mut [0u8; 10][..]).unwrap_err().raw_os_error(), ERANGE);
    // The owner is another one, and the guest's own is here.
    let shown = fs::metadata(&path).unwrap();
    assert_eq!((shown.uid(), shown.gid(), shown.mode()), (77, 78, 0o100_640));
    assert_eq!(get("user.imgmount.uid", &mut buffer), Ok(2));
    assert_eq!(&buffer[..2], b"12");
    assert_eq!(get("user.imgmount.gid", &mut buffer), Ok(2));
    assert_eq!(&buffer[..2], b"34");
    assert_eq!(fs::metadata(place.point().join("program")).unwrap().mode(), 0o104_755);
    assert!(is_running(place.server()));
}

#[test]
fn damage_stays_where_it_is() {
    let place = Place::mounted(User::Me, &[]);
    for (name, code) in [("corrupt", EUCLEAN), ("unsupported", EOPNOTSUPP), ("panic", 5), ("lost", EUCLEAN)] {
        // More than one of each: a panic must not cost a thread.
        for _ in 0..5 {
            let error = fs::read(place.point().join(name)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code), "{name}");
        }
    }
    assert_eq!(fs::read(place.point().join("hard")).unwrap().len(), 77);
    assert_eq!(fs::read(place.point().join("absent")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn nothing_can_be_written() {
    let place = Place::mounted(User::Me, &[]);
    for script in [
        "echo x > m/new",
        "echo x >> m/hard",
        "mkdir m/new",
        "rm m/hard",
        "rmdir m/many/dir000",
        "mv m/hard m/soft",
        "ln m/hard m/soft",
        "ln -s x m/soft",
        "chmod 777 m/hard",
        "chown 5 m/hard",
        "touch m/hard",
        "truncate -s 5 m/hard",
        "setfattr -n user.x -v y m/hard",
        "mknod m/pipe p",
    ] {
        let output = place.shell(&format!("LC_ALL=C; export LC_ALL; {script}"));
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains("Read-only file system"), "{script}: {error}");
    }
    let access = place.shell("test -w m/hard || echo w; test -x m/hard || echo x; test -x m/program && echo runs");
    assert_eq!(text(&access.stdout), "w\nx\nruns\n");
}

/// The flags of the mount, and that an error on the way leaves nothing behind.
#[test]
fn mounts_are_as_asked() {
    for user in users() {
        let place = Place::mounted(user, &["-o", "noexec", "-o", "max_read=65536"]);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = place.point().to_string_lossy().replace(' ', "\\040");
        let line = mounts.lines().find(|line| line.contains(&point)).unwrap();
        for part in [
            " ro,nosuid,nodev,noexec,",
            " - fuse.imgmount a\\040made-up,\\040\\134strange\\040image ro,",
            ",max_read=65536",
        ] {
            assert!(line.contains(part), "{user:?}: no {part:?} in {line}");
        }
        let seen = place.shell("cat m/secret | wc -c; ls m/flat | wc -l; find m/many -type f | wc -l");
        assert_eq!(text(&seen.stdout), "100\n20000\n30000\n", "{user:?}: {seen:?}");
        assert_eq!(place.unmount(&[]).status.code(), Some(0));
        assert!(!place.is_mounted());
    }
}

/// The options that turn the caches off.
#[test]
fn mounts_without_caches_show_the_same() {
    let place =
        Place::mounted(User::Me, &["-o", "direct_io", "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0"]);
    for _ in 0..2 {
        let script =
            "find m/many -type f -printf '%s\\n' | wc -l; cat m/many/dir000/file000? | wc -c; test -e m/no || echo no";
        let seen = place.shell(script);
        assert_eq!(text(&seen.stdout), "30000\n1665\nno\n", "{seen:?}");
    }
    assert_eq!(fs::metadata(place.point()).unwrap().ino(), 2);
    assert_eq!(fs::metadata(place.point().join("lost")).unwrap_err().raw_os_error(), Some(EUCLEAN));
}

#[test]
fn permissions_are_checked_for_others_only_with_allow_other() {
    if users().len() == 1 {
        return permissions_without_root();
    }
    let place = Place::mounted(User::Me, &["-o", "allow_other"]);
    let ordinary = Place::new(User::Other);
    let see = |script: &str| {
        let output = ordinary.command("sh").current_dir(place.dir.path()).args(["-c", script]).output().unwrap();
        (output.status.success(), text(&output.stdout))
    };
    assert_eq!(see("ls m/many | wc -l"), (true, "100\n".into()));
    // 0640 of another owner: no; the same with an ACL for user 1000: yes.
    assert!(!see("cat m/hard").0);
    assert!(see("cat m/tagged").0);
    assert!(!see("test -r m/secret").0);
    // Without allow_other the kernel lets nobody else in, not even root.
    let place = Place::mounted(User::Other, &[]);
    assert_eq!(fs::read_dir(place.point()).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// An ordinary user may read all of his image, whatever the guest's permissions say.
fn permissions_without_root() {
    let place = Place::mounted(User::Me, &[]);
    assert_eq!(fs::read(place.point().join("secret")).unwrap().len(), 100);
}

#[test]
fn the_command_returns_when_the_mount_can_be_used() {
    for user in users() {
        let place = Place::new(user);
        let start = Instant::now();
        let script = format!(
            "'{}' --slow-start 300 --pid-file pid --fd 5 m 5>byte; echo $?; ls m | wc -l",
            place.program.display()
        );
        let output = place.shell(&script);
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert_eq!(text(&output.stdout), "0\n22\n", "{user:?}: {output:?}");
        assert_eq!(fs::read(place.dir.path().join("byte")).unwrap(), [0]);
        let pid_file = place.dir.path().join("pid");
        let pid = fs::read_to_string(&pid_file).unwrap();
        assert!(pid.ends_with('\n'));
        let pid: u32 = pid.trim().parse().unwrap();
        // It has let go of everything that belongs to the command.
        let process = PathBuf::from(format!("/proc/{pid}"));
        assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
        for fd in ["fd/0", "fd/1", "fd/2"] {
            assert_eq!(fs::read_link(process.join(fd)).unwrap(), Path::new("/dev/null"));
        }
        let fds = fs::read_dir(process.join("fd")).unwrap().flatten().map(|fd| fs::read_link(fd.path()).unwrap());
        assert!(!fds.into_iter().any(|file| file.ends_with("byte")));
        let stat = fs::read_to_string(process.join("stat")).unwrap();
        let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
        assert_eq!(session, pid.to_string());
        let output = place.unmount(&["-v"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!is_running(pid) && !pid_file.exists() && !place.is_mounted());
    }
}

#[test]
fn errors_come_out_before_the_command_returns() {
    for user in users() {
        let place = Place::new(user);
        let missing = place.dir.path().join("missing");
        fs::write(place.dir.path().join("file"), "").unwrap();
        for (arguments, code, part) in [
            (&["--fail", "m"][..], 7, "told to fail"),
            (&["missing"], 1, "cannot mount on missing: No such file or directory"),
            (&["file"], 1, "cannot mount on file: not a directory"),
            (&["--fd", "99", "m"], 1, "cannot write to file descriptor 99: Bad file descriptor"),
            (&["--pid-file", "missing/pid", "m"], 1, "cannot write the pid file"),
            (&["-o", "rw", "m"], 1, "never writes"),
        ] {
            let output = place.program(arguments).output().unwrap();
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
            assert!(error.contains(part) && error.lines().count() == 1, "{arguments:?}: {error}");
            assert!(!place.is_mounted(), "{arguments:?}");
        }
        assert!(!missing.exists());
    }
    if users().len() == 2 {
        let place = Place::new(User::Other);
        let refused = |environment: &str, arguments: &[&str]| {
            let mut command = place.command("env");
            let output = command.arg(environment).arg(&place.program).args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            text(&output.stderr)
        };
        assert!(refused("FUSERMOUNT_PATH=/nowhere", &["m"]).contains("apt install fuse3"));
        assert!(refused("A=b", &["/usr"]).contains("no write access to mountpoint"));
        if !fs::read_to_string("/etc/fuse.conf").is_ok_and(|text| text.lines().any(|l| l.trim() == "user_allow_other"))
        {
            assert!(
                refused("A=b", &["-o", "allow_other", "m"]).contains("'user_allow_other' is set in /etc/fuse.conf")
            );
        }
        assert!(!place.is_mounted());
    }
}

#[test]
fn whatever_ends_the_command_early_ends_the_mount() {
    let place = Place::new(User::Me);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        let mut command = place.program(&["--slow-start", "600", "m"]).spawn().unwrap();
        sleep(Duration::from_millis(200));
        let pid = rustix::process::Pid::from_raw(command.id().cast_signed()).unwrap();
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", command.id())).unwrap();
        let server: u32 = children.trim().parse().unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(!command.wait().unwrap().success());
        until("the server has ended", || !is_running(server));
        assert!(!place.is_mounted());
    }
    // Nobody reads the errors: no reason to hang or to go on.
    let mut command =
        place.program(&["--slow-start", "200", "m"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop((command.stderr.take(), command.stdout.take()));
    assert!(command.wait().unwrap().success());
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
}

#[test]
fn signals_unmount() {
    for user in users() {
        for signal in ["TERM", "INT", "HUP"] {
            let place = Place::new(user);
            let script = format!("'{}' --no-fork --pid-file pid m & wait", place.program.display());
            let mut shell = place.command("sh").args(["-c", &script]).spawn().unwrap();
            let pid_file = place.dir.path().join("pid");
            until("the pid file is written", || fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n')));
            let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
            // In the background of a shell without job control SIGINT is ignored from birth; the program listens all the same.
            assert!(place.shell(&format!("kill -s {signal} {pid}")).status.success());
            until("the process has ended", || !is_running(pid));
            assert!(!place.is_mounted() && !pid_file.exists(), "{user:?} {signal}");
            shell.wait().unwrap();
        }
    }
}

#[test]
fn a_mount_in_use_is_detached_by_a_signal_and_ends_with_its_last_user() {
    for user in users() {
        let place = Place::new(user);
        let output = place.program(&["--pid-file", "pid", "m"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let pid: u32 = fs::read_to_string(place.dir.path().join("pid")).unwrap().trim().parse().unwrap();
        let mut holder = place.command("sh");
        holder.args(["-c", "exec 3<m/big; read x; head -c 5 <&3 | wc -c"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        until("the file is open", || {
            fs::read_dir(format!("/proc/{}/fd", holder.id())).is_ok_and(|fds| {
                fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.ends_with("big")))
            })
        });
        // The polite way says who is in the way.
        let refused = place.unmount(&["--no-retry"]);
        assert_eq!(refused.status.code(), Some(2), "{user:?}: {refused:?}");
        assert!(text(&refused.stderr).contains(&format!("process {} (sh): has open", holder.id())), "{refused:?}");
        assert_eq!(text(&place.unmount(&["--no-retry", "-q"]).stderr), "");
        assert!(place.is_mounted());

        place.shell(&format!("kill {pid}"));
        until("it is gone from the tree", || !place.is_mounted());
        assert!(is_running(pid));
        drop(holder.stdin.take());
        let mut said = String::new();
        holder.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "5\n", "the open file is still readable");
        holder.wait().unwrap();
        until("the server has ended", || !is_running(pid));
    }
}

#[test]
fn unmount_tries_again_and_knows_what_is_not_its_own() {
    for user in users() {
        let place = Place::mounted(user, &[]);
        let mut holder =
            place.command("sh").args(["-c", "cd m; echo in; exec sleep 1.5"]).stdout(Stdio::piped()).spawn().unwrap();
        holder.stdout.take().unwrap().read_exact(&mut [0; 3]).unwrap();
        let output = place.unmount(&["-v"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text(&output.stderr).contains("next attempt in 1 s"), "{output:?}");
        holder.wait().unwrap();

        assert_eq!(place.unmount(&[]).status.code(), Some(3));
        let other = place.program(&["unmount", "/proc"]).output().unwrap();
        assert_eq!(other.status.code(), Some(1));
        assert!(text(&other.stderr).contains("type proc"), "{other:?}");
        assert_eq!(place.program(&["unmount", "missing"]).output().unwrap().status.code(), Some(1));
    }
}

#[test]
fn unmount_waits_for_the_end_of_a_pipe() {
    let place = Place::mounted(User::Me, &[]);
    let script = format!("(sleep 0.5; echo end >&2) | '{}' unmount --fd=0 m; echo gone >&2", place.program.display());
    let output = place.shell(&script);
    assert_eq!(text(&output.stderr), "end\ngone\n", "{output:?}");
    assert!(!place.is_mounted());
}

#[test]
fn root_unmounts_for_others_and_dead_mounts_can_be_removed() {
    for user in users() {
        let place = Place::new(user);
        assert!(place.program(&["--pid-file", "pid", "m"]).output().unwrap().status.success());
        let pid: u32 = fs::read_to_string(place.dir.path().join("pid")).unwrap().trim().parse().unwrap();
        let output = Command::new(program()).arg("unmount").arg(place.point()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!place.is_mounted() && !is_running(pid), "{user:?}");

        let place = Place::new(user);
        assert!(place.program(&["--pid-file", "pid", "m"]).output().unwrap().status.success());
        let pid: u32 = fs::read_to_string(place.dir.path().join("pid")).unwrap().trim().parse().unwrap();
        place.shell(&format!("kill -9 {pid}"));
        until("the server has ended", || !is_running(pid));
        assert!(place.is_mounted());
        let again = place.program(&["m"]).output().unwrap();
        assert!(text(&again.stderr).contains("`fusermount3 -u` it first"), "{user:?} {again:?}");
        assert_eq!(place.unmount(&[]).status.code(), Some(0));
        assert!(!place.is_mounted());
    }
}

/// A second mount at the same place must survive the end of the first one's process.
#[test]
fn the_end_of_one_mount_leaves_the_next_alone() {
    for user in users() {
        let place = Place::mounted(user, &[]);
        for _ in 0..5 {
            let script = format!("fusermount3 -u m && '{}' m", place.program.display());
            assert!(place.shell(&script).status.success());
        }
        sleep(Duration::from_millis(200));
        assert!(place.is_mounted());
        assert_eq!(place.unmount(&[]).status.code(), Some(0));
        assert!(!place.is_mounted());
    }
}

/// Names, attributes and data are asked for once; then the kernel has them.
#[test]
fn the_kernel_keeps_what_it_has_seen() {
    let place = Place::new(User::Me);
    let log = File::create(place.dir.path().join("log")).unwrap();
    let mut server = place.program(&["--no-fork", "m"]).env("RUST_LOG", "fuser=debug").stderr(log).spawn().unwrap();
    until("it is mounted", || place.is_mounted());
    let count = |what: &str| {
        let log = fs::read_to_string(place.dir.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains(&format!(" {what} "))).count()
    };
    assert!(place.shell("find m/flat m/many -printf %s > /dev/null").status.success());
    assert!(count("LOOKUP") <= 10, "find of 50,000 files made {} lookups", count("LOOKUP"));
    assert!(place.shell("cat m/many/dir000/* | wc -c").status.success());
    let (opens, reads) = (count("OPEN"), count("READ"));
    assert!(opens <= 3 && count("RELEASE") == 0 && count("FLUSH") <= 3 && reads <= 300, "{opens} opens, {reads} reads");
    for _ in 0..5 {
        assert!(place.shell("cat m/many/dir000/* | wc -c; cat m/absent; readlink m/link").status.success());
    }
    assert_eq!((count("OPEN"), count("READ")), (opens, reads));
    assert!(count("GETATTR") <= 5 && count("READLINK") == 1, "{} getattr", count("GETATTR"));
    assert!(count("LOOKUP") <= 12, "{} lookups", count("LOOKUP"));
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
    assert!(server.wait().unwrap().success());
    let log = fs::read_to_string(place.dir.path().join("log")).unwrap();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "the server complained");
}

#[test]
fn absent_names_are_not_kept_where_case_does_not_matter() {
    let place = Place::new(User::Me);
    let log = File::create(place.dir.path().join("log")).unwrap();
    let arguments = ["--any-case", "--no-fork", "m"];
    let mut server = place.program(&arguments).env("RUST_LOG", "fuser=debug").stderr(log).spawn().unwrap();
    until("it is mounted", || place.is_mounted());
    for _ in 0..3 {
        assert_eq!(fs::metadata(place.point().join("absent")).unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
    server.wait().unwrap();
    let log = fs::read_to_string(place.dir.path().join("log")).unwrap();
    assert_eq!(log.matches("LOOKUP name \"absent\"").count(), 3);
}

#[test]
fn a_panic_is_one_line_and_errors_are_reported_once() {
    let place = Place::new(User::Me);
    let log = File::create(place.dir.path().join("log")).unwrap();
    let mut server = place.program(&["--no-fork", "m"]).env("RUST_LOG", "warn").stderr(log).spawn().unwrap();
    until("it is mounted", || place.is_mounted());
    for _ in 0..3 {
        assert!(fs::read(place.point().join("corrupt")).is_err());
    }
    let file = File::open(place.point().join("panic")).unwrap();
    assert_eq!(file.read_at(&mut [0; 10], 0).unwrap_err().raw_os_error(), Some(5));
    assert!(file.as_raw_fd() > 0);
    drop(file);
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
    server.wait().unwrap();
    let log = fs::read_to_string(place.dir.path().join("log")).unwrap();
    assert_eq!(log.matches("made to be corrupt").count(), 1, "{log}");
    assert!(log.contains("made to panic, at examples/synthetic.rs:") && !log.contains("RUST_BACKTRACE"), "{log}");
}
