//! A tree that is written, by programs, through the kernel: as one of the kernel's own file systems behaves.

use std::fs;
use std::os::unix::fs::chown;

use toolbox::NOBODY;

use crate::place::{Place, User, is_running, text, users};

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

/// Mounted by root for all: the guest's permissions hold, and what others make is theirs.
#[test]
fn others_have_their_own_files_and_no_more() {
    if users().len() == 1 {
        return;
    }
    let place = Place::mounted(User::Me, &["--memory", "1000000", "-o", "allow_other"]);
    let prepared = place.shell("cd m && chmod 777 . && touch theirs secret && chmod 6777 theirs && chmod 600 secret");
    assert!(prepared.status.success(), "{prepared:?}");
    let other = Place::new(User::Other);
    let see = |script: &str| {
        let script = format!("cd '{}' && {script}", place.point().display());
        let output = other.command("sh").args(["-c", &script]).output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(see("stat -c %a theirs; echo x >>theirs; stat -c %a theirs"), "6777\n777\n");
    assert!(see("cat secret").contains("Permission denied"));
    assert_eq!(see("touch mine; stat -c %u:%g mine"), format!("{NOBODY}:{NOBODY}\n"));
    assert_eq!(see("umask 0; echo text >read-only; chmod 4755 mine; truncate -s 5 mine; stat -c %a mine"), "755\n");
    assert_eq!(
        see("(umask 0333; echo text >copy); stat -c %a copy; rm -f copy theirs; ls"),
        "444\nmine\nread-only\nsecret\n"
    );
    assert!(see("chown 0 mine").contains("not permitted"));
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
}

/// Who mounts for himself may do what the guest's root may, and makes files of root, or of whom he names.
#[test]
fn who_mounts_is_as_root() {
    for user in users() {
        let place = Place::mounted(user, &["--memory", "1000000"]);
        let script = "cd m && touch new && stat -c %u:%g new && chown 5:6 new && chmod 4750 new && chmod 1777 . && rm -f x && \
            echo text >>new && stat -c %u:%g:%a new && mkdir -m 0 closed && touch closed/inside && ls closed && rm new";
        let output = place.shell(script);
        assert_eq!(text(&output.stdout), "0:0\n5:6:4750\ninside\n", "{user:?} {output:?}");
        let place = Place::mounted(user, &["--memory", "1000000", "--owner", "7"]);
        assert_eq!(text(&place.shell("cd m && mkdir new && stat -c %u:%g new").stdout), "7:7\n");
    }
}

/// What does not fit is an error of the close, or of fsync, and all that was there stays.
#[test]
fn a_full_file_system_is_said_when_a_file_is_closed() {
    let place = Place::mounted(User::Me, &["--memory", "1000000"]);
    let script = "cd m && echo before >before && ! dd if=/dev/zero of=big bs=64k count=30 conv=fsync status=none && \
        cat before && rm big && dd if=/dev/zero of=fits bs=64k count=10 conv=fsync status=none && stat -c %s fits";
    let output = place.shell(script);
    assert_eq!(text(&output.stdout), "before\n655360\n", "{output:?}");
    assert!(text(&output.stderr).contains("No space left on device"), "{output:?}");
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
}

/// A signal writes and closes everything, as an unmount does.
#[test]
fn a_signal_loses_nothing() {
    let place = Place::new(User::Me);
    let script = "\"$0\" --no-fork --memory 1000000 m & server=$!; while ! getfattr -n user.imgmount.pid m 2>&1 | grep -q =; do sleep 0.05; done; \
        echo text >m/file; kill $server; wait $server; echo $?; ls m | grep -q file || echo gone";
    let output = place.command("sh").args(["-c", script]).arg(&place.program).output().unwrap();
    assert_eq!(text(&output.stdout), "0\ngone\n", "{output:?}");
}
