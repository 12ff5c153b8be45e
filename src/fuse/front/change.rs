//! What the kernel asks to be changed.

use std::time::{SystemTime, UNIX_EPOCH};

use filesystems::{Allocation, Changes, FileSystemMut, Kind, New, NewContent, NodeId, Rename, SetXattr, Stat, Time};
use fuser::{Errno, RenameFlags, ReplyEmpty, Request, TimeOrNow, WriteFlags};
use images::{Error, Result, read_only};

use super::{BUFFER, Front, MAX_REQUEST};
use crate::fuse::attributes::device_numbers;
use crate::fuse::privileges::without_set_id;
use crate::fuse::xattrs;

/// Flags of `setxattr(2)`.
const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;

/// Modes of `fallocate(2)`.
const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const COLLAPSE_RANGE: i32 = 0x08;
const ZERO_RANGE: i32 = 0x10;
const INSERT_RANGE: i32 = 0x20;

/// How much one `copy_file_range` copies; the caller asks for the rest. Ours, so that no request takes long.
const MOST_COPIED: u64 = 64 << 20;

/// The type of a node in its mode.
const TYPE: u32 = 0o170_000;

/// The attributes that a request wants changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub mode: Option<u32>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub size: Option<u64>,
    pub accessed: Option<TimeOrNow>,
    pub modified: Option<TimeOrNow>,
    pub changed: Option<SystemTime>,
}

impl Front {
    /// The write half of the file system that holds a node.
    fn writer(&self, node: NodeId) -> Result<&dyn FileSystemMut> {
        if !self.writes {
            return Err(read_only!("mounted for reading only"));
        }
        let writer = self.fs.writer(node)?;
        self.written.will_change();
        Ok(writer)
    }

    /// Whether a node can be written.
    pub(super) fn is_writable(&self, node: NodeId) -> bool {
        self.writes && self.fs.writer(node).is_ok()
    }

    /// A change whose only answer is that it was done.
    pub(super) fn change(
        &self,
        operation: &'static str,
        node: NodeId,
        reply: ReplyEmpty,
        change: impl FnOnce(&dyn FileSystemMut) -> Result<()>,
    ) {
        match self.reports.run(operation, node, || change(self.writer(node)?)) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    /// Makes a node, which the kernel then holds once.
    pub(super) fn make(
        &self,
        request: &Request,
        dir: NodeId,
        name: &[u8],
        (mode, umask): (u32, u32),
        content: NewContent<'_>,
    ) -> std::result::Result<(NodeId, Stat), Errno> {
        self.reports.run("create", dir, || {
            let writer = self.writer(dir)?;
            let label = self.label(dir)?;
            let xattrs: Vec<(&[u8], &[u8])> = label.iter().map(|value| (xattrs::LABEL, &value[..])).collect();
            let (owner, group) = self.owner_of_new(request);
            let permissions = (mode & 0o7777) as u16;
            let umask = (umask & 0o777) as u16;
            let node = writer.create(dir, name, &New { content, permissions, umask, owner, group, xattrs: &xattrs })?;
            self.stat_of_held(node)
        })
    }

    /// The attributes of a node that was held for the kernel; if there are none, the kernel does not get it.
    pub(super) fn stat_of_held(&self, node: NodeId) -> Result<(NodeId, Stat)> {
        self.fs.stat(node).map(|stat| (node, stat)).inspect_err(|_| self.let_go(node, 1))
    }

    /// Whose a new node is. Where the guest's permissions hold, it is the caller's; else the user who mounts is for the
    /// guest what its root is.
    fn owner_of_new(&self, request: &Request) -> (u32, u32) {
        let given = self.options.owner;
        let caller = |id: u32, shown: Option<u32>| if self.checks && shown.is_none() { id } else { 0 };
        given.unwrap_or_else(|| (caller(request.uid(), self.owner.uid), caller(request.gid(), self.owner.gid)))
    }

    /// The label that a new node gets: its directory's, as SELinux has it where no rule says otherwise.
    fn label(&self, dir: NodeId) -> Result<Option<Vec<u8>>> {
        if !self.options.selinux_inherit {
            return Ok(None);
        }
        let all = self.fs.xattrs(dir)?;
        Ok(all.into_iter().find(|(name, _)| name == xattrs::LABEL).map(|(_, value)| value))
    }

    /// A node that mknod(2) wants.
    pub(super) fn special(mode: u32, device: u32) -> Option<NewContent<'static>> {
        let (major, minor) = device_numbers(device);
        Some(match mode & TYPE {
            0o100_000 | 0 => NewContent::File,
            0o010_000 => NewContent::Fifo,
            0o020_000 => NewContent::CharDevice(major, minor),
            0o060_000 => NewContent::BlockDevice(major, minor),
            0o140_000 => NewContent::Socket,
            _ => return None,
        })
    }

    /// Gives a node one more name, which holds it once more.
    pub(super) fn link_to(&self, node: NodeId, dir: NodeId, name: &[u8]) -> std::result::Result<(NodeId, Stat), Errno> {
        self.reports.run("link", node, || {
            self.writer(dir)?.link(node, dir, name)?;
            if let Some(holds) = self.fs.holds() {
                holds.hold(node)?;
            }
            self.stat_of_held(node)
        })
    }

    pub(super) fn how_renamed(flags: RenameFlags) -> Option<Rename> {
        match flags {
            flags if flags.is_empty() => Some(Rename::Replace),
            RenameFlags::RENAME_NOREPLACE => Some(Rename::NoReplace),
            RenameFlags::RENAME_EXCHANGE => Some(Rename::Exchange),
            _ => None,
        }
    }

    /// Changes attributes, and with an owner or a size what must not outlive the change.
    pub(super) fn set_stat(&self, request: &Request, node: NodeId, wanted: &Wanted) -> Result<Stat> {
        let writer = self.writer(node)?;
        let given = |id: Option<u32>, shown: Option<u32>| id.filter(|id| Some(*id) != shown);
        let mut changes = Changes {
            size: wanted.size,
            permissions: wanted.mode.map(|mode| (mode & 0o7777) as u16),
            owner: given(wanted.owner, self.owner.uid),
            group: given(wanted.group, self.owner.gid),
            accessed: wanted.accessed.map(time),
            modified: wanted.modified.map(time),
            changed: wanted.changed.map(time_of),
        };
        let moves = wanted.owner.is_some() || wanted.group.is_some();
        // A request that wants nothing comes before a write that takes the bits away, so that the kernel learns of it.
        let announces = changes == Changes::default() && !moves;
        if moves || wanted.size.is_some() || announces {
            let stat = self.fs.stat(node)?;
            // Whoever changes the content needs to be root to keep the bits; a new owner gets none from anybody.
            let bits_go = moves || (self.checks && request.uid() != 0);
            if stat.kind != Kind::Directory {
                self.capabilities.drop_of(&*self.fs, writer, node)?;
                if bits_go && changes.permissions.is_none() {
                    changes.permissions = Some(without_set_id(stat.permissions)).filter(|new| *new != stat.permissions);
                }
            }
        }
        if !announces || changes.permissions.is_some() {
            writer.set_stat(node, &changes)?;
        }
        self.fs.stat(node)
    }

    pub(super) fn write_to(&self, node: NodeId, data: &[u8], offset: u64, flags: WriteFlags) -> Result<()> {
        let writer = self.writer(node)?;
        if flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            self.capabilities.drop_of_cached(&*self.fs, writer, node)?;
        } else {
            self.capabilities.drop_of(&*self.fs, writer, node)?;
        }
        writer.write_at(node, data, offset)?;
        if self.checks && flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            let before = self.fs.stat(node)?.permissions;
            let permissions = without_set_id(before);
            if permissions != before {
                writer.set_stat(node, &Changes { permissions: Some(permissions), ..Changes::default() })?;
            }
        }
        Ok(())
    }

    /// Sets or removes an attribute. The errno of one that is not there is another than that of a name.
    pub(super) fn set_xattr(
        &self,
        request: &Request,
        node: NodeId,
        name: &[u8],
        value: Option<&[u8]>,
        flags: i32,
    ) -> std::result::Result<(), Errno> {
        let how = match flags {
            0 => SetXattr::Any,
            XATTR_CREATE => SetXattr::Create,
            XATTR_REPLACE => SetXattr::Replace,
            _ => return Err(Errno::EINVAL),
        };
        if xattrs::is_own(name) {
            return Err(Errno::EPERM);
        }
        let done = self.reports.run("setxattr", node, || {
            let writer = self.writer(node)?;
            match writer.set_xattr(node, name, value, how) {
                Err(error) => match error.root() {
                    Error::NotFound => Ok(Err(Errno::ENODATA)),
                    Error::Unsupported(_) => Ok(Err(Errno::EOPNOTSUPP)),
                    _ => Err(error),
                },
                Ok(()) => self.after_set(request, writer, node, name).map(Ok),
            }
        });
        done.and_then(|done| done)
    }

    /// What follows from a new attribute.
    fn after_set(&self, request: &Request, writer: &dyn FileSystemMut, node: NodeId, name: &[u8]) -> Result<()> {
        self.unused.was_set(name);
        self.capabilities.was_set(node, name);
        if self.checks && xattrs::is_acl(name) && request.uid() != 0 {
            // As chmod(2): only a member of its group keeps set-group-id. Which other groups the caller is in, nobody says.
            let stat = self.fs.stat(node)?;
            if stat.kind != Kind::Directory && stat.permissions & 0o2000 != 0 && stat.group != request.gid() {
                let permissions = Some(stat.permissions & !0o2000);
                writer.set_stat(node, &Changes { permissions, ..Changes::default() })?;
            }
        }
        Ok(())
    }

    pub(super) fn how_allocated(mode: i32) -> Option<Allocation> {
        Some(match mode {
            0 => Allocation::Extend,
            KEEP_SIZE => Allocation::KeepSize,
            mode if mode == PUNCH_HOLE | KEEP_SIZE => Allocation::PunchHole,
            ZERO_RANGE => Allocation::Zero { keep_size: false },
            mode if mode == ZERO_RANGE | KEEP_SIZE => Allocation::Zero { keep_size: true },
            COLLAPSE_RANGE => Allocation::Collapse,
            INSERT_RANGE => Allocation::Insert,
            _ => return None,
        })
    }

    /// Copies bytes of one file to another, or inside of one, and returns how many.
    pub(super) fn copy(&self, (from, mut at): (NodeId, u64), (to, mut to_at): (NodeId, u64), len: u64) -> Result<u64> {
        let writer = self.writer(to)?;
        self.capabilities.drop_of(&*self.fs, writer, to)?;
        let mut left = len.min(MOST_COPIED);
        let begin = at;
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(buffer.len().max(MAX_REQUEST as usize), 0);
            while left > 0 {
                let piece = left.min(u64::from(MAX_REQUEST)) as usize;
                let read = self.fs.read_at(from, &mut buffer[..piece], at)?;
                if read == 0 {
                    break;
                }
                writer.write_at(to, &buffer[..read], to_at)?;
                (at, to_at, left) = (at + read as u64, to_at + read as u64, left - read as u64);
            }
            Ok(at - begin)
        })
    }

    /// What was done to a node is durable afterwards.
    pub(super) fn sync(&self, node: NodeId, data_only: bool, reply: ReplyEmpty) {
        if !self.writes {
            // The kernel takes this for "no need to ask".
            return reply.error(Errno::ENOSYS);
        }
        match self.reports.run("fsync", node, || self.fs.writer(node)?.sync(Some(node), data_only)) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}

fn time(wanted: TimeOrNow) -> Time {
    match wanted {
        TimeOrNow::SpecificTime(time) => time_of(time),
        TimeOrNow::Now => time_of(SystemTime::now()),
    }
}

/// A point in time as file systems have it.
fn time_of(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Time { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            let seconds = -before.as_secs().cast_signed();
            match before.subsec_nanos() {
                0 => Time { seconds, nanoseconds: 0 },
                nanoseconds => Time { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_before_1970_have_their_nanoseconds_added() {
        let before = |millis| time_of(UNIX_EPOCH - Duration::from_millis(millis));
        assert_eq!(before(1500), Time { seconds: -2, nanoseconds: 500_000_000 });
        assert_eq!(before(2000), Time { seconds: -2, nanoseconds: 0 });
        assert_eq!(time_of(UNIX_EPOCH + Duration::new(3, 7)), Time { seconds: 3, nanoseconds: 7 });
    }
}
