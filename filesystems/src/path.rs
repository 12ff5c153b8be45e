//! Paths inside one tree: resolved by the tree's own symbolic links, never by the host's.

use images::{Error, Result, unsupported};

use crate::{FileSystem, Kind, NodeId};

/// How many symbolic links one path may lead through: the kernel's MAXSYMLINKS, see path_resolution(7).
pub const LINKS_MAX: u32 = 40;

/// The longest path that is resolved, in bytes, links expanded: ours, sixteen times the kernel's PATH_MAX.
const PATH_MAX: usize = 64 << 10;

/// The node that `path` names, relative to the root of `fs` whether or not it begins with a slash.
///
/// Links are followed inside the tree: absolute ones start at its root, and `..` of the root is the root. The last
/// component is followed if `follow_last` says so or if a slash comes after it. Fails with `NotFound`, `NotDirectory`
/// and, for more than [`LINKS_MAX`] links, `Unsupported`.
///
/// Where nodes are [held](crate::Holds), only the one that is returned is.
pub fn resolve(fs: &dyn FileSystem, path: &[u8], follow_last: bool) -> Result<NodeId> {
    let mut looked_up = Vec::new();
    let found = walk(fs, path, follow_last, &mut looked_up);
    if let Some(holds) = fs.holds() {
        // Of what it was looked up, one time is the caller's.
        let last = found.as_ref().ok().and_then(|found| looked_up.iter().rposition(|node| node == found));
        let others = looked_up.iter().enumerate().filter(|(at, _)| Some(*at) != last);
        others.for_each(|(_, node)| holds.forget(*node, 1));
    }
    found
}

/// The same; `looked_up` gets every node that was looked up on the way.
fn walk(fs: &dyn FileSystem, path: &[u8], follow_last: bool, looked_up: &mut Vec<NodeId>) -> Result<NodeId> {
    let mut ancestors = Vec::new();
    let mut node = fs.root();
    let mut kind = Kind::Directory;
    let mut rest = path.to_vec();
    let mut links = 0;
    loop {
        // The next component; what is empty or `.` only asks for a directory.
        let Some(start) = rest.iter().position(|byte| *byte != b'/') else {
            let directory_wanted = !rest.is_empty();
            return if directory_wanted && kind != Kind::Directory { Err(Error::NotDirectory) } else { Ok(node) };
        };
        if kind != Kind::Directory {
            return Err(Error::NotDirectory);
        }
        let end = rest[start..].iter().position(|byte| *byte == b'/').map_or(rest.len(), |len| start + len);
        let name = &rest[start..end];
        if name == b".." {
            node = ancestors.pop().unwrap_or(node);
        } else if name != b"." {
            let child = fs.lookup(node, name)?;
            looked_up.push(child);
            let child_kind = fs.stat(child)?.kind;
            if child_kind == Kind::Symlink && (follow_last || end < rest.len()) {
                links += 1;
                let mut target = fs.read_link(child)?;
                if links > LINKS_MAX || target.len() + rest.len() > PATH_MAX {
                    return Err(unsupported!("too many levels of symbolic links"));
                }
                if target.is_empty() {
                    return Err(Error::NotFound);
                }
                if target.starts_with(b"/") {
                    ancestors.clear();
                    node = fs.root();
                }
                target.extend_from_slice(&rest[end..]);
                rest = target;
                continue;
            }
            ancestors.push(node);
            (node, kind) = (child, child_kind);
        }
        rest.drain(..end);
    }
}

/// All of a regular file. Fails with `IsDirectory`, with `Invalid` for other nodes that hold no data, and with
/// `Unsupported` if the file is larger than `limit` bytes.
pub fn read_file(fs: &dyn FileSystem, node: NodeId, limit: u64) -> Result<Vec<u8>> {
    let stat = fs.stat(node)?;
    match stat.kind {
        Kind::File => {}
        Kind::Directory => return Err(Error::IsDirectory),
        _ => return Err(Error::Invalid),
    }
    let size = usize::try_from(stat.size).ok().filter(|_| stat.size <= limit);
    let size = size.ok_or_else(|| unsupported!("the file has {} bytes, at most {limit} are read", stat.size))?;
    let mut content = vec![0; size];
    let len = fs.read_at(node, &mut content, 0)?;
    content.truncate(len);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample::Sample;

    fn sample() -> Sample {
        Sample::new(&[
            ("etc/", ""),
            ("etc/passwd", "root"),
            ("run/", ""),
            ("run/lock", "l"),
            ("var/", ""),
            ("var/run", "-> /run"),
            ("var/up", "-> ../../../etc"),
            ("var/loop", "-> loop"),
            ("var/self", "-> ."),
            ("link", "-> var/run/lock"),
            ("dangling", "-> nowhere"),
        ])
    }

    #[test]
    fn links_stay_inside_the_tree() {
        let fs = sample();
        let at = |path: &str| resolve(&fs, path.as_bytes(), true);
        let content = |path: &str| read_file(&fs, at(path).unwrap(), 100).unwrap();
        assert_eq!(content("/etc/passwd"), b"root");
        assert_eq!(content("etc//.//../../../etc/passwd"), b"root");
        assert_eq!(content("/var/up/passwd"), b"root", "`..` of the root is the root");
        assert_eq!(content("/var/self/self/up/passwd"), b"root");
        assert_eq!(content("/link"), b"l");
        assert_eq!(at("/").unwrap(), fs.root());
        assert_eq!(at("").unwrap(), fs.root());
        assert_eq!(at("/var/run").unwrap(), at("/run/").unwrap());
        assert!(matches!(at("/dangling"), Err(Error::NotFound)));
        assert!(matches!(at("/etc/passwd/x"), Err(Error::NotDirectory)));
        assert!(matches!(at("/etc/passwd/"), Err(Error::NotDirectory)));
        assert!(matches!(at("/etc/passwd/.."), Err(Error::NotDirectory)));
        assert_eq!(at("/var/loop").unwrap_err().to_string(), "too many levels of symbolic links");
    }

    #[test]
    fn the_last_link_is_followed_when_asked_for() {
        let fs = sample();
        let link = resolve(&fs, b"/var/run", false).unwrap();
        assert_eq!(fs.stat(link).unwrap().kind, Kind::Symlink);
        let directory = resolve(&fs, b"/var/run/", false).unwrap();
        assert_eq!(fs.stat(directory).unwrap().kind, Kind::Directory);
        let deep = resolve(&fs, b"/link", false).unwrap();
        assert_eq!(fs.stat(deep).unwrap().kind, Kind::Symlink);
    }

    #[test]
    fn a_chain_of_forty_links_is_the_limit() {
        let mut files = vec![("end".to_owned(), "x".to_owned())];
        for i in 0..=LINKS_MAX {
            let target = if i == 0 { "-> end".to_owned() } else { format!("-> l{}", i - 1) };
            files.push((format!("l{i}"), target));
        }
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        let fs = Sample::new(&files);
        assert!(resolve(&fs, b"l39", true).is_ok(), "40 links");
        assert!(resolve(&fs, b"l40", true).is_err(), "41 links");
    }

    #[test]
    fn reading_is_bounded() {
        let fs = sample();
        let passwd = resolve(&fs, b"/etc/passwd", true).unwrap();
        assert_eq!(read_file(&fs, passwd, 4).unwrap(), b"root");
        assert!(matches!(read_file(&fs, passwd, 3), Err(Error::Unsupported(_))));
        assert!(matches!(read_file(&fs, fs.root(), 9), Err(Error::IsDirectory)));
        let link = resolve(&fs, b"/link", false).unwrap();
        assert!(matches!(read_file(&fs, link, 99), Err(Error::Invalid)));
    }
}
