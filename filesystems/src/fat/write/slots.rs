//! Room for names in a directory, and the names that are put there.

use std::sync::Arc;

use images::{Error, Result};
use zerocopy::FromBytes;

use super::super::directory::{Found, Index, Place};
use super::super::file_system::Fat;
use super::super::layout::*;
use super::super::name;
use super::super::node::Node;
use super::super::window::Window;
use super::super::writing::{ORPHAN, Room, Writing};
use super::short_name::{NewName, Slot};
use crate::NodeId;

/// Of how many directories is kept where there is room, ours.
const ROOMS_MAX: usize = 256;

/// A directory that is to be changed.
pub struct Dir {
    pub node: NodeId,
    /// What is known of it is known by this.
    pub key: u64,
    pub place: Place,
    /// Its first cluster; 0 for the root, as `..` names it.
    pub first: u32,
}

impl Room {
    fn read(fat: &Fat, place: &Place) -> Result<Self> {
        let (mut window, mut room) = (Window::new(&fat.metadata), Self::default());
        let mut is_over = false;
        while let Some((at, count)) = place.find(&fat.geometry, room.all)? {
            for slot in 0..count {
                let [first] = if is_over { [FREE_TO_END] } else { window.get(at + u64::from(slot) * SLOT)? };
                is_over |= first == FREE_TO_END;
                if first == FREE {
                    room.free(room.all + slot, 1);
                }
                room.end = if is_over { room.end } else { room.all + slot + 1 };
            }
            room.all += count;
            if room.all >= DIRECTORY_SLOTS_MAX {
                room.all = DIRECTORY_SLOTS_MAX;
                break;
            }
        }
        Ok(room)
    }

    /// Notes that slots before the end are free.
    fn free(&mut self, first: u32, count: u32) {
        let (mut first, mut count) = (first, count);
        if let Some((before, len)) = self.holes.range(..first).next_back().map(|(at, len)| (*at, *len))
            && before + len == first
        {
            self.holes.remove(&before);
            (first, count) = (before, len + count);
        }
        if let Some(len) = self.holes.remove(&(first + count)) {
            count += len;
        }
        self.holes.insert(first, count);
    }

    /// Whether so many slots side by side are free.
    fn has(&self, count: u32) -> bool {
        self.all - self.end >= count || self.holes.values().any(|len| *len >= count)
    }

    /// Takes so many free slots side by side: the first of them, if there are any.
    fn take(&mut self, count: u32) -> Option<u32> {
        if let Some((first, len)) = self.holes.iter().find(|(_, len)| **len >= count).map(|(at, len)| (*at, *len)) {
            self.holes.remove(&first);
            if len > count {
                self.holes.insert(first + count, len - count);
            }
            return Some(first);
        }
        let first = self.end;
        (self.all - self.end >= count).then(|| {
            self.end += count;
            first
        })
    }
}

impl Fat {
    /// A directory, to change what is in it. Fails with `NotFound` if it was removed.
    pub(super) fn dir(&self, node: NodeId) -> Result<Dir> {
        let dir = self.node(node)?;
        let place = self.place(&dir)?;
        let first = match &dir {
            Node::Live(id, _) if id.0 & ORPHAN != 0 => return Err(Error::NotFound),
            Node::Live(_, entry) => self.first_cluster(entry),
            _ => 0,
        };
        Ok(Dir { node, key: self.directory_key(&dir), place, first })
    }

    /// The entry of a name that `check` has passed.
    pub(super) fn find_in(&self, dir: &Dir, name: &str) -> Result<Option<Found>> {
        let index = self.index(dir.key, &dir.place);
        index.find(&self.metadata, &self.geometry, &dir.place, name)
    }

    fn change_index(&self, dir: &Dir, change: impl FnOnce(&mut Index)) {
        if let Some((_, mut index)) = self.indices.remove(&dir.key) {
            change(Arc::make_mut(&mut index));
            self.indices.insert(dir.key, index);
        }
    }

    /// The name with a short one that no entry of the directory has, but for those of these nodes.
    pub(super) fn new_name<'a>(&self, dir: &Dir, long: &'a str, but: &[NodeId]) -> Result<NewName<'a>> {
        let index = self.index(dir.key, &dir.place);
        index.check_complete(&self.metadata, &self.geometry, &dir.place)?;
        let mut shown = String::new();
        NewName::new(long, |short| {
            shown.clear();
            push_shown(short, &mut shown);
            let found = index.find(&self.metadata, &self.geometry, &dir.place, &shown)?;
            Ok(found.is_some_and(|found| !but.contains(&found.node)))
        })
    }

    /// Makes sure that a directory has room for so many slots side by side; says whether it had to grow for that.
    pub(super) fn make_room(&self, writing: &mut Writing, dir: &mut Dir, count: u32) -> Result<bool> {
        if writing.rooms.len() >= ROOMS_MAX {
            writing.rooms.clear();
        }
        let mut room = match writing.rooms.remove(&dir.key) {
            Some(room) => room,
            None => Room::read(self, &dir.place)?,
        };
        let grows = !room.has(count);
        if grows {
            self.grow(writing, dir, &mut room, count)?;
        }
        writing.rooms.insert(dir.key, room);
        Ok(grows)
    }

    /// Puts the slots of one entry into a directory, which grows if it has to. Where the last of them lies, in bytes.
    pub(super) fn insert(
        &self,
        writing: &mut Writing,
        dir: &mut Dir,
        slots: &[Slot],
        name: &NewName<'_>,
    ) -> Result<u64> {
        let count = u32::try_from(slots.len()).expect("at most 21");
        self.make_room(writing, dir, count)?;
        let mut room = writing.rooms.remove(&dir.key).ok_or(Error::NoSpace)?;
        let Some(first) = room.take(count) else { return Err(Error::NoSpace) };
        self.put_slots(dir, first, slots)?;
        if first + count == room.end && room.end < room.all {
            // Behind the end of a directory that somebody else made there may be anything.
            self.metadata.put(&[FREE_TO_END], self.slot_at(dir, room.end)?)?;
        }
        writing.rooms.insert(dir.key, room);
        self.note(dir, slots, name, first);
        self.slot_at(dir, first + count - 1)
    }

    fn put_slots(&self, dir: &Dir, first: u32, slots: &[Slot]) -> Result<()> {
        (first..).zip(slots).try_for_each(|(slot, bytes)| self.metadata.put(bytes, self.slot_at(dir, slot)?))
    }

    fn slot_at(&self, dir: &Dir, slot: u32) -> Result<u64> {
        Ok(dir.place.find(&self.geometry, slot)?.ok_or(Error::NoSpace)?.0)
    }

    /// Notes in the index what an entry is called.
    fn note(&self, dir: &Dir, slots: &[Slot], name: &NewName<'_>, first: u32) {
        let mut shown = String::new();
        push_shown(&name.short, &mut shown);
        let is_directory = slots.last().is_some_and(|slot| slot[11] & ATTR_DIRECTORY != 0);
        self.change_index(dir, |index| {
            index.add(name.long, first);
            index.add(&shown, first);
            index.subdirectories += u32::from(is_directory);
        });
    }

    /// Makes a directory long enough for so many slots more. Its new clusters are zero on the disk before anything leads to
    /// them. Fails with `NoSpace` if it cannot be that long.
    fn grow(&self, writing: &mut Writing, dir: &mut Dir, room: &mut Room, count: u32) -> Result<()> {
        let Place::Clusters(chain) = &dir.place else { return Err(Error::NoSpace) };
        let per_cluster = self.geometry.cluster_size / SLOT as u32;
        let more = (room.end + count - room.all).div_ceil(per_cluster);
        let (before, all) = (chain.clusters(), room.all + more * per_cluster);
        let Some((first, _)) = chain.find(0)? else { return Err(Error::NoSpace) };
        if all > DIRECTORY_SLOTS_MAX {
            return Err(Error::NoSpace);
        }
        dir.place = Place::Fixed(0, 0); // Lets go of the chain, which is about to change.
        let extended = self.extend(writing, first, more);
        let chain = self.chain(0, first, self.geometry.clusters);
        dir.place = Place::Clusters(chain.clone());
        extended?;
        for index in before..before + more {
            let Some((cluster, _)) = chain.find(index)? else { return Err(Error::NoSpace) };
            let done = self.zero(writing, self.geometry.offset_of(cluster), self.geometry.cluster_size.into());
            if done.is_err() {
                dir.place = Place::Fixed(0, 0);
                self.cut(writing, first, before)?;
                return done;
            }
        }
        room.all = all;
        Ok(())
    }

    /// Marks the slots of an entry as free.
    pub(super) fn erase(&self, writing: &mut Writing, dir: &Dir, found: &Found, long: &str) -> Result<()> {
        for slot in found.first_slot..found.next_slot {
            self.metadata.put(&[FREE], self.slot_at(dir, slot)?)?;
        }
        if let Some(room) = writing.rooms.get_mut(&dir.key) {
            room.free(found.first_slot, found.next_slot - found.first_slot);
        }
        let mut shown = String::new();
        name::push_short(&found.entry, &mut shown);
        let is_directory = found.entry.attr & ATTR_DIRECTORY != 0;
        self.change_index(dir, |index| {
            index.remove(long, found.first_slot);
            index.remove(&shown, found.first_slot);
            index.subdirectories -= u32::from(is_directory).min(index.subdirectories);
        });
        Ok(())
    }

    /// Gives an entry of a directory another name in its own slots, if these are enough: its short name stays where it is, so
    /// that the sector that holds it changes at once.
    pub(super) fn rename_in_place(
        &self,
        writing: &mut Writing,
        dir: &Dir,
        (found, long): (&Found, &str),
        name: &NewName<'_>,
        slots: &[Slot],
    ) -> Result<bool> {
        let (had, count) = (found.next_slot - found.first_slot, slots.len() as u32);
        if count > had {
            return Ok(false);
        }
        self.erase(writing, dir, found, long)?;
        let first = found.next_slot - count;
        self.put_slots(dir, first, slots)?;
        // What was given back is taken again, but for what is left over.
        writing.rooms.remove(&dir.key);
        self.note(dir, slots, name, first);
        Ok(true)
    }

    /// The long name of an entry as the directory has it.
    pub(super) fn shown_name(&self, dir: &Dir, found: &Found) -> Result<String> {
        let mut entries =
            super::super::directory::Entries::new(&self.metadata, &self.geometry, &dir.place, found.first_slot);
        entries.next()?;
        Ok(entries.name().to_owned())
    }
}

/// The short name as it is shown if nothing says that it is in lower case.
fn push_shown(short: &[u8; 11], out: &mut String) {
    let mut slot: Slot = [0; SLOT as usize];
    slot[..11].copy_from_slice(short);
    name::push_short(&DirEntry::read_from_bytes(&slot).expect("an entry has 32 bytes"), out);
}
