//! The command and the process that serves: reports, errors, signals.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::place::{Place, User, is_running, text, until, users};

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
            (&["-o", "suid", "m"], 1, "never work"),
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
