//! The descriptor of an appliance: the disks that its virtual machines have, in the order of their hardware.
//!
//! Open Virtualization Format Specification, DSP0243:
//! <https://www.dmtf.org/sites/default/files/standards/documents/DSP0243_2.1.1.pdf>.

use std::collections::HashMap;

use roxmltree::Node;

use crate::xml::{self, attribute, child, children, clean};
use crate::{Error, Result, corrupt, unsupported};

/// What messages call it.
pub const WHAT: &str = "OVF descriptor";
/// Our limit of the disks of an appliance.
const MAX_DISKS: usize = 1024;
/// `ResourceType` of a disk (CIM_ResourceAllocationSettingData).
const DISK_DRIVE: &str = "17";

/// A disk of an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its identifier, by which the hardware names it.
    pub id: String,
    /// Where its bytes are.
    pub source: Source,
}

/// Where the bytes of a disk are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(FileEntry),
    /// Nowhere: the disk is blank, and has so many bytes.
    Blank(u64),
}

/// A file of an appliance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileEntry {
    /// The name, relative to the descriptor.
    pub href: String,
    /// The size in bytes, if the descriptor has it.
    pub size: Option<u64>,
    /// How the file is compressed: the name of the format.
    pub compression: Option<String>,
    /// If it is cut into files of this size in bytes, whose names end with their numbers.
    pub chunk: Option<u64>,
    /// The format of the disk in it, where its address is known.
    pub format: Option<&'static str>,
}

/// The disks that a descriptor describes, in their order: as the hardware of the first virtual machine has them, then
/// those of the next, then those that none has. A disk without hardware is in the order of the section of disks.
pub fn parse(text: &str) -> Result<Vec<DiskEntry>> {
    let document = xml::parse(text, WHAT)?;
    let root = document.root_element();
    let (name, namespace) = (root.tag_name().name(), root.tag_name().namespace().unwrap_or_default());
    if name != "Envelope" || !namespace.contains("/ovf/envelope/") {
        let (name, namespace) = (clean(name), clean(namespace));
        return Err(unsupported!("the XML is {name} of {namespace:?}, and no envelope of OVF 1 or 2"));
    }
    let mut files = HashMap::new();
    for file in children(root, "References").flat_map(|references| children(references, "File")) {
        let Some(id) = attribute(file, "id") else { return Err(corrupt!(WHAT, 0u64, "a file without an id")) };
        if files.insert(id, file_entry(file)?).is_some() {
            return Err(corrupt!(WHAT, 0u64, "two files have the id {}", clean(id)));
        }
    }
    let mut disks: Vec<DiskEntry> = Vec::new();
    for disk in children(root, "DiskSection").flat_map(|section| children(section, "Disk")) {
        let disk = disk_entry(disk, &files)?;
        if disks.iter().any(|other| other.id == disk.id) {
            return Err(corrupt!(WHAT, 0u64, "two disks have the id {}", clean(&disk.id)));
        }
        push(&mut disks, disk)?;
    }
    let mut ordered: Vec<DiskEntry> = Vec::new();
    for hardware in root.descendants().filter(|node| node.tag_name().name() == "VirtualHardwareSection") {
        for drive in drives(hardware)? {
            let disk = match drive {
                Drive::Disk(id) => match disks.iter().find(|disk| disk.id == id) {
                    Some(disk) => disk.clone(),
                    None => {
                        return Err(corrupt!(WHAT, 0u64, "the hardware has a disk {}, which is nowhere", clean(id)));
                    }
                },
                Drive::File(id) => match files.get(id) {
                    Some(file) => DiskEntry { id: format!("file {id}"), source: Source::File(file.clone()) },
                    None => {
                        return Err(corrupt!(WHAT, 0u64, "the hardware has a file {}, which is nowhere", clean(id)));
                    }
                },
            };
            // Two machines may share one, and a machine may have it in several configurations.
            if !ordered.iter().any(|other| other.id == disk.id) {
                push(&mut ordered, disk)?;
            }
        }
    }
    for disk in disks {
        if !ordered.iter().any(|other| other.id == disk.id) {
            push(&mut ordered, disk)?;
        }
    }
    if ordered.is_empty() {
        return Err(Error::Unknown("the appliance has no disks".to_owned()));
    }
    Ok(ordered)
}

fn push(disks: &mut Vec<DiskEntry>, disk: DiskEntry) -> Result<()> {
    if disks.len() == MAX_DISKS {
        return Err(unsupported!("more than {MAX_DISKS} disks, which is our limit"));
    }
    disks.push(disk);
    Ok(())
}

/// One `<File>`.
fn file_entry(file: Node<'_, '_>) -> Result<FileEntry> {
    let Some(href) = attribute(file, "href") else { return Err(corrupt!(WHAT, 0u64, "a file without a href")) };
    let compression = match attribute(file, "compression") {
        None | Some("identity") => None,
        Some(name @ ("gzip" | "bzip2")) => Some(name.to_owned()),
        Some(other) => return Err(unsupported!("{} is compressed with {}", clean(href), clean(other))),
    };
    let chunk = number(file, "chunkSize")?.filter(|size| *size > 0);
    Ok(FileEntry { href: href.to_owned(), size: number(file, "size")?, compression, chunk, format: None })
}

/// One `<Disk>`.
fn disk_entry(disk: Node<'_, '_>, files: &HashMap<&str, FileEntry>) -> Result<DiskEntry> {
    let Some(id) = attribute(disk, "diskId") else { return Err(corrupt!(WHAT, 0u64, "a disk without a diskId")) };
    if let Some(parent) = attribute(disk, "parentRef") {
        let (id, parent) = (clean(id), clean(parent));
        return Err(unsupported!("disk {id} has only what differs from its parent {parent}, which is not supported"));
    }
    let Some(file) = attribute(disk, "fileRef") else {
        return Ok(DiskEntry { id: id.to_owned(), source: Source::Blank(capacity(disk, id)?) });
    };
    let Some(file) = files.get(file) else {
        return Err(corrupt!(WHAT, 0u64, "disk {} is in file {}, which is nowhere", clean(id), clean(file)));
    };
    let format = attribute(disk, "format").and_then(known_format);
    Ok(DiskEntry { id: id.to_owned(), source: Source::File(FileEntry { format, ..file.clone() }) })
}

/// The format of ours that an address stands for.
fn known_format(address: &str) -> Option<&'static str> {
    let address = address.to_ascii_lowercase();
    // The page that describes VHD for Virtual Server, and the draft of qcow2: appliances have them as addresses.
    let known = [("vmdk", "vmdk"), ("bb676673", "vpc"), ("vhdx", "vhdx"), ("vhd", "vpc"), ("qcow", "qcow2")];
    known.into_iter().find(|(word, _)| address.contains(word)).map(|(_, format)| format)
}

/// The size of a blank disk in bytes.
fn capacity(disk: Node<'_, '_>, id: &str) -> Result<u64> {
    let units = attribute(disk, "capacityAllocationUnits").unwrap_or("byte");
    let wrong = || {
        let (capacity, units) = (attribute(disk, "capacity").unwrap_or("none"), clean(units));
        corrupt!(WHAT, 0u64, "disk {} is blank, and its size is {} in units of {units}", clean(id), clean(capacity))
    };
    let unit: String = units.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let unit = match unit.strip_prefix("byte").map(|rest| rest.strip_prefix("s").unwrap_or(rest)) {
        Some("") => 1,
        Some(rest) => {
            let exponent = rest.strip_prefix("*2^").and_then(|digits| digits.parse::<u32>().ok());
            exponent.and_then(|exponent| 1u64.checked_shl(exponent)).ok_or_else(wrong)?
        }
        None => return Err(wrong()),
    };
    let capacity = number(disk, "capacity").ok().flatten().and_then(|capacity| capacity.checked_mul(unit));
    capacity.filter(|size| *size <= i64::MAX as u64).ok_or_else(wrong)
}

fn number(node: Node<'_, '_>, name: &str) -> Result<Option<u64>> {
    let Some(text) = attribute(node, name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(corrupt!(WHAT, 0u64, "{name} is {}, want a number", clean(text))),
    }
}

/// What a drive of a virtual machine has in it.
enum Drive<'a> {
    Disk(&'a str),
    File(&'a str),
}

/// A controller's place among the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Where the first controller of its kind stands in the descriptor.
    kind: usize,
    address: u64,
    at: usize,
}

/// The hard disks of a virtual machine: by their controllers, then by their addresses there, then as they stand.
fn drives<'a>(hardware: Node<'a, 'a>) -> Result<Vec<Drive<'a>>> {
    let items: Vec<_> = hardware
        .children()
        .filter(|node| matches!(node.tag_name().name(), "Item" | "StorageItem" | "EthernetPortItem"))
        .collect();
    let number =
        |item: Node<'_, '_>, name| xml::text(item, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let mut kinds = HashMap::new();
    let mut controllers: HashMap<&str, Place> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let kind = *kinds.entry(xml::text(*item, "ResourceType")).or_insert(at);
        if let Some(id) = xml::text(*item, "InstanceID").or_else(|| xml::text(*item, "InstanceId")) {
            controllers.entry(id).or_insert(Place { kind, address: number(*item, "Address"), at });
        }
    }
    let last = Place { kind: usize::MAX, address: u64::MAX, at: usize::MAX };
    let mut drives = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if xml::text(*item, "ResourceType") != Some(DISK_DRIVE) {
            continue;
        }
        let Some(resource) = child(*item, "HostResource").and_then(|resource| resource.text()) else { continue };
        let name = resource.trim();
        let name = name.strip_prefix("ovf:").unwrap_or(name).trim_start_matches('/');
        let drive = match name.split_once('/') {
            Some(("disk", id)) => Drive::Disk(id),
            Some(("file", id)) => Drive::File(id),
            _ => {
                return Err(unsupported!("the hardware has a disk {}, which is not in the appliance", clean(resource)));
            }
        };
        let parent = xml::text(*item, "Parent").and_then(|parent| controllers.get(parent)).copied().unwrap_or(last);
        drives.push(((parent, number(*item, "AddressOnParent"), at), drive));
    }
    drives.sort_by_key(|(key, _)| *key);
    Ok(drives.into_iter().map(|(_, drive)| drive).collect())
}

#[cfg(test)]
mod tests;
