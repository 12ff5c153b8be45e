//! Access control lists, in the form of programs and in that of the disk, and what they do to permissions.
//!
//! The form of programs is that of acl(5) in extended attributes: version 2, and 8 bytes an entry. On the disk it is version
//! 1, and only named users and groups have an id.

use images::{Error, Result, corrupt};

/// The tags of entries.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The versions of the two forms.
const DISK_VERSION: u32 = 1;
const XATTR_VERSION: u32 = 2;
/// The id of entries that have none.
const UNDEFINED_ID: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    /// Read 4, write 2, execute 1.
    permissions: u16,
    id: u32,
}

/// A list whose entries are in order and complete, or which is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acl(Vec<Entry>);

impl Acl {
    /// From the value of an extended attribute. Fails with `Invalid` if it is none that Linux would take.
    pub fn from_xattr(value: &[u8]) -> Result<Self> {
        let entries = match value.split_first_chunk() {
            Some((version, rest)) if u32::from_le_bytes(*version) == XATTR_VERSION => rest,
            _ => return Err(Error::Invalid),
        };
        let (chunks, []) = entries.as_chunks::<8>() else { return Err(Error::Invalid) };
        let entry = |[a, b, c, d, e, f, g, h]: [u8; 8]| Entry {
            tag: u16::from_le_bytes([a, b]),
            permissions: u16::from_le_bytes([c, d]),
            id: u32::from_le_bytes([e, f, g, h]),
        };
        let acl = Self(chunks.iter().copied().map(entry).collect());
        if acl.is_empty() || acl.is_valid() { Ok(acl) } else { Err(Error::Invalid) }
    }

    /// From the disk; `at` is where it lies, for messages.
    pub fn from_disk(value: &[u8], at: u64) -> Result<Self> {
        let wrong = || corrupt!("access control list", at, "{} bytes that make no list", value.len());
        let mut rest = match value.split_first_chunk() {
            Some((version, rest)) if u32::from_le_bytes(*version) == DISK_VERSION => rest,
            _ => return Err(wrong()),
        };
        let mut entries = Vec::new();
        while let Some(([a, b, c, d], after)) = rest.split_first_chunk() {
            let (tag, permissions) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let (id, after) = match tag {
                USER | GROUP => after.split_first_chunk().map(|(id, after)| (u32::from_le_bytes(*id), after)),
                _ => Some((UNDEFINED_ID, after)),
            }
            .ok_or_else(wrong)?;
            entries.push(Entry { tag, permissions, id });
            rest = after;
        }
        let acl = Self(entries);
        if rest.is_empty() && (acl.is_empty() || acl.is_valid()) { Ok(acl) } else { Err(wrong()) }
    }

    /// As it lies on the disk.
    pub fn to_disk(&self) -> Vec<u8> {
        let mut value = DISK_VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend(entry.tag.to_le_bytes());
            value.extend(entry.permissions.to_le_bytes());
            if matches!(entry.tag, USER | GROUP) {
                value.extend(entry.id.to_le_bytes());
            }
        }
        value
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says no more than permissions do.
    pub fn is_minimal(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.tag, USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// In the order of tags, with the three that must be there once, and a mask where somebody is named.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(USER) + count(GROUP) > 0;
        self.0.is_sorted_by_key(|entry| entry.tag)
            && self.0.iter().all(|entry| entry.permissions <= 7 && entry.tag.is_power_of_two() && entry.tag <= OTHER)
            && [USER_OBJ, GROUP_OBJ, OTHER].iter().all(|tag| count(*tag) == 1)
            && (count(MASK) == 1 || count(MASK) == 0 && !named)
    }

    /// The entry whose permissions are those of the group in the mode: the mask, where there is one.
    fn group_tag(&self) -> u16 {
        if self.0.iter().any(|entry| entry.tag == MASK) { MASK } else { GROUP_OBJ }
    }

    fn of(&self, tag: u16) -> u16 {
        self.0.iter().find(|entry| entry.tag == tag).map_or(0, |entry| entry.permissions)
    }

    /// The mode with this list's permissions in it.
    pub fn permissions(&self, mode: u16) -> u16 {
        mode & !0o777 | self.of(USER_OBJ) << 6 | self.of(self.group_tag()) << 3 | self.of(OTHER)
    }

    /// The list after a change of the permissions.
    pub fn with_permissions(mut self, mode: u16) -> Self {
        let group = self.group_tag();
        for entry in &mut self.0 {
            match entry.tag {
                USER_OBJ => entry.permissions = mode >> 6 & 7,
                OTHER => entry.permissions = mode & 7,
                tag if tag == group => entry.permissions = mode >> 3 & 7,
                _ => {}
            }
        }
        self
    }

    /// What a node that is made with these permissions gets of its directory's default list, and its permissions then.
    pub fn inherited(&self, permissions: u16) -> (Self, u16) {
        let most = self.permissions(0);
        let permissions = permissions & !0o777 | permissions & most & 0o777;
        (self.clone().with_permissions(permissions), permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Acl {
        let mut value = XATTR_VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        Acl::from_xattr(&value).unwrap()
    }

    const NAMED: &[(u16, u16, u32)] = &[
        (USER_OBJ, 7, UNDEFINED_ID),
        (USER, 6, 1000),
        (GROUP_OBJ, 5, UNDEFINED_ID),
        (MASK, 6, UNDEFINED_ID),
        (OTHER, 4, UNDEFINED_ID),
    ];

    #[test]
    fn both_forms_hold_the_same() {
        let acl = acl(NAMED);
        let disk = acl.to_disk();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(Acl::from_disk(&disk, 0).unwrap(), acl);
        let cuts = (0..disk.len()).filter(|len| Acl::from_disk(&disk[..*len], 0).is_ok()).count();
        assert_eq!(cuts, 1, "only the empty list is whole as well");
    }

    #[test]
    fn lists_that_linux_refuses() {
        for wrong in [&NAMED[1..], &NAMED[..4], &[&NAMED[..3], &NAMED[4..]].concat(), &[NAMED, NAMED].concat()] {
            let value: Vec<u8> = wrong.iter().fold(2u32.to_le_bytes().to_vec(), |mut value, (tag, permissions, id)| {
                value.extend(tag.to_le_bytes());
                value.extend(permissions.to_le_bytes());
                value.extend(id.to_le_bytes());
                value
            });
            assert!(matches!(Acl::from_xattr(&value), Err(Error::Invalid)), "{wrong:?}");
        }
        assert!(Acl::from_xattr(&[]).is_err() && Acl::from_xattr(&[1, 0, 0, 0]).is_err());
        assert!(Acl::from_xattr(&[2, 0, 0, 0]).unwrap().is_empty());
    }

    #[test]
    fn permissions_follow_the_mask() {
        let acl = acl(NAMED);
        assert_eq!(acl.permissions(0o4000), 0o4764);
        assert_eq!(acl.clone().with_permissions(0o751).permissions(0), 0o751);
        assert_eq!(acl.inherited(0o2777).1, 0o2764);
        assert_eq!(acl.inherited(0o600), (acl.clone().with_permissions(0o600), 0o600));
        assert!(!acl.is_minimal());
    }
}
