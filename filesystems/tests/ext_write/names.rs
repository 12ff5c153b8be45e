//! Nodes of every kind, made, linked, moved and removed, on every feature set.

use filesystems::{Changes, Kind, New, NewContent, NodeId, Rename, Time};
use images::Error;

use crate::written::{FEATURES, Written, ext4};

/// A scenario on every feature set.
fn everywhere(scenario: impl Fn(&Written, NodeId)) {
    for (case, options) in FEATURES {
        let written = Written::new(options, if options.contains("65536") { 32 } else { 8 });
        scenario(&written, written.fs.root());
        written.close(case);
    }
}

#[test]
fn nodes_of_every_kind() {
    everywhere(|written, root| {
        let dir = written.directory(root, "dir");
        written.file(dir, "file");
        for len in [1, 59, 60, 200, 1023] {
            let (name, target) = (format!("link {len}"), "t".repeat(len));
            let link = written.make(dir, name, NewContent::Symlink(target.as_bytes())).unwrap();
            assert_eq!(written.fs.read_link(link).unwrap(), target.as_bytes());
        }
        written.make(dir, "fifo", NewContent::Fifo).unwrap();
        written.make(dir, "socket", NewContent::Socket).unwrap();
        written.make(dir, "tty", NewContent::CharDevice(4, 1)).unwrap();
        written.make(dir, "disk", NewContent::BlockDevice(259, 70_000)).unwrap();
        let below = written.directory(dir, "below");
        let stat = written.fs.stat(below).unwrap();
        assert_eq!((stat.kind, stat.permissions, stat.links), (Kind::Directory, 0o755, 2));
        assert_eq!((stat.owner, stat.group), (1000, 100_000));
        assert!(matches!(written.make(dir, "file", NewContent::Fifo), Err(Error::Exists)));
        assert!(matches!(written.make(dir, "n".repeat(256), NewContent::Fifo), Err(Error::NameTooLong)));
        for name in ["", ".", "..", "a/b"] {
            assert!(matches!(written.make(dir, name, NewContent::Fifo), Err(Error::Invalid)), "{name}");
        }
        let too_long = vec![b't'; 65536];
        assert!(matches!(written.make(dir, "long", NewContent::Symlink(&too_long)), Err(Error::NameTooLong)));
        assert!(matches!(written.make(dir, "odd", NewContent::CharDevice(4096, 1)), Err(Error::Invalid)));
        assert!(matches!(written.lookup(dir, "odd"), Err(Error::NotFound)), "after an error there is nothing");
    });
}

#[test]
fn set_group_id_directories_pass_on_their_group() {
    everywhere(|written, root| {
        let dir = written.directory(root, "dir");
        let changes = Changes { permissions: Some(0o2770), group: Some(70_000), ..Changes::default() };
        written.writer().set_stat(dir, &changes).unwrap();
        let (file, below) = (written.file(dir, "file"), written.directory(dir, "below"));
        let seen = |node| {
            let stat = written.fs.stat(node).unwrap();
            (stat.group, stat.permissions)
        };
        assert_eq!((seen(file), seen(below)), ((70_000, 0o755), (70_000, 0o2755)));
    });
}

#[test]
fn links_are_counted() {
    everywhere(|written, root| {
        let (one, two) = (written.directory(root, "one"), written.directory(root, "two"));
        let file = written.file(one, "file");
        written.writer().link(file, two, b"other").unwrap();
        assert_eq!(written.fs.stat(file).unwrap().links, 2);
        assert!(matches!(written.writer().link(file, two, b"other"), Err(Error::Exists)));
        assert!(matches!(written.writer().link(two, one, b"dir"), Err(Error::NotPermitted)));
        written.remove(one, "file").unwrap();
        assert_eq!(written.lookup(two, "other").unwrap(), file);
        assert_eq!(written.fs.stat(file).unwrap().links, 1);
        assert!(matches!(written.remove(root, "one"), Err(Error::IsDirectory)));
        assert!(matches!(written.writer().remove_dir(two, b"other"), Err(Error::NotDirectory)));
        assert!(matches!(written.writer().remove_dir(root, b"two"), Err(Error::NotEmpty)));
        written.writer().remove_dir(root, b"one").unwrap();
        assert!(matches!(written.lookup(root, "one"), Err(Error::NotFound)));
    });
}

#[test]
fn names_move() {
    everywhere(|written, root| {
        let (one, two) = (written.directory(root, "one"), written.directory(root, "two"));
        let (file, dir) = (written.file(one, "file"), written.directory(one, "dir"));
        let rename = |from, to, how| written.rename(from, to, how);
        rename((one, "file"), (one, "a longer name than it had before"), Rename::Replace).unwrap();
        rename((one, "a longer name than it had before"), (two, "file"), Rename::NoReplace).unwrap();
        rename((one, "dir"), (two, "dir"), Rename::Replace).unwrap();
        assert_eq!((written.lookup(two, "file").unwrap(), written.lookup(two, "dir").unwrap()), (file, dir));
        let links = |node| written.fs.stat(node).unwrap().links;
        assert_eq!((links(one), links(two)), (2, 3));
        // What replaces what.
        let other = written.file(one, "other");
        assert!(matches!(rename((one, "other"), (two, "file"), Rename::NoReplace), Err(Error::Exists)));
        assert!(matches!(rename((one, "other"), (two, "dir"), Rename::Replace), Err(Error::IsDirectory)));
        assert!(matches!(rename((two, "dir"), (one, "other"), Rename::Replace), Err(Error::NotDirectory)));
        assert!(matches!(rename((one, "none"), (two, "x"), Rename::Replace), Err(Error::NotFound)));
        rename((one, "other"), (two, "file"), Rename::Replace).unwrap();
        assert_eq!(written.lookup(two, "file").unwrap(), other);
        // Directories.
        let empty = written.directory(one, "empty");
        written.file(dir, "inside");
        assert!(matches!(rename((one, "empty"), (two, "dir"), Rename::Replace), Err(Error::NotEmpty)));
        rename((two, "dir"), (one, "empty"), Rename::Replace).unwrap();
        assert_eq!((written.lookup(one, "empty").unwrap(), links(one), links(two)), (dir, 3, 2));
        assert!(written.fs.stat(empty).is_err() || links(empty) == 0);
        let deep = written.directory(dir, "deep");
        for to in [dir, deep] {
            assert!(matches!(rename((one, "empty"), (to, "x"), Rename::Replace), Err(Error::Invalid)));
            assert!(matches!(rename((root, "one"), (to, "x"), Rename::Replace), Err(Error::Invalid)));
        }
        // Both change places.
        rename((root, "two"), (dir, "inside"), Rename::Exchange).unwrap();
        assert_eq!(written.lookup(dir, "inside").unwrap(), two);
        assert_eq!((links(dir), links(root)), (4, links(root)));
        assert!(matches!(rename((root, "one"), (two, "file"), Rename::Exchange), Err(Error::Invalid)));
        assert!(matches!(rename((root, "one"), (root, "none"), Rename::Exchange), Err(Error::NotFound)));
        // Two names of one node stay as they are.
        written.writer().link(other, two, b"same").unwrap();
        rename((two, "same"), (two, "file"), Rename::Replace).unwrap();
        assert_eq!((written.lookup(two, "same").unwrap(), links(other)), (other, 2));
    });
}

#[test]
fn what_is_open_lives_on_without_a_name() {
    everywhere(|written, root| {
        let free = || {
            let space = written.fs.space(root).unwrap();
            (space.files_free, space.blocks_free)
        };
        // What has no journal of its own has one from its first change on.
        written.file(root, "first");
        let before = free();
        let new = New { content: NewContent::File, permissions: 0o600, umask: 0, owner: 1, group: 2, xattrs: &[] };
        let file = written.writer().create(root, b"file", &new).unwrap();
        written.fs.holds().unwrap().hold(file).unwrap();
        written.remove(root, "file").unwrap();
        assert_eq!(written.fs.stat(file).unwrap().links, 0);
        assert!(matches!(written.writer().link(file, root, b"again"), Err(Error::NotFound)));
        written.let_go(file);
        assert_eq!(written.fs.stat(file).unwrap().owner, 1, "it is held once more");
        assert_ne!(free(), before);
        written.let_go(file);
        assert_eq!(free(), before, "the last one has gone");
        assert!(written.fs.holds().unwrap().hold(file).is_err());
        // The same with a directory, and with what is replaced.
        let (dir, other) = (written.directory(root, "dir"), written.directory(root, "other"));
        for node in [dir, other] {
            assert!(written.fs.lookup(root, if node == dir { b"dir" } else { b"other" }).unwrap() == node);
        }
        written.rename((root, "dir"), (root, "other"), Rename::Replace).unwrap();
        assert!(matches!(written.make(other, "in vain", NewContent::File), Err(Error::NotFound)));
        written.writer().remove_dir(root, b"other").unwrap();
        written.let_go(dir);
        assert_ne!(free(), before);
        // Closing lets go of all.
    });
}

#[test]
fn what_was_open_in_a_crash_is_freed_when_it_is_opened_again() {
    for (case, options) in FEATURES.iter().filter(|(_, options)| options.contains("has_journal")) {
        let written = Written::new(options, 8);
        let root = written.fs.root();
        let before = written.fs.space(root).unwrap();
        let dir = written.directory(root, "dir");
        for index in 0..5 {
            let target = "t".repeat(60);
            written.make(dir, format!("{index}"), NewContent::Symlink(target.as_bytes())).unwrap();
            let node = written.fs.lookup(dir, format!("{index}").as_bytes()).unwrap();
            written.remove(dir, format!("{index}")).unwrap();
            assert_eq!(written.fs.stat(node).unwrap().links, 0);
        }
        written.writer().remove_dir(root, b"dir").unwrap();
        written.writer().sync(None, false).unwrap();
        drop(written.fs);
        let written = Written::of(written.image);
        assert!(matches!(written.lookup(root, "dir"), Err(Error::NotFound)), "{case}");
        let after = written.fs.space(root).unwrap();
        assert_eq!((after.files_free, after.blocks_free), (before.files_free, before.blocks_free), "{case}");
        let notes = &written.fs.properties(root).notes;
        assert!(notes.iter().any(|note| note.starts_with("5 files that were removed")), "{case}: {notes:?}");
        written.close(case);
    }
}

#[test]
fn times_are_those_of_the_kernel() {
    everywhere(|written, root| {
        let past = Time { seconds: 1_000_000_000, nanoseconds: 0 };
        let dir = written.directory(root, "dir");
        let file = written.file(dir, "file");
        let age = |node| {
            let changes =
                Changes { accessed: Some(past), modified: Some(past), changed: Some(past), ..Changes::default() };
            written.writer().set_stat(node, &changes).unwrap();
        };
        let stat = |node| written.fs.stat(node).unwrap();
        let fresh = |node| (stat(node).modified > past, stat(node).changed > past);
        for (what, do_it) in [
            ("link", (&|| written.writer().link(file, dir, b"link")) as &dyn Fn() -> images::Result<()>),
            ("rename", &|| written.rename((dir, "link"), (dir, "moved"), Rename::Replace)),
            ("remove", &|| written.remove(dir, "moved")),
        ] {
            age(dir);
            age(file);
            do_it().unwrap();
            assert_eq!((fresh(dir), fresh(file)), ((true, true), (false, true)), "{what}");
            assert_eq!((stat(dir).accessed, stat(file).accessed), (past, past));
        }
        let changes = Changes { permissions: Some(0o4711), owner: Some(5), ..Changes::default() };
        written.writer().set_stat(file, &changes).unwrap();
        assert_eq!((stat(file).permissions, stat(file).owner, stat(file).group), (0o4711, 5, 100_000));
    });
}

#[test]
fn flags_forbid_changes() {
    let written = Written::new(ext4!(" -b 1024"), 8);
    let dir = written.directory(written.fs.root(), "dir");
    written.file(dir, "file");
    written.file(dir, "fixed");
    let image = written.close("before");
    image.debugfs_write("set_inode_field dir flags 0x80020\nset_inode_field dir/fixed flags 0x80010\n");
    let written = Written::of(image);
    let root = written.fs.root();
    let dir = written.lookup(root, "dir").unwrap();
    let fixed = written.lookup(dir, "fixed").unwrap();
    written.file(dir, "more");
    let forbidden = |answer: images::Result<()>| assert!(matches!(answer, Err(Error::NotPermitted)), "{answer:?}");
    forbidden(written.remove(dir, "file"));
    forbidden(written.rename((dir, "file"), (root, "file"), Rename::Replace));
    forbidden(written.writer().remove_dir(root, b"dir"));
    forbidden(written.writer().link(fixed, root, b"link"));
    forbidden(written.writer().set_stat(fixed, &Changes { owner: Some(1), ..Changes::default() }));
    written.close("flags");
}
