use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use super::*;
use crate::{Options, Request, corrupt};

/// An image that is nothing but a link: `link`, the name and the format that it records, a line each.
const LINK: Format = Format::new(
    "link",
    |disk| Ok(text(disk)?.starts_with("link\n")),
    |disk, request| {
        if let Some(snapshot) = request.snapshot {
            return Err(Error::Unsupported(format!("a link has no snapshot {snapshot}")));
        }
        let text = text(&*disk)?;
        let mut lines = text.lines().skip(1);
        let name = lines.next().ok_or_else(|| corrupt!("link", 5u64, "no name"))?;
        request.opener.open(Path::new(name), lines.next())
    },
);

/// An image that asks for one file twice.
const TWICE: Format = Format::new(
    "twice",
    |disk| Ok(text(disk)?.starts_with("twice\n")),
    |_, Request { opener, .. }| {
        opener.open(Path::new("base.img"), Some("raw"))?;
        opener.open(Path::new("base.img"), Some("raw"))
    },
);

/// An image with another one behind its first line.
const WRAPPED: Format = Format {
    endings: &["gz"],
    wraps: true,
    ..Format::new(
        "wrapped",
        |disk| Ok(text(disk)?.starts_with("wrapped\n")),
        |disk, request| {
            let (at, size) = (8, disk.size());
            let inside = crate::disk::View::new(format!("inside of {disk}"), disk, at, size - at)?;
            request.opener.open_inside(Arc::new(inside), None, request.snapshot)
        },
    )
};

fn open_with(path: &Path, options: &Options, formats: &'static [Format]) -> Result<Arc<dyn Disk>> {
    crate::open(path, &Options { formats, ..options.clone() })
}

static LINKS: &[Format] = &[LINK, TWICE, WRAPPED];

fn text(disk: &dyn Disk) -> Result<String> {
    let mut bytes = vec![0; disk.size().min(4096) as usize];
    disk.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Dir(tempfile::TempDir);

impl Dir {
    /// A directory that everyone can reach, with a raw `base.img` in it.
    fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(dir.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        dir.write("base.img", "base");
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn own(&self, name: &str, uid: u32, gid: u32, mode: u32) {
        chown(self.path(name), Some(uid), Some(gid)).expect("this test needs root: it gives files away");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(&self, name: &str, backing: Backing) -> std::result::Result<String, String> {
        let options = Options { backing, formats: LINKS, ..Options::default() };
        let disk = crate::open(&self.path(name), &options).and_then(|disk| text(&*disk));
        disk.map_err(|error| error.to_string().replace(self.0.path().to_str().unwrap(), "DIR"))
    }

    fn fails(&self, name: &str, want: &str) {
        let error = self.open(name, Backing::Owner).unwrap_err();
        assert_eq!(error, want);
    }
}

#[test]
fn names_are_relative_to_the_image_that_holds_them() {
    let dir = Dir::new();
    dir.write("a/top", "link\n../b/middle\nlink");
    dir.write("b/middle", "link\nfile:below/bottom\n");
    dir.write("b/below/bottom", "link\njson:{\"driver\":\"raw\",\"file\":{\"filename\":\"../../base.img\"}}");
    assert_eq!(dir.open("a/top", Backing::Owner).unwrap(), "base");
    symlink(dir.path("a/top"), dir.path("a/symlink")).unwrap();
    assert_eq!(dir.open("a/symlink", Backing::Owner).unwrap(), "base");
    dir.write("absolute", &format!("link\n{}\nraw", dir.path("base.img").display()));
    assert_eq!(dir.open("absolute", Backing::Follow).unwrap(), "base");
    let denied = dir.open("absolute", Backing::None).unwrap_err();
    assert_eq!(denied, "DIR/absolute: it names DIR/base.img, and --backing=none allows no other file");
    assert_eq!(dir.open("base.img", Backing::None).unwrap(), "base", "a raw file names none");
}

#[test]
fn a_missing_format_is_probed_and_never_raw() {
    let dir = Dir::new();
    dir.write("top", "link\nbase.img");
    dir.fails(
        "top",
        "DIR/top: no format is recorded for its backing file DIR/base.img, and none is recognised; if it is raw, \
         record that with: qemu-img rebase -u -F raw -b DIR/base.img DIR/top",
    );
    dir.write("base.img", "link\nend\nraw");
    dir.write("end", "end");
    assert_eq!(dir.open("top", Backing::Owner).unwrap(), "end", "probed");
    dir.write("top", "link\nbase.img\nraw");
    assert_eq!(dir.open("top", Backing::Owner).unwrap(), "link\nend\nraw", "what is recorded is not probed");
    dir.write("top", "link\nbase.img\nvdi");
    dir.fails("top", "DIR/top: unknown image format vdi, known are raw, link, twice, wrapped");
}

#[test]
fn errors_name_the_first_file_and_the_bad_one() {
    let dir = Dir::new();
    dir.write("1", "link\n2");
    dir.write("2", "link\n3");
    dir.write("3", "link\n");
    dir.fails("1", "DIR/1: DIR/3: link at byte 0x5: no name");
    dir.write("3", "link\nmissing");
    dir.fails("1", "DIR/1: DIR/3: cannot open DIR/missing: No such file or directory (os error 2)");
    dir.write("3", "link\n/dev/zero\nraw");
    dir.fails("1", "DIR/1: DIR/3: /dev/zero is a character device: a disk image is a regular file or a block device");
    dir.write("3", "link\nhttp://host/x");
    dir.fails("1", "DIR/1: DIR/3: the file name http://host/x has the protocol http, only file is read");
    dir.fails("4", "cannot open DIR/4: No such file or directory (os error 2)");
}

#[test]
fn loops_and_deep_chains_end() {
    let dir = Dir::new();
    dir.write("self", "link\nself");
    dir.fails("self", "DIR/self: a loop: it names DIR/self, which leads back to it");
    dir.write("a", "link\nb");
    dir.write("b", "link\nc");
    symlink("a", dir.path("c")).unwrap();
    dir.fails("a", "DIR/a: DIR/b: a loop: it names DIR/c, which leads back to it");
    for i in 0..MAX_DEPTH {
        dir.write(&i.to_string(), &format!("link\n{}", i + 1));
    }
    dir.write(&MAX_DEPTH.to_string(), "link\nbase.img\nraw");
    dir.fails("0", "DIR/0: DIR/127: more than 128 files, each naming the next");
    dir.fails("1", "DIR/1: DIR/128: more than 128 files, each naming the next");
    assert_eq!(dir.open("2", Backing::Owner).unwrap(), "base", "127 links and the base");
    dir.write("twice", "twice\n");
    assert_eq!(dir.open("twice", Backing::Owner).unwrap(), "base", "the same file twice is no loop");
}

/// What is said of a file that user 1001 may not read.
fn denied(image: &str, named: &str) -> String {
    format!(
        "DIR/{image}: it names DIR/{named}, which user 1001, the owner of DIR/{image}, may not read; --backing=follow \
         allows it"
    )
}

#[test]
fn an_image_gets_no_file_that_its_owner_could_not_read() {
    let dir = Dir::new();
    dir.write("top.link", "link\nbase.img\nraw");
    for (top, base, allowed) in [
        // uid, gid, mode
        ((1001, 1001), (1001, 1001, 0o400), true),
        ((1001, 1001), (1001, 1001, 0o044), false),
        ((1001, 1001), (1002, 1002, 0o600), false),
        ((1001, 1001), (1002, 1002, 0o660), false),
        ((1001, 1001), (1002, 1002, 0o644), true),
        ((1001, 1001), (1002, 1002, 0o604), true),
        // The group of an image is not one of its owner's.
        ((1001, 1002), (1002, 1002, 0o640), false),
        ((0, 0), (1002, 1002, 0o600), true),
    ] {
        dir.own("top.link", top.0, top.1, 0o644);
        dir.own("base.img", base.0, base.1, base.2);
        let want = if allowed { Ok("base".into()) } else { Err(denied("top.link", "base.img")) };
        assert_eq!(dir.open("top.link", Backing::Owner), want, "{top:?} {base:?}");
        assert_eq!(dir.open("top.link", Backing::Follow).unwrap(), "base");
        assert!(dir.open("top.link", Backing::None).is_err());
    }
}

#[test]
fn a_readable_file_in_a_closed_directory_is_not_readable() {
    let dir = Dir::new();
    dir.write("closed/secret", "secret");
    dir.own("closed/secret", 1002, 1002, 0o644);
    dir.write("top.link", "link\nclosed/secret\nraw");
    dir.own("top.link", 1001, 1001, 0o644);
    dir.own("closed", 1002, 1002, 0o700);
    dir.fails("top.link", &denied("top.link", "closed/secret"));
    symlink("closed/secret", dir.path("symlink")).unwrap();
    dir.write("top.link", "link\nsymlink\nraw");
    dir.fails("top.link", &denied("top.link", "symlink"));
    dir.own("closed", 1002, 1002, 0o711);
    assert_eq!(dir.open("top.link", Backing::Owner).unwrap(), "secret");
    // He must reach the directory of the image too.
    dir.write("held/top.link", "link\n../base.img\nraw");
    dir.own("held/top.link", 1001, 1001, 0o644);
    dir.own("held", 0, 0, 0o700);
    dir.fails("held/top.link", &denied("held/top.link", "held/../base.img"));
}

/// In a user namespace all users without a number there have the same one.
#[test]
fn an_owner_who_is_not_known_gets_what_everyone_may_read() {
    let dir = Dir::new();
    dir.write("top.link", "link\nbase.img\nraw");
    dir.own("top.link", 65534, 65534, 0o644);
    dir.own("base.img", 65534, 65534, 0o640);
    dir.fails(
        "top.link",
        "DIR/top.link: it names DIR/base.img, which not every user may read, and the owner of DIR/top.link is not known \
         here; --backing=follow allows it",
    );
    dir.own("base.img", 65534, 65534, 0o644);
    assert_eq!(dir.open("top.link", Backing::Owner).unwrap(), "base");
}

#[test]
fn the_rule_holds_for_all_images_above() {
    let dir = Dir::new();
    dir.write("top.link", "link\nmiddle.link");
    dir.write("middle.link", "link\nbase.img\nraw");
    for (top, middle, base, denied) in [
        (1001, 1002, 1001, Some((1002, "middle.link"))),
        (1001, 1002, 1002, Some((1001, "top.link"))),
        (1001, 0, 1002, Some((1001, "top.link"))),
        (1001, 0, 1001, None),
        (0, 1001, 1001, None),
        (0, 1001, 0, Some((1001, "middle.link"))),
    ] {
        dir.own("top.link", top, 0, 0o644);
        dir.own("middle.link", middle, 0, 0o644);
        dir.own("base.img", base, 0, 0o600);
        let want = denied.map_or(Ok("base".to_owned()), |(user, image)| {
            Err(format!(
                "DIR/top.link: DIR/middle.link: it names DIR/base.img, which user {user}, the owner of DIR/{image}, may \
                 not read; --backing=follow allows it"
            ))
        });
        assert_eq!(dir.open("top.link", Backing::Owner), want, "{top} {middle} {base}");
    }
}

#[test]
fn a_link_counts_as_its_owners_word() {
    let dir = Dir::new();
    dir.write("top.link", "link\nalias\nraw");
    symlink("base.img", dir.path("alias")).unwrap();
    dir.own("base.img", 0, 0, 0o600);
    assert_eq!(dir.open("top.link", Backing::Owner).unwrap(), "base");
    std::os::unix::fs::lchown(dir.path("alias"), Some(1001), Some(1001)).unwrap();
    dir.fails(
        "top.link",
        "DIR/top.link: it names DIR/alias, which user 1001, whose link alias leads there, may not read; \
         --backing=follow allows it",
    );
    assert_eq!(dir.open("top.link", Backing::Follow).unwrap(), "base");
}

#[test]
fn who_may_write_an_image_counts_as_its_owner() {
    let dir = Dir::new();
    dir.write("top.link", "link\nbase.img\nraw");
    for (top, base, allowed) in [
        ((0, 0, 0o666), (0, 0, 0o600), false),
        ((0, 0, 0o666), (0, 0, 0o644), true),
        ((0, 0, 0o664), (0, 0, 0o600), true),
        ((0, 1001, 0o664), (0, 0, 0o600), false),
        ((0, 1001, 0o664), (0, 1001, 0o640), true),
        ((0, 1001, 0o664), (0, 1001, 0o604), false),
        ((1001, 1001, 0o664), (1001, 1001, 0o600), true),
    ] {
        dir.own("top.link", top.0, top.1, top.2);
        dir.own("base.img", base.0, base.1, base.2);
        let opened = dir.open("top.link", Backing::Owner);
        assert_eq!(opened.is_ok(), allowed, "{top:?} {base:?} {opened:?}");
    }
    dir.own("top.link", 0, 1001, 0o664);
    dir.own("base.img", 0, 0, 0o600);
    dir.fails(
        "top.link",
        "DIR/top.link: it names DIR/base.img, which not every user of group 1001 may read, and these may write \
         DIR/top.link; --backing=follow allows it",
    );
}

#[test]
fn content_alone_makes_no_image_that_may_name_private_files() {
    let dir = Dir::new();
    dir.own("base.img", 0, 0, 0o600);
    for name in ["disk.img", "top.link"] {
        dir.write(name, "link\nbase.img\nraw");
    }
    dir.fails(
        "disk.img",
        "DIR/disk.img: it names DIR/base.img, which not every user may read, and only its content, which a guest can \
         write, says that DIR/disk.img is a link image; --format=link says that it is one, --format=raw that it is a \
         guest's disk",
    );
    assert_eq!(dir.open("top.link", Backing::Owner).unwrap(), "base", "its name says so");
    let told = Options { format: Some("link".into()), ..Options::default() };
    assert_eq!(text(&*open_with(&dir.path("disk.img"), &told, LINKS).unwrap()).unwrap(), "base", "the user says so");
    symlink("disk.img", dir.path("alias.link")).unwrap();
    assert!(dir.open("alias.link", Backing::Owner).is_err(), "the name of a link says nothing");
    dir.write("over.link", "link\ndisk.img\nlink");
    assert_eq!(dir.open("over.link", Backing::Owner).unwrap(), "base", "the image above says so");
    dir.write("over.link", "link\ndisk.img");
    assert!(dir.open("over.link", Backing::Owner).unwrap_err().ends_with("a link image; --backing=follow allows it"));
    dir.write("wrapped.link.gz", "wrapped\nlink\nbase.img\nraw");
    dir.write("wrapped.gz", "wrapped\nlink\nbase.img\nraw");
    let told = Options { format: Some("wrapped".into()), ..Options::default() };
    let open = |name| open_with(&dir.path(name), &told, LINKS).and_then(|disk| text(&*disk));
    assert_eq!(open("wrapped.link.gz").unwrap(), "base");
    assert!(open("wrapped.gz").unwrap_err().to_string().contains("only its content"));
    dir.own("base.img", 0, 0, 0o644);
    assert_eq!(dir.open("disk.img", Backing::Owner).unwrap(), "base", "what everyone may read");
}

#[test]
fn snapshots_and_sector_sizes_reach_the_format() {
    let dir = Dir::new();
    dir.write("top", "link\nbase.img\nraw");
    let open = |name, options: Options| open_with(&dir.path(name), &options, LINKS);
    let snapshot = Options { snapshot: Some("monday".into()), ..Options::default() };
    let error = open("top", snapshot.clone()).err().unwrap().to_string();
    assert!(error.ends_with("/top: a link has no snapshot monday"), "{error}");
    let error = open("base.img", snapshot).err().unwrap().to_string();
    assert!(error.ends_with("/base.img is a raw image, which has no snapshots"), "{error}");
    let raw = open("top", Options { format: Some("raw".into()), ..Options::default() }).unwrap();
    assert_eq!((text(&*raw).unwrap().as_str(), raw.sector_size()), ("link\nbase.img\nraw", None));
    let forced = open("top", Options { sector_size: Some(4096), ..Options::default() }).unwrap();
    assert_eq!((text(&*forced).unwrap().as_str(), forced.sector_size()), ("base", Some(4096)));
    let error = open("top", Options { sector_size: Some(1000), ..Options::default() }).err().unwrap();
    assert_eq!(error.to_string(), "a sector size of 1000 bytes: 512 and 4096 are possible");
    let error = open("base.img", Options { format: Some("link".into()), ..Options::default() }).err().unwrap();
    assert!(error.to_string().ends_with("base.img: link at byte 0x5: no name"), "{error}");
    dir.write("empty", "");
    assert_eq!(open("empty", Options::default()).unwrap().size(), 0);
}

#[test]
fn a_fifo_is_refused_and_does_not_hang() {
    let dir = Dir::new();
    let status = toolbox::command("mkfifo").arg(dir.path("fifo")).status().unwrap();
    assert!(status.success());
    dir.write("top", "link\nfifo");
    dir.fails("top", "DIR/top: DIR/fifo is a FIFO: a disk image is a regular file or a block device");
}

#[test]
fn an_image_in_a_wrapper_is_opened_as_if_it_lay_there() {
    let dir = Dir::new();
    dir.write("plain", "wrapped\ncontent");
    assert_eq!(text(&*open_with(&dir.path("plain"), &Options::default(), LINKS).unwrap()).unwrap(), "content");
    dir.write("twice", "wrapped\nwrapped\nlink\nbase.img\nraw");
    assert_eq!(text(&*open_with(&dir.path("twice"), &Options::default(), LINKS).unwrap()).unwrap(), "base");
    let fails = |name: &str, text: &str| {
        dir.write(name, text);
        open_with(&dir.path(name), &Options::default(), LINKS).err().unwrap().to_string()
    };
    assert!(fails("deep", &format!("{}content", "wrapped\n".repeat(9))).ends_with("an image in more than 4 wrappers"));
    assert!(fails("loop", "wrapped\nlink\nloop\nraw").contains("a loop: it names"));
    assert!(fails("unnamed", "link\nplain").contains("no format is recorded for its backing file inside of"));
    dir.write("named", "link\nplain\nwrapped");
    let error = open_with(&dir.path("named"), &Options::default(), LINKS).err().unwrap().to_string();
    assert!(error.contains("no format is recorded"), "{error}");
    let snapshot = Options { snapshot: Some("s".into()), ..Options::default() };
    let error = open_with(&dir.path("plain"), &snapshot, LINKS).err().unwrap().to_string();
    assert!(error.contains("is a raw image, which has no snapshots"), "{error}");
}
