//! `imgmount filesystems`: every disk, partition and logical volume in the images, and what each holds.

use images::Result;
use serde::Serialize;

use crate::cli::{List, Request};
use crate::stack::{Contents, Device, Level, Stack};
use crate::terminal;

/// Prints the listing.
pub fn run(request: &Request, list: &List) -> Result<()> {
    terminal::start_log(list.images.verbose, list.images.trace);
    let stack = request.open()?;
    if list.json {
        return terminal::print_json(&Listing::of(&stack));
    }
    terminal::print(&terminal::table(rows(&stack)))
}

/// The table: the volumes stand indented below what they lie on.
fn rows(stack: &Stack) -> Vec<Vec<String>> {
    let head = ["DEVICE", "SIZE", "CONTENTS", "LABEL", "UUID", "KIND"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    let groups = groups(stack);
    for (at, device) in stack.devices.iter().enumerate() {
        if matches!(device.level, Level::Logical(..)) {
            continue;
        }
        rows.push(row(device, kind(device, group_of(&groups, at))));
    }
    for group in &groups {
        let physical: Vec<_> = group.physical_volumes.iter().map(String::as_str).collect();
        let on = format!("volume group on {}", physical.join(", "));
        let uuid = group.uuid.clone().unwrap_or_default();
        rows.push(vec![format!("/dev/{}", group.name), String::new(), String::new(), String::new(), uuid, on]);
        for at in &group.volumes {
            let device = &stack.devices[*at];
            rows.push(row(device, kind(device, None)));
        }
    }
    rows
}

fn row(device: &Device, kind: String) -> Vec<String> {
    let identity = device.identity();
    let indent = if device.level == Level::Disk { "" } else { "  " };
    let label = identity.and_then(|found| found.label.as_deref()).map(terminal::clean).unwrap_or_default();
    let uuid = identity.and_then(|found| found.uuid.clone()).unwrap_or_default();
    let contents = match &device.contents {
        Contents::Table(scheme) => format!("{scheme} partition table"),
        _ => device.contents_name().to_owned(),
    };
    vec![
        format!("{indent}{}", terminal::clean(device.name.as_bytes())),
        terminal::size(device.size),
        contents,
        label,
        uuid,
        kind,
    ]
}

/// The last column: what the table says of the device, or why it cannot be read.
fn kind(device: &Device, group: Option<&Group>) -> String {
    if let Contents::Unreadable(error) = &device.contents {
        return terminal::clean(error.to_string().as_bytes());
    }
    match (&device.level, group) {
        (Level::Disk, Some(group)) => format!("physical volume of {}", group.name),
        (Level::Disk, None) => {
            device.disk.as_ref().map_or_else(|_| String::new(), |disk| terminal::clean(disk.to_string().as_bytes()))
        }
        (_, Some(group)) => format!("{}, physical volume of {}", device.kind, group.name),
        (_, None) => terminal::clean(device.kind.as_bytes()),
    }
}

/// A volume group, put together from its logical volumes.
struct Group {
    name: String,
    uuid: Option<String>,
    physical_volumes: Vec<String>,
    members: Vec<usize>,
    volumes: Vec<usize>,
}

fn group_of(groups: &[Group], at: usize) -> Option<&Group> {
    groups.iter().find(|group| group.members.contains(&at))
}

fn groups(stack: &Stack) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, device) in stack.devices.iter().enumerate() {
        let Level::Logical(name, _) = &device.level else { continue };
        let index = groups.iter().position(|group| group.name == *name).unwrap_or_else(|| {
            let (physical_volumes, members, volumes) = Default::default();
            groups.push(Group {
                name: name.clone(),
                uuid: device.group_uuid.clone(),
                physical_volumes,
                members,
                volumes,
            });
            groups.len() - 1
        });
        let group = &mut groups[index];
        group.volumes.push(at);
        for &member in &device.on {
            if !group.members.contains(&member) {
                group.members.push(member);
                group.physical_volumes.push(stack.devices[member].name.clone());
            }
        }
    }
    groups
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
struct GroupJson<'a> {
    name: String,
    uuid: Option<String>,
    physical_volumes: Vec<String>,
    logical_volumes: Vec<&'a str>,
}

impl<'a> Listing<'a> {
    fn of(stack: &'a Stack) -> Self {
        let name = |at: &usize| stack.devices[*at].name.as_str();
        let group = |group: Group| GroupJson {
            logical_volumes: group.volumes.iter().map(name).collect(),
            name: group.name,
            uuid: group.uuid,
            physical_volumes: group.physical_volumes,
        };
        Self {
            devices: stack.devices.iter().map(|device| DeviceJson::of(stack, device)).collect(),
            volume_groups: groups(stack).into_iter().map(group).collect(),
        }
    }
}

impl<'a> DeviceJson<'a> {
    fn of(stack: &'a Stack, device: &'a Device) -> Self {
        let identity = device.identity();
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
        Self {
            name: &device.name,
            level: match device.level {
                Level::Disk => "disk",
                Level::Partition(_) => "partition",
                Level::Logical(..) => "logical volume",
            },
            image: device.disk.as_ref().ok().filter(|_| device.level == Level::Disk).map(|disk| disk.to_string()),
            on: device.on.iter().map(|&at| stack.devices[at].name.as_str()).collect(),
            size: device.size,
            contents: device.contents_name(),
            label: identity
                .and_then(|found| found.label.as_deref())
                .map(|label| String::from_utf8_lossy(label).into_owned()),
            uuid: identity.and_then(|found| found.uuid.as_deref()),
            partition,
            volume_uuid: device.uuid.as_deref().filter(|_| matches!(device.level, Level::Logical(..))),
            error: match &device.contents {
                Contents::Unreadable(error) => Some(error.to_string()),
                _ => None,
            },
        }
    }
}
