//! What a node must not keep when somebody changes it: set-user-id bits, and capabilities of files.
//!
//! The kernel leaves it to this program (`FUSE_HANDLE_KILLPRIV_V2`), for it would otherwise ask for the capability before
//! every write. <https://www.kernel.org/doc/html/latest/> (`include/uapi/linux/fuse.h`) says when what goes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use filesystems::{FileSystem, FileSystemMut, NodeId, SetXattr};
use images::Result;

/// What lets a program do what else only root may.
const CAPABILITY: &[u8] = b"security.capability";

/// How many nodes are remembered that got a capability here; of more, those of the first are forgotten. Ours.
const MOST_SET: usize = 1 << 16;

/// No node.
const NONE: u64 = u64::MAX;

/// Permissions without set-user-id, and without set-group-id where it is not a mark of mandatory locks.
pub fn without_set_id(permissions: u16) -> u16 {
    let kept = permissions & !0o4000;
    if kept & 0o010 == 0 { kept } else { kept & !0o2000 }
}

/// Which nodes have capabilities, as far as it is known.
pub struct Capabilities {
    /// The node that was written last, if it has none.
    plain: AtomicU64,
    /// Those that got one here. What the kernel writes from its cache may be older than the capability.
    set_here: Mutex<HashSet<NodeId>>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { plain: AtomicU64::new(NONE), set_here: Mutex::default() }
    }
}

impl Capabilities {
    /// Notes that an attribute was set.
    pub fn was_set(&self, node: NodeId, name: &[u8]) {
        if name == CAPABILITY {
            self.plain.store(NONE, Ordering::Relaxed);
            let mut set_here = self.set_here();
            if set_here.len() >= MOST_SET {
                set_here.clear();
            }
            set_here.insert(node);
        }
    }

    /// Takes away a node's capability, for its content or its owner changes.
    pub fn drop_of(&self, fs: &dyn FileSystem, writer: &dyn FileSystemMut, node: NodeId) -> Result<()> {
        if self.plain.load(Ordering::Relaxed) == node.0 {
            return Ok(());
        }
        if fs.xattrs(node)?.iter().any(|(name, _)| name == CAPABILITY) {
            writer.set_xattr(node, CAPABILITY, None, SetXattr::Any)?;
            self.set_here().remove(&node);
        }
        self.plain.store(node.0, Ordering::Relaxed);
        Ok(())
    }

    /// The same where the kernel writes from its cache.
    pub fn drop_of_cached(&self, fs: &dyn FileSystem, writer: &dyn FileSystemMut, node: NodeId) -> Result<()> {
        if self.plain.load(Ordering::Relaxed) == node.0 || self.set_here().contains(&node) {
            return Ok(());
        }
        self.drop_of(fs, writer, node)
    }

    fn set_here(&self) -> MutexGuard<'_, HashSet<NodeId>> {
        self.set_here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use filesystems::{Memory, New, NewContent};

    use super::*;

    #[test]
    fn bits_that_go() {
        assert_eq!([0o6755, 0o6745, 0o4644, 0o755].map(without_set_id), [0o755, 0o2745, 0o644, 0o755]);
    }

    #[test]
    fn capabilities_go_with_the_content_they_were_for() {
        let fs = Memory::new(1 << 20);
        let new = New {
            content: NewContent::File,
            permissions: 0o755,
            umask: 0,
            owner: 0,
            group: 0,
            xattrs: &[(CAPABILITY, b"old")],
        };
        let file = fs.create(fs.root(), b"ping", &new).unwrap();
        let capabilities = Capabilities::default();
        let has = || !fs.xattrs(file).unwrap().is_empty();
        capabilities.drop_of_cached(&fs, &fs, file).unwrap();
        assert!(!has(), "what was there before");
        fs.set_xattr(file, CAPABILITY, Some(b"new"), SetXattr::Any).unwrap();
        capabilities.was_set(file, CAPABILITY);
        capabilities.drop_of_cached(&fs, &fs, file).unwrap();
        assert!(has(), "data in the cache is older");
        capabilities.drop_of(&fs, &fs, file).unwrap();
        assert!(!has());
    }
}
