//! POSIX access control lists, in the form of Linux's extended attributes: what they say, what a new node inherits, and
//! how they follow the permissions of a mode. See acl(5) and `include/uapi/linux/posix_acl_xattr.h`.

use images::{Error, Result};

/// The only version of the form.
const VERSION: u32 = 2;

/// The version, and the size of an entry: tag, permissions, id.
const HEADER: usize = 4;
const ENTRY: usize = 8;

/// The kinds of entries, in the order in which a list has them.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The longest list that is taken, in entries: the kernel takes no longer attribute than 64 KiB. The kernel's.
const MOST_ENTRIES: usize = (65536 - HEADER) / ENTRY;

/// A list that is valid: its entries are in order, and none is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    /// Three bits: read, write, execute.
    permissions: u16,
    id: u32,
}

impl Acl {
    /// The list in the value of an attribute. Fails with `Invalid` if it is none.
    pub fn parse(value: &[u8]) -> Result<Self> {
        let (version, rest) = value.split_first_chunk::<HEADER>().ok_or(Error::Invalid)?;
        if u32::from_le_bytes(*version) != VERSION || rest.len() % ENTRY != 0 || rest.len() / ENTRY > MOST_ENTRIES {
            return Err(Error::Invalid);
        }
        let entry = |bytes: &[u8]| Entry {
            tag: u16::from_le_bytes([bytes[0], bytes[1]]),
            permissions: u16::from_le_bytes([bytes[2], bytes[3]]),
            id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        let list = Self { entries: rest.chunks_exact(ENTRY).map(entry).collect() };
        if list.is_valid() { Ok(list) } else { Err(Error::Invalid) }
    }

    /// The value of the attribute.
    pub fn value(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for Entry { tag, permissions, id } in &self.entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    /// Whether it says no more than the nine bits of a mode: then the attribute is not stored.
    pub fn is_minimal(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry.tag, USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// The nine bits of the mode that go with it: those of the group are the mask's, if there is one.
    pub fn permissions(&self) -> u16 {
        let group = self.group().permissions;
        self.get(USER_OBJ).permissions << 6 | group << 3 | self.get(OTHER).permissions
    }

    /// The list after a change of the nine bits.
    #[must_use]
    pub fn with_permissions(mut self, permissions: u16) -> Self {
        let group = self.group().tag;
        for (tag, shift) in [(USER_OBJ, 6), (group, 3), (OTHER, 0)] {
            self.set(tag, permissions >> shift & 7);
        }
        self
    }

    /// What a new node gets from this default list of its directory: its own access list, whose permissions are its nine
    /// bits. A umask has no say.
    #[must_use]
    pub fn inherited(self, permissions: u16) -> Self {
        let both = self.permissions() & permissions;
        self.with_permissions(both)
    }

    /// Whether the tags are in order and complete, and a mask is there if it is needed.
    fn is_valid(&self) -> bool {
        let count = |wanted| self.entries.iter().filter(|entry| entry.tag == wanted).count();
        let sound = |entry: &Entry| {
            let named = matches!(entry.tag, USER | GROUP);
            entry.permissions <= 7 && (named || matches!(entry.tag, USER_OBJ | GROUP_OBJ | MASK | OTHER))
        };
        let named = count(USER) + count(GROUP) > 0;
        self.entries.iter().all(sound)
            && self.entries.is_sorted_by_key(|entry| entry.tag)
            && [USER_OBJ, GROUP_OBJ, OTHER].iter().all(|tag| count(*tag) == 1)
            && (count(MASK) == 1 || (count(MASK) == 0 && !named))
    }

    /// The entry that the group's bits of a mode stand for.
    fn group(&self) -> Entry {
        self.entries.iter().copied().find(|entry| entry.tag == MASK).unwrap_or_else(|| self.get(GROUP_OBJ))
    }

    fn get(&self, tag: u16) -> Entry {
        *self.entries.iter().find(|entry| entry.tag == tag).expect("a list is valid")
    }

    fn set(&mut self, tag: u16, permissions: u16) {
        self.entries.iter_mut().filter(|entry| entry.tag == tag).for_each(|entry| entry.permissions = permissions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id of an entry that is for nobody by name.
    const NO_ID: u32 = u32::MAX;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().map(|&(tag, permissions, id)| Entry { tag, permissions, id });
        Acl { entries: entries.collect() }.value()
    }

    const PLAIN: &[(u16, u16, u32)] = &[(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (OTHER, 1, NO_ID)];
    const NAMED: &[(u16, u16, u32)] = &[
        (USER_OBJ, 7, NO_ID),
        (USER, 6, 1000),
        (GROUP_OBJ, 4, NO_ID),
        (GROUP, 7, 4),
        (MASK, 6, NO_ID),
        (OTHER, 0, NO_ID),
    ];

    #[test]
    fn values_come_back_as_they_were() {
        for entries in [PLAIN, NAMED] {
            assert_eq!(Acl::parse(&list(entries)).unwrap().value(), list(entries));
        }
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        let without = |tag: u16| NAMED.iter().copied().filter(|entry| entry.0 != tag).collect::<Vec<_>>();
        let reversed: Vec<_> = NAMED.iter().rev().copied().collect();
        let mut twice = PLAIN.to_vec();
        twice.insert(0, PLAIN[0]);
        for entries in [without(MASK), without(OTHER), without(USER_OBJ), reversed, twice, vec![], vec![(64, 1, 0)]] {
            assert!(Acl::parse(&list(&entries)).is_err(), "{entries:?}");
        }
        let mut bits = PLAIN.to_vec();
        bits[1].1 = 8;
        assert!(Acl::parse(&list(&bits)).is_err());
        let whole = list(PLAIN);
        assert!((0..whole.len()).all(|len| Acl::parse(&whole[..len]).is_err()));
        assert!(Acl::parse(&[1, 0, 0, 0]).is_err(), "another version");
    }

    #[test]
    fn the_mask_is_the_groups_bits() {
        let (plain, named) = (Acl::parse(&list(PLAIN)).unwrap(), Acl::parse(&list(NAMED)).unwrap());
        assert_eq!((plain.permissions(), plain.is_minimal()), (0o751, true));
        assert_eq!((named.permissions(), named.is_minimal()), (0o760, false));
        let changed = named.with_permissions(0o604);
        assert_eq!((changed.permissions(), changed.get(GROUP_OBJ).permissions), (0o604, 4));
        assert_eq!(plain.with_permissions(0o640).permissions(), 0o640);
    }

    #[test]
    fn a_new_node_gets_what_both_allow() {
        let named = Acl::parse(&list(NAMED)).unwrap().inherited(0o666);
        assert_eq!((named.permissions(), named.is_minimal()), (0o660, false));
        let plain = Acl::parse(&list(PLAIN)).unwrap().inherited(0o777);
        assert_eq!((plain.permissions(), plain.is_minimal()), (0o751, true));
    }
}
