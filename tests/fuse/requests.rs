//! What the kernel asks for, and what the log says.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::place::{Place, User, until};

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

/// `ls -l` asks every file for its label and its ACL; it need not where no file has any.
#[test]
fn labels_and_acls_are_not_asked_for_where_there_are_none() {
    for (argument, fewest, most) in [("--untagged", 256, 300), ("--no-fork", 40_000, 40_100)] {
        let place = Place::new(User::Me);
        let log = File::create(place.dir.path().join("log")).unwrap();
        let mut program = place.program(&["--no-fork", argument, "m"]);
        let mut server = program.env("RUST_LOG", "fuser=debug").stderr(log).spawn().unwrap();
        until("it is mounted", || place.is_mounted());
        // As coreutils 9.1 asks, in one process: each name until it is told that there is no such thing.
        let point = place.point();
        let mut asked: [(&str, bool); 2] = [("security.selinux", true), ("system.posix_acl_access", true)];
        for entry in fs::read_dir(point.join("flat")).unwrap() {
            let path = entry.unwrap().path();
            for (name, wanted) in asked.iter_mut().filter(|(_, wanted)| *wanted) {
                match rustix::fs::lgetxattr(&path, *name, &mut [0; 100][..]) {
                    Err(rustix::io::Errno::NODATA) => {}
                    Err(rustix::io::Errno::OPNOTSUPP) => *wanted = false,
                    other => panic!("{name} of {}: {other:?}", path.display()),
                }
            }
        }
        // Everything else is as ever.
        let get = |name| rustix::fs::lgetxattr(point.join("tagged"), name, &mut [0; 100][..]);
        assert_eq!(get("user.small"), Ok(5));
        assert_eq!(get("user.other"), Err(rustix::io::Errno::NODATA));
        let acl = place.shell("getfacl -c m/tagged | head -1");
        assert_eq!(String::from_utf8_lossy(&acl.stdout), "user::rw-\n");
        assert_eq!(place.unmount(&[]).status.code(), Some(0));
        server.wait().unwrap();
        let log = fs::read_to_string(place.dir.path().join("log")).unwrap();
        let requests = log.matches(" GETXATTR ").count();
        assert!((fewest..=most).contains(&requests), "{argument}: {requests} requests");
    }
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

/// A tree whose nodes end when nobody holds them: what the kernel forgets is forgotten, what is open is not.
#[test]
fn nodes_that_nobody_holds_are_forgotten() {
    let place = Place::new(User::Me);
    let mut server = place.program(&["--held", "--no-fork", "m"]).spawn().unwrap();
    until("it is mounted", || place.is_mounted());
    let held = || {
        let mut value = [0; 20];
        let len = rustix::fs::getxattr(place.point(), "user.held", &mut value[..]).unwrap();
        std::str::from_utf8(&value[..len]).unwrap().parse::<usize>().unwrap()
    };
    let walk = "find m/many m/flat -printf %s >/dev/null; cat m/many/dir00*/* >/dev/null; ls m/many/dir007 | wc -l";
    assert_eq!(place.shell(walk).stdout, b"300\n");
    assert!(held() > 50_000, "the kernel keeps what it was given: {}", held());
    let open = File::open(place.point().join("many/dir007/file0299")).unwrap();
    if toolbox::is_root() {
        // Only root can have the kernel forget at once; it may take some rounds.
        let forget = || fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        let forgotten = |most: usize| (0..20).any(|_| (forget(), held() <= most).1);
        // The file, and the directories above it.
        assert!(forgotten(4), "{} are held", held());
        assert!(held() >= 2, "the open file is held");
        open.read_exact_at(&mut [0; 1000], 1000).unwrap();
        drop(open);
        assert!(forgotten(1), "{} are held", held());
    }
    assert_eq!(place.shell("cat m/many/dir000/file0002 | wc -c").stdout, b"74\n", "and found again");
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
    assert!(server.wait().unwrap().success());
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
