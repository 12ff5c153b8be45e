//! A tree that is written, by programs, through the kernel: as one of the kernel's own file systems behaves.

use std::fs;
use std::os::unix::fs::chown;

use toolbox::NOBODY;

use crate::place::{Place, User, is_running, text};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuse/write.py");

/// Runs the script here and there, and compares.
fn behaves_as_the_kernel(user: User, options: &[&str]) {
    let place = Place::mounted(user, &[&["--memory", "200000000"], options].concat());
    let script = place.dir.path().join("write.py");
    fs::copy(SCRIPT, &script).unwrap();
    let host = place.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    if user == User::Other {
        chown(&host, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let run = |directory: &str| {
        let mut command = place.command("python3");
        // Another one may lie where only root can look.
        command.arg(&script).arg(directory).env("PATH", "/usr/bin:/bin");
        if toolbox::is_root() && user == User::Me {
            command.arg("root");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{user:?} {directory}: {output:?}");
        text(&output.stdout)
    };
    let (here, there) = (run("m"), run("host"));
    for (here, there) in here.lines().zip(there.lines()) {
        assert_eq!(here, there, "{user:?} {options:?}, the mount and the host");
    }
    assert_eq!(here.lines().count(), there.lines().count());
    let server = text(&place.shell("getfattr --only-values -n user.imgmount.pid m").stdout).parse().unwrap();
    let output = place.unmount(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!is_running(server));
}

#[test]
fn programs_find_what_they_find_on_the_kernels_own() {
    behaves_as_the_kernel(User::Me, &[]);
}

#[test]
fn also_where_the_guests_permissions_hold() {
    behaves_as_the_kernel(User::Me, &["-o", "default_permissions"]);
}

#[test]
fn also_an_ordinary_user() {
    if toolbox::is_root() {
        let ids = format!("uid={NOBODY},gid={NOBODY}");
        behaves_as_the_kernel(User::Other, &["-o", &ids]);
    }
}
