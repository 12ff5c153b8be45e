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
