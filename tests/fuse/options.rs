//! How a mount is made: flags, caches, and who may look.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use crate::place::{Place, User, text, users};

const EUCLEAN: i32 = 117;

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
    // 0640 of another owner: no; the same with an ACL for nobody: yes.
    assert!(!see("cat m/hard").0);
    assert!(see("cat m/tagged").0);
    assert!(!see("test -r m/secret").0);
    // Without allow_other the kernel lets nobody else in, not even root.
    let place = Place::mounted(User::Other, &[]);
    assert_eq!(fs::read_dir(place.point()).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// What one user has read is in the kernel's caches, and still nothing for a third.
#[test]
fn allow_root_lets_nobody_else_in() {
    if users().len() == 1 {
        return permissions_without_root();
    }
    let place = Place::mounted(User::Me, &["-o", "allow_root"]);
    let warm = "ls -la m m/many m/many/dir000 >/dev/null; cat m/tagged m/many/dir000/file000? >/dev/null; test ! -e m/no; stat m/no";
    let ordinary = Place::new(User::Other);
    for script in [
        "ls m",
        "ls m/many",
        "ls m/many/dir000",
        "cat m/tagged",
        "cat m/many/dir000/file0001",
        "stat m/many",
        "stat --cached=always m/many m/many/dir000 m/tagged",
        "stat --cached=never m",
        "stat -f m m/many",
        "find m/many -maxdepth 1 -name 'dir*'",
        "cd m && pwd",
        "cd m/many && pwd",
        "test -e m/many",
        "test -r m/tagged",
        "cp m/tagged .",
        "python3 -c 'import os; f = os.open(\"m\", os.O_PATH); print(os.stat(\"many\", dir_fd=f))'",
        "python3 -c 'import os; print(os.getxattr(\"m\", \"user.imgmount.pid\"))'",
    ] {
        place.shell(warm);
        let output = ordinary.command("sh").current_dir(place.dir.path()).args(["-c", script]).output().unwrap();
        let names: Vec<_> = text(&output.stdout).lines().filter(|line| *line != "m/many").map(str::to_owned).collect();
        assert!(!output.status.success() && names.is_empty(), "{script}: {output:?}");
        // Neither may say whether a name is there.
        let said = text(&output.stderr);
        assert!(!said.contains("No such file"), "{script}: {said}");
    }
    // Who may look is not disturbed by who may not.
    let seen = place.shell("cd m/many/dir000 && ls | wc -l && cat file0001 | wc -c");
    assert_eq!(
        text(&seen.stdout),
        text(&place.shell("ls m/many/dir000 | wc -l; cat m/many/dir000/file0001 | wc -c").stdout)
    );
    assert!(!seen.stdout.is_empty());
}

/// An ordinary user may read all of his image, whatever the guest's permissions say.
fn permissions_without_root() {
    let place = Place::mounted(User::Me, &[]);
    assert_eq!(fs::read(place.point().join("secret")).unwrap().len(), 100);
}
