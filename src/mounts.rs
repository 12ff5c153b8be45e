//! The kernel's mounts, their table and their end: `/proc/self/mountinfo`,
//! <https://www.kernel.org/doc/html/latest/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts>.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::makedev;
use rustix::mount::UnmountFlags;
use rustix::process::geteuid;

/// What unmounts for ordinary users, new and old, also where the search path does not name its folder.
const PROGRAMS: [&str; 4] = ["fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"];

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, which is in `fdinfo` of every file opened below it.
    pub id: u64,
    /// The device number of the file system.
    pub device: Option<u64>,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type with its part after the dot: `fuse.imgmount`.
    pub kind: String,
    /// What is mounted, as the file system says it: a device, a path, a name.
    pub source: PathBuf,
    /// Who mounted it, where the type is a kind of FUSE: user and group.
    pub user: Option<(u32, u32)>,
}

/// The mount that is on top at `point`, an absolute path without links.
pub fn mounted_at(point: &Path) -> io::Result<Option<Mount>> {
    // Mounts that hide others come later.
    Ok(all()?.into_iter().rfind(|mount| mount.point == point))
}

/// All mounts that this process sees. Their names are bytes: users choose them.
pub fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The mounts of a table, in its order; lines that are not understood are left out.
fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    // Number, number of the parent, device, root inside the file system, mount point.
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?.split_once(':');
    let device = device.and_then(|(major, minor)| Some(makedev(major.parse().ok()?, minor.parse().ok()?)));
    let point = fields.nth(1)?;
    // Options of the mount, any number of optional fields, and a dash.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source, options) = (rest.next()?, rest.next()?, rest.next()?);
    let path = |field| PathBuf::from(OsString::from_vec(unescape(field)));
    Some(Mount {
        id,
        device,
        point: path(point),
        kind: String::from_utf8_lossy(&unescape(kind)).into_owned(),
        source: path(source),
        user: number(options, "user_id=").zip(number(options, "group_id=")),
    })
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

fn number(options: &[u8], name: &str) -> Option<u32> {
    let value = options.split(|&byte| byte == b',').find_map(|option| option.strip_prefix(name.as_bytes()))?;
    text(value)?.parse().ok()
}

/// Space, tab, newline, backslash and `#` are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// One attempt: as root with the system call, for others with fusermount3, which may. A mount that is in use fails,
/// or, if `lazy`, is taken out of the tree and lives until its last user is gone. The error is one line.
pub fn unmount(point: &Path, lazy: bool) -> Result<(), String> {
    if geteuid().is_root() {
        let detach = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        match rustix::mount::unmount(point, detach | UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(errno) if errno == rustix::io::Errno::PERM => {}
            Err(errno) => return Err(format!("{}: {}", point.display(), io::Error::from(errno))),
        }
    }
    for program in PROGRAMS {
        match Command::new(program)
            .arg(if lazy { "-uz" } else { "-u" })
            .arg("--")
            .arg(point)
            .stdin(Stdio::null())
            .output()
        {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                return Err(text.lines().next().unwrap_or("fusermount3 failed and gave no reason").trim().to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
    Err("an ordinary user needs the program fusermount3 to unmount; `apt install fuse3`".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_escapes_and_optional_fields() {
        let table = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
            garbage\n\
            40 29 0:52 / /tmp/a\\040b\\134c\\011 ro,nosuid,nodev - fuse.imgmount vm.qcow2 ro,user_id=1000,group_id=7\n\
            41 29 0:53 / /x\\04 ro - tmpfs none rw\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 3);
        let first = Mount {
            id: 36,
            device: Some(makedev(98, 0)),
            point: "/mnt2".into(),
            kind: "ext3".into(),
            source: "/dev/root".into(),
            user: None,
        };
        assert_eq!(mounts[0], first);
        assert_eq!(mounts[1].point, Path::new("/tmp/a b\\c\t"));
        assert_eq!((mounts[1].kind.as_str(), mounts[1].user), ("fuse.imgmount", Some((1000, 7))));
        assert_eq!(mounts[2].point, Path::new("/x\\04"));
    }

    #[test]
    fn names_are_bytes() {
        let mounts =
            parse(b"50 29 0:60 / /m\xff\\040\xfe rw - fuse.imgmount \xe9.img rw,x=\xff,user_id=3,group_id=4\n");
        assert_eq!(mounts[0].point.as_os_str().as_encoded_bytes(), b"/m\xff \xfe");
        assert_eq!(mounts[0].source.as_os_str().as_encoded_bytes(), b"\xe9.img");
        assert_eq!(mounts[0].user, Some((3, 4)));
    }

    #[test]
    fn the_last_mount_on_a_point_counts() {
        assert!(mounted_at(Path::new("/proc")).unwrap().is_some_and(|mount| mount.kind == "proc"));
        assert_eq!(mounted_at(Path::new("/no/such/place")).unwrap(), None);
    }
}
