//! Names that are made, removed and moved.

use images::{Disk, Error, Result, corrupt, unsupported};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::super::directory::{Entries, Found};
use super::super::file_system::Fat;
use super::super::layout::*;
use super::super::node::Node;
use super::super::pending::SECTOR;
use super::super::writing::{ORPHAN, Writing};
use super::super::{ROOT, time};
use super::now;
use super::short_name::{self, slot};
use super::slots::Dir;
use crate::{New, NewContent, NodeId, Rename};

/// How deep a directory may lie, ours: more is a circle.
const DEPTH_MAX: u32 = 1 << 16;
/// The entries that every directory but the root begins with.
const DOT: [u8; 11] = *b".          ";
const DOT_DOT: [u8; 11] = *b"..         ";

impl Fat {
    /// The entry of a name as somebody gives it: dots at its end count only if the name has them on the disk.
    fn named(&self, dir: &Dir, name: &[u8]) -> Result<Option<Found>> {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        match self.find_in(dir, name)? {
            None => self.find_in(dir, name.trim_end_matches('.')),
            found => Ok(found),
        }
    }

    pub(super) fn make(&self, writing: &mut Writing, node: NodeId, name: &[u8], new: &New<'_>) -> Result<NodeId> {
        let attr = match new.content {
            NewContent::File => ATTR_ARCHIVE,
            NewContent::Directory => ATTR_DIRECTORY,
            // As Linux has it: FAT has neither links nor devices.
            _ => return Err(Error::NotPermitted),
        };
        if !new.xattrs.is_empty() {
            return Err(unsupported!("FAT has no extended attributes"));
        }
        let mut dir = self.dir(node)?;
        if self.named(&dir, name)?.is_some() {
            return Err(Error::Exists);
        }
        let name = self.new_name(&dir, short_name::check(name)?, &[])?;
        let (date, of_day, hundredths) = time::encode(now());
        let mut entry = DirEntry { attr, crt_time_tenth: hundredths, ..DirEntry::new_zeroed() };
        (entry.crt_date, entry.wrt_date, entry.lst_acc_date) = (date.into(), date.into(), date.into());
        (entry.crt_time, entry.wrt_time) = (of_day.into(), of_day.into());
        let count = u32::try_from(name.slots(&entry).len()).expect("at most 21");
        if attr == ATTR_DIRECTORY && self.make_room(writing, &mut dir, count)? {
            // Two clusters would lead nowhere if the power was cut now: that by which it grew, and that of the new one.
            self.commit(writing)?;
        }
        let first = if attr == ATTR_DIRECTORY { self.make_directory(writing, &dir, &entry)? } else { 0 };
        self.set_first_cluster(&mut entry, first);
        let at = match self.insert(writing, &mut dir, &name.slots(&entry), &name) {
            Ok(at) => at,
            Err(error) => {
                self.cut(writing, first, 0)?;
                return Err(error);
            }
        };
        writing.is_essential = true;
        self.touch(dir.node)?;
        self.id(NodeId(at / SLOT)).inspect_err(|_| {
            // Nobody can be told which node it is: it must not be there.
            if let Ok(Some(found)) = self.find_in(&dir, name.long)
                && self.erase(writing, &dir, &found, name.long).is_ok()
            {
                let _ = self.cut(writing, first, 0);
            }
        })
    }

    /// A cluster with the first two entries of a directory, on the disk before anything leads to it.
    fn make_directory(&self, writing: &mut Writing, parent: &Dir, entry: &DirEntry) -> Result<u32> {
        let first = self.extend(writing, 0, 1)?;
        let mut dots = [DirEntry { name: DOT, ..*entry }, DirEntry { name: DOT_DOT, ..*entry }];
        self.set_first_cluster(&mut dots[0], first);
        self.set_first_cluster(&mut dots[1], parent.first);
        let at = self.geometry.offset_of(first);
        let rest = u64::from(self.geometry.cluster_size) - SECTOR;
        let mut sector = [0; SECTOR as usize];
        sector[..2 * SLOT as usize].copy_from_slice(dots.as_bytes());
        let done = match self.put(writing, &sector, at) {
            Ok(()) => self.zero(writing, at + SECTOR, rest),
            failed => failed,
        };
        if let Err(error) = done {
            self.cut(writing, first, 0)?;
            return Err(error);
        }
        Ok(first)
    }

    pub(super) fn unlink(&self, writing: &mut Writing, node: NodeId, name: &[u8], directory: bool) -> Result<()> {
        let dir = self.dir(node)?;
        let found = self.named(&dir, name)?.ok_or(Error::NotFound)?;
        match (directory, found.entry.attr & ATTR_DIRECTORY != 0) {
            (false, true) => return Err(Error::IsDirectory),
            (true, false) => return Err(Error::NotDirectory),
            _ => self.check_empty(&found)?,
        }
        let long = self.shown_name(&dir, &found)?;
        writing.is_essential = true;
        self.erase(writing, &dir, &found, &long)?;
        self.touch(dir.node)?;
        self.retire(writing, &found)
    }

    /// Fails with `NotEmpty` if it is a directory with something in it, or that cannot be read.
    fn check_empty(&self, found: &Found) -> Result<()> {
        if found.entry.attr & ATTR_DIRECTORY == 0 {
            return Ok(());
        }
        let place = self.place(&Node::Live(found.node, found.entry))?;
        match Entries::new(&self.metadata, &self.geometry, &place, 0).next()? {
            Some(_) => Err(Error::NotEmpty),
            None => Ok(()),
        }
    }

    /// Ends a node whose entry is gone: at once, or when nobody holds it any more.
    fn retire(&self, writing: &mut Writing, found: &Found) -> Result<()> {
        let mut entry = found.entry;
        let is_directory = entry.attr & ATTR_DIRECTORY != 0;
        let first = self.first_cluster(&entry);
        if is_directory {
            let key = self.directory_key(&Node::Live(found.node, entry));
            writing.rooms.remove(&key);
            self.indices.remove(&key);
            self.set_first_cluster(&mut entry, 0);
        }
        if self.retire_node(found.node, ORPHAN | writing.orphans, entry) {
            writing.orphans += 1;
            if !is_directory {
                return Ok(());
            }
        }
        self.cut(writing, first, 0)
    }

    pub(super) fn move_name(
        &self,
        writing: &mut Writing,
        from: (NodeId, &[u8]),
        to: (NodeId, &[u8]),
        how: Rename,
    ) -> Result<()> {
        if how == Rename::Exchange {
            return Err(unsupported!("FAT cannot exchange two names at once"));
        }
        let (from_dir, mut to_dir) = (self.dir(from.0)?, self.dir(to.0)?);
        let found = self.named(&from_dir, from.1)?.ok_or(Error::NotFound)?;
        let long = short_name::check(to.1)?;
        let is_directory = found.entry.attr & ATTR_DIRECTORY != 0;
        let replaced = self.named(&to_dir, to.1)?;
        if is_directory && self.lies_in(&to_dir, self.first_cluster(&found.entry))? {
            return Err(Error::Invalid);
        }
        if let Some(there) = &replaced {
            if how == Rename::NoReplace {
                return Err(Error::Exists);
            }
            if there.node != found.node {
                match (is_directory, there.entry.attr & ATTR_DIRECTORY != 0) {
                    (true, false) => return Err(Error::NotDirectory),
                    (false, true) => return Err(Error::IsDirectory),
                    _ => self.check_empty(there)?,
                }
            }
        }
        let old = self.shown_name(&from_dir, &found)?;
        let replaced = replaced.filter(|there| there.node != found.node);
        if replaced.is_none() && from.0 == to.0 {
            let name = self.new_name(&to_dir, long, &[found.node])?;
            let slots = name.slots(&found.entry);
            writing.is_essential = true;
            if self.rename_in_place(writing, &to_dir, (&found, &old), &name, &slots)? {
                return self.touch(to.0);
            }
        }
        self.relocate(writing, (from.0, &found, &old), (&mut to_dir, long), replaced)
    }

    /// Moves an entry to other slots, or to those of the entry that it replaces.
    fn relocate(
        &self,
        writing: &mut Writing,
        (from, found, old): (NodeId, &Found, &str),
        (to_dir, long): (&mut Dir, &str),
        replaced: Option<Found>,
    ) -> Result<()> {
        let was_at = found.node.0 * SLOT;
        let is_durable = self.is_durable(found)?;
        if is_durable && writing.is_essential {
            // Between the two sectors of a name there is a moment without it: nothing else must be lost in that.
            self.commit(writing)?;
        }
        let mut erased = None;
        let at = match &replaced {
            Some(there) if self.shown_name(to_dir, there)? == long => {
                let entry = DirEntry { name: there.entry.name, nt_res: there.entry.nt_res, ..found.entry };
                self.metadata.put(&slot(&entry), there.node.0 * SLOT)?;
                there.node.0 * SLOT
            }
            there => {
                let but: Vec<NodeId> = there.iter().map(|there| there.node).chain([found.node]).collect();
                let name = self.new_name(to_dir, long, &but)?;
                let at = self.insert(writing, to_dir, &name.slots(&found.entry), &name)?;
                erased = there.as_ref();
                at
            }
        };
        writing.is_essential = true;
        if let Some(there) = erased {
            let shown = self.shown_name(to_dir, there)?;
            self.erase(writing, to_dir, there, &shown)?;
        }
        let from_dir = self.dir(from)?;
        self.erase(writing, &from_dir, found, old)?;
        if let Some(there) = &replaced {
            self.retire(writing, there)?;
        }
        self.move_node(found.node, NodeId(at / SLOT));
        if is_durable && was_at / SECTOR != at / SECTOR {
            writing.moved = Some(was_at - was_at % SECTOR);
        }
        if found.entry.attr & ATTR_DIRECTORY != 0 && from != to_dir.node {
            self.set_parent(&found.entry, to_dir.first)?;
        }
        self.touch(from)?;
        self.touch(to_dir.node)
    }

    /// Whether the disk has this entry, and it names clusters.
    fn is_durable(&self, found: &Found) -> Result<bool> {
        let mut slot = [0; SLOT as usize];
        self.metadata.below().read_at(&mut slot, found.node.0 * SLOT)?;
        let entry = DirEntry::read_from_bytes(&slot).expect("as long as an entry");
        let first = self.first_cluster(&entry);
        Ok(!matches!(entry.name[0], FREE | FREE_TO_END) && first != 0 && first == self.first_cluster(&found.entry))
    }

    /// Whether a directory lies in the one that begins with the cluster `outer`, or is it.
    fn lies_in(&self, dir: &Dir, outer: u32) -> Result<bool> {
        let mut at = dir.first;
        for _ in 0..DEPTH_MAX {
            if at == outer {
                return Ok(true);
            }
            if !self.geometry.has(at) || self.geometry.root == super::super::geometry::Root::Chain(at) {
                return Ok(false);
            }
            at = self.first_cluster(&self.dot_dot(at)?.unwrap_or(DirEntry::new_zeroed()));
        }
        Err(corrupt!("directory", self.geometry.offset_of(at), "it lies {DEPTH_MAX} directories deep"))
    }

    /// The entry `..` of the directory in this cluster, if it has one.
    fn dot_dot(&self, first: u32) -> Result<Option<DirEntry>> {
        let mut slot = [0; SLOT as usize];
        self.metadata.read_at(&mut slot, self.geometry.offset_of(first) + SLOT)?;
        let entry = DirEntry::read_from_bytes(&slot).expect("as long as an entry");
        Ok((entry.name == DOT_DOT).then_some(entry))
    }

    fn set_parent(&self, moved: &DirEntry, parent: u32) -> Result<()> {
        let first = self.first_cluster(moved);
        if self.geometry.has(first)
            && let Some(mut entry) = self.dot_dot(first)?
        {
            self.set_first_cluster(&mut entry, parent);
            self.metadata.put(entry.as_bytes(), self.geometry.offset_of(first) + SLOT)?;
        }
        Ok(())
    }

    /// Sets when a directory was changed. The root has no entry that would say so.
    fn touch(&self, dir: NodeId) -> Result<()> {
        if dir == ROOT {
            return Ok(());
        }
        let mut entry = self.entry(self.key(dir)?)?;
        let (date, of_day, _) = time::encode(now());
        (entry.wrt_date, entry.wrt_time) = (date.into(), of_day.into());
        self.store(dir, &entry)
    }
}
