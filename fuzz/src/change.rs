//! Everything that a writer may do with a tree, as the input says.

use std::sync::Arc;

use filesystems::{Allocation, Changes, FileSystem, Kind, New, NewContent, NodeId, Options, Rename};
use images::Disk;
use images::disk::{Access, Memory};

use crate::{Patched, bounds, exercise};

/// The largest volume that is copied to be written, in bytes.
const COPIED: u64 = 8 << 20;
/// Nodes to which something is done.
const MOST_NODES: usize = 100;

/// A copy that can be written, of an image that is small enough.
pub fn copy(disk: &Patched) -> Option<Arc<dyn Disk>> {
    let size = usize::try_from(disk.size()).ok().filter(|_| disk.size() <= COPIED)?;
    bounds::kept(2 * size);
    let mut bytes = vec![0; size];
    disk.read_at(&mut bytes, 0).ok()?;
    Some(Arc::new(Memory::new("copy", bytes)))
}

/// Opens what the disk holds to write it, and does what the steps say, two bytes each.
pub fn contents(disk: Arc<dyn Disk>, steps: &[u8]) {
    let mut options = Options::default();
    options.access = Access::ReadWrite;
    match filesystems::open(disk, &options) {
        Ok(fs) => tree(&*fs, steps),
        Err(error) => exercise::one_line(&error),
    }
}

struct Seen {
    dir: NodeId,
    name: Vec<u8>,
    node: NodeId,
    kind: Option<Kind>,
}

fn seen(fs: &dyn FileSystem) -> Vec<Seen> {
    let (mut all, mut directories) = (Vec::new(), vec![fs.root()]);
    while let Some(dir) = directories.pop()
        && all.len() < MOST_NODES
    {
        let _ = fs.read_dir(dir, 0, &mut |entry| {
            all.push(Seen { dir, name: entry.name.to_vec(), node: entry.node, kind: entry.kind });
            if entry.kind == Some(Kind::Directory) {
                directories.push(entry.node);
            }
            all.len() < MOST_NODES
        });
    }
    all
}

fn tree(fs: &dyn FileSystem, steps: &[u8]) {
    let writer = match fs.writer(fs.root()) {
        Ok(writer) => writer,
        Err(error) => return exercise::one_line(&error),
    };
    let all = seen(fs);
    for (count, step) in steps.chunks_exact(2).enumerate() {
        let (what, which) = (step[0], usize::from(step[1]));
        let Some(one) = all.get(which % all.len().max(1)) else { break };
        let other = &all[(which + usize::from(what) / 12) % all.len()];
        let to = if other.kind == Some(Kind::Directory) { other.node } else { fs.root() };
        let (name, size) = (format!("made {count}"), u64::from(what) * 300);
        let make = |content| {
            let new = New { content, permissions: 0o755, umask: 0, owner: 0, group: 0, xattrs: &[] };
            writer.create(to, name.as_bytes(), &new).map(drop)
        };
        let done = match what % 12 {
            0 => make(NewContent::File),
            1 => make(NewContent::Directory),
            2 => writer.remove(one.dir, &one.name),
            3 => writer.remove_dir(one.dir, &one.name),
            4 => writer.rename((one.dir, &one.name), (to, name.as_bytes()), Rename::NoReplace),
            5 => writer.rename((one.dir, &one.name), (other.dir, &other.name), Rename::Replace),
            6 => writer.write_at(one.node, &vec![what; which * 40], size),
            7 => writer.set_stat(one.node, &Changes { size: Some(size), ..Changes::default() }),
            8 => writer.allocate(one.node, size..size + 5000, Allocation::KeepSize),
            9 => writer.link(one.node, to, name.as_bytes()),
            10 => writer.sync(None, which % 2 == 0),
            _ => make(NewContent::Symlink(b"target")),
        };
        if let Err(error) = done {
            exercise::one_line(&error);
        }
    }
    let _ = writer.close();
}
