//! Command lines, as far as they are understood without opening anything.

use super::*;
use crate::place::Writing;
use crate::session::Input;

fn parse(line: &str) -> Result<Request> {
    Request::parse(line.split(' ').collect()).unwrap()
}

fn message(line: &str) -> String {
    parse(line).unwrap_err().to_string()
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn options_hold_for_the_images_that_follow() {
    let request =
        parse("imgmount -a a --format=raw -a b --blocksize=4096 -a c --format --blocksize -a d -i /mnt").unwrap();
    let seen: Vec<_> =
        request.session.images().unwrap().iter().map(|image| (image.format.as_deref(), image.sector_size)).collect();
    assert_eq!(seen, [(None, None), (Some("raw"), None), (Some("raw"), Some(4096)), (None, None)]);
    assert_eq!(request.session.images().unwrap()[3].path, PathBuf::from("d"));
    assert!(message("imgmount -a a --format=raw -i /mnt").contains("before"));
    assert!(message("imgmount -a a --blocksize=512 -i /mnt").contains("before"));
    assert!(message("imgmount --blocksize=1024 -a a -i /mnt").contains("1024"));
}

#[test]
fn what_is_missing_is_said() {
    for (line, want) in [
        ("imgmount", "-a"),
        ("imgmount -i /mnt", "-a"),
        ("imgmount -a x /mnt", "-i"),
        ("imgmount -a x -i", "mountpoint"),
        ("imgmount -a x -i --ro --rw /mnt", "cannot mix"),
        ("imgmount -a x -i --live /mnt", "--live"),
        ("imgmount -d guest", "-i"),
        ("imgmount --format=raw -d guest -i /mnt", "--format"),
        ("imgmount -a nbd://h/x -i /mnt", "nbd"),
        ("imgmount -a file://host/x -i /mnt", "another host"),
        ("imgmount inspect", "-a"),
        ("imgmount deleted", "-a"),
    ] {
        assert!(message(line).contains(want), "{line}: {}", message(line));
    }
}

#[test]
fn guestmount_and_guestunmount_are_names_of_their_own() {
    let request = parse("/usr/bin/guestmount -a x -i inspect").unwrap();
    assert_eq!(request.cli.mount.directory, Some(PathBuf::from("inspect")), "a directory, not a command");
    let request = parse("guestunmount --no-retry /mnt").unwrap();
    assert!(matches!(&request.cli.command, Some(Command::Unmount(unmount)) if unmount.no_retry));
    assert!(message("guestmount -i /mnt").contains("-a"));
    let usage = |line: &str| Request::parse(line.split(' ').collect()).err().unwrap();
    assert!(usage("guestunmount -a x /mnt").to_string().contains("Usage: guestunmount"));
    assert!(usage("guestmount -V").to_string().starts_with("guestmount (imgmount) "));
    assert_eq!(usage("guestunmount --help").exit_code(), 0);
}

#[test]
fn bundled_and_long_spellings_are_the_same() {
    let request =
        parse("imgmount -a file:///tmp/a%20b --inspector --ro --mount /dev/sda1 -m /dev/sda2:/x -vv -n /mnt").unwrap();
    assert_eq!(request.session.images().unwrap()[0].path, PathBuf::from("/tmp/a b"));
    assert_eq!(
        request.cli.mount.places.selection().unwrap().devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/dev/sda1:/", "/dev/sda2:/x"]
    );
    assert_eq!(request.cli.mount.places.images.verbose, 2);
    assert!(!request.cli.mount.selection().unwrap().writes());
    assert!(parse("imgmount -iwra x /mnt").is_ok());
    assert!(parse("imgmount -a x --deleted /mnt").is_ok());
    assert!(parse("imgmount -a x --blocks /mnt").is_ok());
    let request = parse("imgmount -a x -d guest -a y -i /mnt").unwrap();
    assert!(
        matches!(request.session.inputs(), [Input::Image(_), Input::Guest(guest), Input::Image(_)] if guest == "guest")
    );
    let writes = |line: &str| parse(line).unwrap().cli.mount.selection().unwrap().writing;
    for (line, want) in [
        ("imgmount -a x -i /mnt", Writing::Named),
        ("imgmount -a x -i -w /mnt", Writing::All),
        ("imgmount -a x -i -o allow_other,rw /mnt", Writing::All),
        ("imgmount -a x -i -o rw -o ro /mnt", Writing::Named),
        ("imgmount -a x -i --overlay /mnt", Writing::All),
        ("imgmount -a x -i --overlay=o.qcow2 /mnt", Writing::All),
        ("guestmount -a x -i /mnt", Writing::Possible),
        ("guestmount -a x -i --ro /mnt", Writing::Named),
        ("guestmount -a x -i --rw /mnt", Writing::All),
    ] {
        assert_eq!(writes(line), want, "{line}");
    }
    assert!(parse("imgmount -a x -m sda1:/:rw /mnt").unwrap().cli.mount.selection().unwrap().writes());
    assert!(message("imgmount -a x -i --rw --deleted /mnt").contains("for reading only"));
    assert!(!parse("imgmount -a x -i --rw --ro /mnt").unwrap().cli.mount.selection().unwrap().writes());
}

#[test]
fn two_words_are_an_image_and_a_directory() {
    let request = parse("imgmount --format=raw x /").unwrap();
    assert!(request.cli.mount.places.inspector && request.cli.mount.directory == Some(PathBuf::from("/")));
    assert_eq!(request.session.images().unwrap()[0].format.as_deref(), Some("raw"));
    let request = parse("imgmount x -i --root /dev/sdb1 -m /dev/sdc:/srv /").unwrap();
    let selection = request.cli.mount.places.selection().unwrap();
    assert_eq!((selection.root.as_deref(), selection.devices.len()), (Some("/dev/sdb1"), 1));
    assert!(!parse("imgmount --blocks x /").unwrap().cli.mount.places.inspector);
    assert!(parse("imgmount /dev/null --memory 1G").unwrap().cli.is_overview());
    for (line, want) in [
        ("imgmount x / /", "several images"),
        ("imgmount x /no/such", "mkdir /no/such"),
        ("imgmount -a x / /", "one directory"),
        ("imgmount x --format=raw /", "before"),
        ("imgmount /dev/null --ro", "-a"),
        ("imgmount nbd://host/x", "nbd"),
        ("imgmount no-such-command", "no command"),
    ] {
        assert!(message(line).contains(want), "{line}: {}", message(line));
    }
}
