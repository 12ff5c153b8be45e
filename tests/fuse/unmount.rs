//! How a mount ends.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::place::{Place, User, is_running, program, text, until, users};

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
    let error = text(&place.unmount(&["--fd=99"]).stderr);
    assert!(error.contains("cannot read from file descriptor 99: Bad file descriptor"), "{error}");
}

#[test]
fn root_unmounts_for_others_and_dead_mounts_can_be_removed() {
    for user in users() {
        let place = Place::new(user);
        assert!(place.program(&["--pid-file", "pid", "m"]).output().unwrap().status.success());
        let pid: u32 = fs::read_to_string(place.dir.path().join("pid")).unwrap().trim().parse().unwrap();
        let output = toolbox::command(program()).arg("unmount").arg(place.point()).output().unwrap();
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
