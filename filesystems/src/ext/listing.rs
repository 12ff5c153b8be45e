//! A whole directory: listing it from any place on, and finding a name in it.

use std::borrow::Cow;
use std::sync::Arc;

use images::{Error, Result};

use super::directory::{Dirent, Dirents};
use super::features::compat;
use super::htree::Search;
use super::inode::Inode;
use super::layout::inode_flags;
use super::volume::Volume;
use super::{casefold, inline, names};
use crate::node::{Entry, NodeId};

/// Bytes of the parent's inode number, with which the first part of an inline directory starts.
pub(super) const INLINE_PARENT: usize = 4;

/// How many damaged blocks are passed over at once (ours).
const MAX_DAMAGED: u32 = 1024;

/// A name to be found, in the form in which it is compared.
struct Wanted<'a> {
    /// As it is on the disk; `None` if that cannot be told from what is shown.
    raw: Option<Cow<'a, [u8]>>,
    shown: &'a [u8],
    /// In a directory without regard to case: the folded form.
    folded: Option<Vec<u8>>,
}

impl<'a> Wanted<'a> {
    fn new(directory: &Inode, name: &'a [u8]) -> Self {
        let raw = if directory.has(inode_flags::ENCRYPT) { names::raw(name) } else { Some(Cow::Borrowed(name)) };
        let folds = directory.has(inode_flags::CASEFOLD) && !directory.has(inode_flags::ENCRYPT);
        Self { raw, shown: name, folded: if folds { casefold::fold(name) } else { None } }
    }

    fn is(&self, entry: &Dirent<'_>) -> bool {
        match &self.raw {
            Some(raw) if entry.name == &**raw => true,
            Some(_) => self.folded.is_some() && casefold::fold(entry.name) == self.folded,
            None => *names::shown(entry.name) == *self.shown,
        }
    }
}

impl Volume {
    /// The parts of an inline directory that hold entries, each with its position in the directory.
    fn inline_parts<'a>(&'a self, directory: &'a Inode) -> Result<[(u64, Dirents<'a>); 2]> {
        let [(first, first_at), (second, second_at)] = inline::parts(directory)?;
        let start = INLINE_PARENT as u64;
        let one = Dirents::new(self.superblock(), directory, &first[INLINE_PARENT..], first_at + start);
        let two = Dirents::new(self.superblock(), directory, second, second_at);
        Ok([(start, one), (first.len() as u64, two)])
    }

    /// Calls `each` for the entries after position `from`, without `.` and `..`, until it returns false.
    ///
    /// Positions are bytes of the directory, so going on costs nothing. What is damaged is passed over, a block at a
    /// time; once all that is sound is listed, that fails, in this call or in the one that reaches the end.
    pub fn list(&self, directory: &Inode, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let encrypted = directory.has(inode_flags::ENCRYPT);
        let mut give = |start: u64, entry: Dirent<'_>| {
            if start + (entry.position as u64) < from || is_dots(&entry, start, encrypted) {
                return true;
            }
            let name = if encrypted { names::shown(entry.name) } else { Cow::Borrowed(entry.name) };
            let (node, next) = (NodeId(entry.inode.into()), start + entry.next as u64);
            each(Entry { name: &name, node, kind: entry.kind, next })
        };
        if directory.has(inode_flags::INLINE_DATA) {
            let mut damage = None;
            for (start, entries) in self.inline_parts(directory)? {
                for entry in entries {
                    match entry {
                        Ok(entry) if !give(start, entry) => return Ok(()),
                        Ok(_) => {}
                        Err(error) => damage = damage.or(Some(error)),
                    }
                }
            }
            return damage.map_or(Ok(()), Err);
        }
        let block_size = self.block_size();
        let known = self.known(directory)?;
        let mut damaged = 0;
        let at_end = self.each_block(directory, from / block_size, known.end, &mut |number, block| {
            let listed = block.and_then(|block| {
                for entry in Dirents::new(self.superblock(), directory, &block, block.offset()) {
                    if !give(number * block_size, entry?) {
                        return Ok(false);
                    }
                }
                Ok(true)
            });
            listed.unwrap_or_else(|error| {
                known.damage.get_or_init(|| Arc::new(error));
                damaged += 1;
                damaged < MAX_DAMAGED
            })
        })?;
        match known.damage.get() {
            Some(error) if at_end || damaged == MAX_DAMAGED => Err(Error::Shared(error.clone())),
            _ => Ok(()),
        }
    }

    /// The inode that `name` names in a directory, by its hash tree where it has a sound one.
    pub fn find(&self, directory: &Inode, name: &[u8]) -> Result<Option<u32>> {
        let wanted = Wanted::new(directory, name);
        if directory.has(inode_flags::INLINE_DATA) {
            for (_, entries) in self.inline_parts(directory)? {
                for entry in entries {
                    let entry = entry?;
                    if wanted.is(&entry) {
                        return Ok(Some(entry.inode));
                    }
                }
            }
            return Ok(None);
        }
        if directory.has(inode_flags::INDEX) && self.superblock().features.has_compat(compat::DIR_INDEX) {
            match self.find_hashed(directory, &wanted) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => log::debug!("{}: searched without its index: {error}", self.disk()),
            }
        }
        self.find_linear(directory, &wanted)
    }

    /// Searches with the hash tree; the outer `None` if the hash function cannot be used.
    fn find_hashed(&self, directory: &Inode, wanted: &Wanted<'_>) -> Result<Option<Option<u32>>> {
        let Some(hashed) = wanted.folded.as_deref().or(wanted.raw.as_deref()) else { return Ok(None) };
        let Some(mut search) = Search::new(self, directory, hashed)? else { return Ok(None) };
        loop {
            let block = self.directory_block(directory, search.leaf())?;
            self.check_leaf(directory, &block)?;
            for entry in Dirents::new(self.superblock(), directory, &block, block.offset()) {
                let entry = entry?;
                if wanted.is(&entry) {
                    return Ok(Some(Some(entry.inode)));
                }
            }
            if !search.advance()? {
                return Ok(Some(None));
            }
        }
    }

    /// Searches all blocks. A damaged block is an error only if the name is in no other.
    fn find_linear(&self, directory: &Inode, wanted: &Wanted<'_>) -> Result<Option<u32>> {
        let (mut found, mut damage) = (None, None);
        let known = self.known(directory)?;
        self.each_block(directory, 0, known.end, &mut |_, block| {
            let scan = block.and_then(|block| {
                for entry in Dirents::new(self.superblock(), directory, &block, block.offset()) {
                    let entry = entry?;
                    if wanted.is(&entry) {
                        return Ok(Some(entry.inode));
                    }
                }
                Ok(None)
            });
            match scan {
                Ok(inode) => found = inode,
                Err(error) => damage = damage.take().or(Some(error)),
            }
            found.is_none()
        })?;
        damage = damage.or_else(|| known.damage.get().cloned().map(Error::Shared));
        match (found, damage) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }
}

/// Whether an entry is `.` or `..`; in an encrypted directory, where other names may read so, only in their places.
fn is_dots(entry: &Dirent<'_>, start: u64, encrypted: bool) -> bool {
    matches!(entry.name, b"." | b"..") && (!encrypted || start == 0 && entry.position <= 12)
}
