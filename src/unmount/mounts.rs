//! The kernel's table of mounts: `/proc/self/mountinfo`,
//! <https://www.kernel.org/doc/html/latest/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts>.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type with its part after the dot: `fuse.imgmount`.
    pub kind: String,
    /// Who mounted it, where the type is a kind of FUSE: user and group.
    pub user: Option<(u32, u32)>,
}

/// The mount that is on top at `point`, an absolute path without links.
pub fn mounted_at(point: &Path) -> io::Result<Option<Mount>> {
    let table = fs::read("/proc/self/mountinfo")?;
    // Mounts that hide others come later.
    Ok(parse(&table).into_iter().rfind(|mount| mount.point == point))
}

/// The mounts of a table, in its order; lines that are not understood are left out.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    // Number, number of the parent, device, root inside the file system, mount point.
    let point = fields.nth(4)?;
    // Options of the mount, any number of optional fields, and a dash.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = rest.next()?;
    let options = rest.nth(1)?;
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(unescape(point))),
        kind: String::from_utf8_lossy(&unescape(kind)).into_owned(),
        user: number(options, "user_id=").zip(number(options, "group_id=")),
    })
}

fn number(options: &[u8], name: &str) -> Option<u32> {
    let options = std::str::from_utf8(options).ok()?;
    options.split(',').find_map(|option| option.strip_prefix(name))?.parse().ok()
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
        assert_eq!(mounts[0], Mount { point: "/mnt2".into(), kind: "ext3".into(), user: None });
        assert_eq!(mounts[1].point, Path::new("/tmp/a b\\c\t"));
        assert_eq!((mounts[1].kind.as_str(), mounts[1].user), ("fuse.imgmount", Some((1000, 7))));
        assert_eq!(mounts[2].point, Path::new("/x\\04"));
    }

    #[test]
    fn the_last_mount_on_a_point_counts() {
        assert!(mounted_at(Path::new("/proc")).unwrap().is_some_and(|mount| mount.kind == "proc"));
        assert_eq!(mounted_at(Path::new("/no/such/place")).unwrap(), None);
    }
}
