//! The devices by all that fstab can call them, so that a long fstab is no more work than a long list.

use std::collections::HashMap;

use super::mdadm_conf::digits;
use crate::stack::{Contents, Device, Level, Stack};

/// What a device can be known by, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// The UUID of its contents, in lower case.
    Uuid,
    /// The label of its contents.
    Label,
    /// The UUID of the partition, in lower case.
    PartUuid,
    /// The label of the partition.
    PartLabel,
    /// The device mapper's UUID of a logical volume.
    DmUuid,
    /// The digits of an array's UUID.
    ArrayUuid,
    /// An array's name.
    ArrayName,
}

/// The devices of a stack by their tags, each list in the order of the devices.
pub struct Tags {
    tagged: HashMap<(Tag, Vec<u8>), Vec<usize>>,
    /// Partitions that hold something known, by their number; and by their number and what it is.
    numbered: HashMap<u32, Vec<usize>>,
    numbered_kinds: HashMap<(u32, String), Vec<usize>>,
}

impl Tags {
    /// Of all devices.
    pub fn of(stack: &Stack) -> Self {
        let mut tags = Self { tagged: HashMap::new(), numbered: HashMap::new(), numbered_kinds: HashMap::new() };
        for (at, device) in stack.devices.iter().enumerate() {
            tags.add(at, device);
        }
        tags
    }

    fn add(&mut self, at: usize, device: &Device) {
        let mut tag = |tag: Tag, value: Vec<u8>| self.tagged.entry((tag, value)).or_default().push(at);
        if let Some(identity) = device.identity() {
            if let Some(uuid) = &identity.uuid {
                tag(Tag::Uuid, uuid.to_ascii_lowercase().into());
            }
            if let Some(label) = &identity.label {
                tag(Tag::Label, label.clone());
            }
        }
        if let Some(label) = &device.label {
            tag(Tag::PartLabel, label.clone().into());
        }
        let uuid = device.uuid.as_deref();
        match &device.level {
            Level::Partition(_) => {
                uuid.into_iter().for_each(|uuid| tag(Tag::PartUuid, uuid.to_ascii_lowercase().into()))
            }
            Level::Array(name) => {
                // One without a UUID is none that mdadm.conf could mean.
                if let Some(uuid) = uuid {
                    tag(Tag::ArrayUuid, digits(uuid).into());
                    tag(Tag::ArrayName, name.clone().into());
                }
            }
            _ => {}
        }
        if let Some(mapped) = &device.mapped {
            tag(Tag::DmUuid, mapped.clone().into());
        }
        if let (Level::Partition(number), Contents::Known(_, identity)) = (&device.level, &device.contents) {
            self.numbered.entry(*number).or_default().push(at);
            self.numbered_kinds.entry((*number, identity.kind.clone())).or_default().push(at);
        }
    }

    /// The devices with this tag.
    pub fn all(&self, tag: Tag, value: &[u8]) -> &[usize] {
        self.tagged.get(&(tag, value.to_vec())).map_or(&[], Vec::as_slice)
    }

    /// The partitions with this number that hold what fstab calls `kind`, or anything known.
    pub fn partitions(&self, number: u32, kind: Option<&str>) -> &[usize] {
        let found = match kind {
            Some(kind) if kind != "auto" => self.numbered_kinds.get(&(number, kind.to_owned())),
            _ => self.numbered.get(&number),
        };
        found.map_or(&[], Vec::as_slice)
    }
}
