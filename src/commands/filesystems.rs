//! `imgmount filesystems`: every disk, partition, array and logical volume in the images, and what each holds.

use std::collections::HashMap;

use images::Result;
use partition::Group;
use serde::Serialize;

use crate::cli::{List, Request};
use crate::stack::{Contents, Device, Level, Lock, Stack};
use crate::terminal;

/// Prints the listing.
pub fn run(request: &Request, list: &List) -> Result<()> {
    let stack = request.session.open()?;
    if list.json {
        return terminal::print_json(&Listing::of(&stack));
    }
    let mut page = terminal::Page::default();
    page.table(rows(&stack));
    terminal::print(&page)
}

/// The table: what lies on something stands below it, indented.
pub fn rows(stack: &Stack) -> Vec<Vec<String>> {
    let head = ["DEVICE", "SIZE", "CONTENTS", "LABEL", "UUID", "KIND"].map(str::to_owned).to_vec();
    let mut rows = Rows { stack, above: stack.above(), group_of: HashMap::new(), rows: vec![head] };
    for group in &stack.groups {
        for member in group.members.iter().filter_map(|member| member.index) {
            rows.group_of.entry(member).or_insert(group);
        }
    }
    for (at, device) in stack.devices.iter().enumerate() {
        if device.level == Level::Disk {
            rows.push(at, 0);
        }
    }
    // On several devices, and so below none of them.
    for (at, device) in stack.devices.iter().enumerate() {
        if matches!(device.level, Level::Array(_)) {
            rows.push(at, 0);
        }
    }
    let volumes = stack.volumes();
    for group in &stack.groups {
        let members: Vec<&str> = members(stack, group).collect();
        let free = format!("volume group on {}, {} free", members.join(", "), terminal::size(group.free));
        let name = format!("/dev/{}", group.name);
        rows.rows.push(vec![name, terminal::size(group.size), String::new(), String::new(), group.uuid.clone(), free]);
        for &at in volumes.get(group.name.as_str()).into_iter().flatten() {
            rows.push(at, 1);
        }
    }
    rows.rows
}

/// The rows so far, and what they are made from.
struct Rows<'a> {
    stack: &'a Stack,
    above: Vec<Vec<usize>>,
    /// The group that a device is a member of.
    group_of: HashMap<usize, &'a Group>,
    rows: Vec<Vec<String>>,
}

impl Rows<'_> {
    /// The row of a device, and those of the partitions in it and of what was unlocked in it.
    fn push(&mut self, at: usize, depth: usize) {
        self.rows.push(self.row(at, depth));
        for above in self.above[at].clone() {
            let device = &self.stack.devices[above];
            if matches!(device.level, Level::Partition(_) | Level::Unlocked) && device.on == [at] {
                self.push(above, depth + 1);
            }
        }
    }

    fn row(&self, at: usize, depth: usize) -> Vec<String> {
        let device = &self.stack.devices[at];
        let indent = "  ".repeat(depth);
        let label = device.contents_label().map(terminal::clean).unwrap_or_default();
        let uuid = device.contents_uuid().unwrap_or_default().to_owned();
        let contents = match &device.contents {
            Contents::Table(scheme) => format!("{scheme} partition table"),
            _ => device.contents_name().to_owned(),
        };
        let size = terminal::size(device.size);
        vec![format!("{indent}{}", device.name), size, contents, label, uuid, self.kind(at)]
    }

    /// The last column: what the table says of the device, or why it cannot be read.
    fn kind(&self, at: usize) -> String {
        let stack = self.stack;
        let device = &stack.devices[at];
        let names = |on: &[usize]| on.iter().map(|&at| stack.devices[at].name.as_str()).collect::<Vec<_>>().join(", ");
        let mut text = match (&device.contents, &device.level, &device.disk) {
            (Contents::Unreadable(error), Level::Array(_), _) => {
                format!("{} on {}: {error}", device.kind, names(&device.on))
            }
            (Contents::Unreadable(error), ..) => error.to_string(),
            (_, Level::Array(_), _) => format!("{} on {}", device.kind, names(&device.on)),
            (_, Level::Disk, Ok(disk)) => disk.to_string(),
            _ => device.kind.clone(),
        };
        let locked = match device.lock {
            Some(Lock::NoKey) => Some("locked".to_owned()),
            _ => device.locked(),
        };
        if let Some(why) = locked {
            text = if text.is_empty() { why } else { format!("{text}, {why}") };
        }
        if let Some(group) = self.group_of.get(&at) {
            text += &format!(", physical volume of {}", group.name);
        }
        if let Contents::Member(members) = device.contents {
            let mut above = self.above[at].iter().map(|&above| &stack.devices[above]);
            if let Some(array) = above.find(|device| matches!(device.level, Level::Array(_))) {
                text += &format!(", member of {}", array.name);
            } else if let Some(why) = members.idle {
                text += &format!(", {why}");
            }
        }
        text
    }
}

/// The devices of a group's members; a missing one by what is known of it.
fn members<'a>(stack: &'a Stack, group: &'a Group) -> impl Iterator<Item = &'a str> {
    group.members.iter().map(|member| member.index.map_or("a missing device", |at| &stack.devices[at].name))
}

/// The label of what a device holds, as JSON has it.
pub fn label_text(device: &Device) -> Option<String> {
    device.contents_label().map(|label| String::from_utf8_lossy(label).into_owned())
}

/// The listing as JSON.
#[derive(Serialize)]
struct Listing<'a> {
    devices: Vec<DeviceJson<'a>>,
    volume_groups: Vec<GroupJson<'a>>,
}

#[derive(Serialize)]
struct DeviceJson<'a> {
    name: &'a str,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on: Vec<&'a str>,
    size: u64,
    contents: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<PartitionJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    array: Option<ArrayJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_uuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct PartitionJson<'a> {
    number: u32,
    kind: &'a str,
    kind_id: Option<&'a str>,
    label: Option<&'a str>,
    uuid: Option<&'a str>,
}

#[derive(Serialize)]
struct ArrayJson<'a> {
    /// The name that it was made with.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    /// The level, and whether members are missing.
    kind: &'a str,
    uuid: Option<&'a str>,
}

#[derive(Serialize)]
struct GroupJson<'a> {
    name: &'a str,
    uuid: &'a str,
    size: u64,
    free: u64,
    physical_volumes: Vec<MemberJson<'a>>,
    logical_volumes: Vec<&'a str>,
}

#[derive(Serialize)]
struct MemberJson<'a> {
    /// Absent where the physical volume is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    uuid: Option<&'a str>,
    size: u64,
}

impl<'a> Listing<'a> {
    fn of(stack: &'a Stack) -> Self {
        let volumes = stack.volumes();
        let volumes = |group: &Group| volumes.get(group.name.as_str()).into_iter().flatten();
        let group = |group: &'a Group| GroupJson {
            name: &group.name,
            uuid: &group.uuid,
            size: group.size,
            free: group.free,
            physical_volumes: group
                .members
                .iter()
                .map(|member| MemberJson {
                    device: member.index.map(|at| stack.devices[at].name.as_str()),
                    uuid: member.uuid.as_deref(),
                    size: member.size,
                })
                .collect(),
            logical_volumes: volumes(group).map(|&at| stack.devices[at].name.as_str()).collect(),
        };
        Self {
            devices: stack.devices.iter().map(|device| DeviceJson::of(stack, device)).collect(),
            volume_groups: stack.groups.iter().map(group).collect(),
        }
    }
}

impl<'a> DeviceJson<'a> {
    fn of(stack: &'a Stack, device: &'a Device) -> Self {
        let partition = match device.level {
            Level::Partition(number) => Some(PartitionJson {
                number,
                kind: &device.kind,
                kind_id: device.kind_id.as_deref(),
                label: device.label.as_deref(),
                uuid: device.uuid.as_deref(),
            }),
            _ => None,
        };
        let array = match &device.level {
            Level::Array(name) => Some(ArrayJson { name, kind: &device.kind, uuid: device.uuid.as_deref() }),
            _ => None,
        };
        Self {
            name: &device.name,
            level: match device.level {
                Level::Disk => "disk",
                Level::Partition(_) => "partition",
                Level::Logical(..) => "logical volume",
                Level::Array(_) => "array",
                Level::Unlocked => "unlocked",
            },
            image: device.disk.as_ref().ok().filter(|_| device.level == Level::Disk).map(|disk| disk.to_string()),
            on: device.on.iter().map(|&at| stack.devices[at].name.as_str()).collect(),
            size: device.size,
            contents: device.contents_name(),
            label: label_text(device),
            uuid: device.contents_uuid(),
            partition,
            array,
            volume_uuid: device.uuid.as_deref().filter(|_| matches!(device.level, Level::Logical(..))),
            error: match &device.contents {
                Contents::Unreadable(error) => Some(error.to_string()),
                _ => device.locked(),
            },
        }
    }
}
