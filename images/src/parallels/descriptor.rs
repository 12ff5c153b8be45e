//! The descriptor of a folder: which images make which part of the disk, in which order they lie on each other.
//!
//! Description: <https://www.qemu.org/docs/master/interop/prl-xml.html>.

use std::collections::HashMap;

use roxmltree::Node;
use uuid::Uuid;

use super::layout::SECTOR;
use crate::xml::{self, child, children, clean};
use crate::{Error, Result, corrupt, unsupported};

/// The first element of the XML.
pub const ROOT: &str = "Parallels_disk_image";
/// What messages call it.
const WHAT: &str = "Parallels descriptor";
/// Our limit of the parts of a disk, and of its images and snapshots.
const MAX_ENTRIES: usize = 1024;
/// The current state, where the descriptor does not say which one it is.
const TOP: Uuid = Uuid::from_u128(0x5fbaabe3_6958_40ff_92a7_860e329aab41);

/// A disk: its parts in their order, without gaps.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub storages: Vec<Storage>,
}

/// A part of a disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Storage {
    /// The size in bytes.
    pub size: u64,
    /// The images, from the root to the top.
    pub images: Vec<Image>,
}

/// An image of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The file, relative to the descriptor.
    pub file: String,
    /// Whether it is expandable, and not plain bytes.
    pub is_expandable: bool,
}

impl Descriptor {
    /// The disk that the XML `text` describes, as it was at the snapshot with the GUID `snapshot`, or as it is.
    pub fn parse(text: &str, snapshot: Option<&str>) -> Result<Self> {
        let document = xml::parse(text, WHAT)?;
        let root = document.root_element();
        let version = xml::attribute(root, "Version").unwrap_or_default();
        if root.tag_name().name() != ROOT || version != "1.0" {
            let (name, version) = (clean(root.tag_name().name()), clean(version));
            return Err(unsupported!("the descriptor is {name} of version {version:?}, want {ROOT} of 1.0"));
        }
        if let Some(parameters) = child(root, "Disk_Parameters") {
            check_parameters(parameters)?;
        }
        let shots = Shots::read(root)?;
        let chain = shots.chain(snapshot)?;
        let mut storages: Vec<(u64, u64, Storage)> = Vec::new();
        for node in children(root, "StorageData").flat_map(|data| children(data, "Storage")) {
            if storages.len() == MAX_ENTRIES {
                return Err(unsupported!("a disk of more than {MAX_ENTRIES} parts, which is our limit"));
            }
            let (start, end) = (sectors(node, "Start")?, sectors(node, "End")?);
            if end <= start {
                return Err(corrupt!(WHAT, 0u64, "a part from sector {start} to {end}"));
            }
            storages.push((start, end, Storage { size: (end - start) * SECTOR, images: images(node, &chain)? }));
        }
        storages.sort_by_key(|(start, ..)| *start);
        let mut at = 0;
        for (start, end, _) in &storages {
            if *start != at {
                return Err(corrupt!(WHAT, 0u64, "a part starts at sector {start}, but the one before ends at {at}"));
            }
            at = *end;
        }
        if storages.is_empty() {
            return Err(corrupt!(WHAT, 0u64, "the disk has no parts"));
        }
        Ok(Self { storages: storages.into_iter().map(|(.., storage)| storage).collect() })
    }
}

/// Fails if the disk is of a kind that the description does not cover.
fn check_parameters(parameters: Node<'_, '_>) -> Result<()> {
    if let Some(padding) = xml::text(parameters, "Padding").filter(|padding| *padding != "0") {
        return Err(unsupported!("the disk has the padding {}, only 0 is described", clean(padding)));
    }
    if let Some(size) = xml::text(parameters, "LogicSectorSize").filter(|size| *size != "512") {
        return Err(unsupported!("the disk has sectors of {} bytes, only 512 is described", clean(size)));
    }
    let engine = child(parameters, "Encryption").and_then(|encryption| xml::text(encryption, "Engine"));
    match engine.map(guid).transpose()?.filter(|engine| !engine.is_nil()) {
        None => Ok(()),
        Some(engine) => {
            Err(unsupported!("the disk is encrypted by Parallels (engine {engine}), which is not supported"))
        }
    }
}

/// The images of one part that are in the chain, root first. Without snapshots there is only one.
fn images(storage: Node<'_, '_>, chain: &[Uuid]) -> Result<Vec<Image>> {
    let mut images = HashMap::new();
    for node in children(storage, "Image") {
        let Some(file) = xml::text(node, "File") else { return Err(corrupt!(WHAT, 0u64, "an image without a file")) };
        let is_expandable = match xml::text(node, "Type") {
            Some("Compressed") => true,
            Some("Plain") => false,
            other => return Err(unsupported!("{} is of the type {:?}", clean(file), clean(other.unwrap_or_default()))),
        };
        let guid = guid(xml::text(node, "GUID").unwrap_or_default())?;
        if images.len() == MAX_ENTRIES {
            return Err(unsupported!("a part of more than {MAX_ENTRIES} images, which is our limit"));
        }
        if images.insert(guid, Image { file: file.to_owned(), is_expandable }).is_some() {
            return Err(corrupt!(WHAT, 0u64, "two images of one part have the GUID {guid}"));
        }
    }
    if chain.is_empty() {
        return match images.len() {
            1 => Ok(images.into_values().collect()),
            count => {
                Err(corrupt!(WHAT, 0u64, "a part has {count} images, and no snapshots say how they lie on each other"))
            }
        };
    }
    let found = chain.iter().map(|guid| match images.get(guid) {
        Some(image) => Ok(image.clone()),
        None => Err(corrupt!(WHAT, 0u64, "a part has no image {guid}")),
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    match found.iter().skip(1).find(|image| !image.is_expandable) {
        Some(plain) => Err(corrupt!(WHAT, 0u64, "{} lies on another image, but is plain", clean(&plain.file))),
        None => Ok(found),
    }
}

/// The snapshots, each with its parent.
#[derive(Default)]
struct Shots {
    parents: HashMap<Uuid, Uuid>,
    top: Option<Uuid>,
}

impl Shots {
    fn read(root: Node<'_, '_>) -> Result<Self> {
        let Some(snapshots) = child(root, "Snapshots") else { return Ok(Self::default()) };
        let top = xml::text(snapshots, "TopGUID").map(guid).transpose()?;
        let mut parents = HashMap::new();
        for shot in children(snapshots, "Shot") {
            let of = |name| guid(xml::text(shot, name).unwrap_or_default());
            if parents.len() == MAX_ENTRIES {
                return Err(unsupported!("more than {MAX_ENTRIES} snapshots, which is our limit"));
            }
            if parents.insert(of("GUID")?, of("ParentGUID")?).is_some() {
                return Err(corrupt!(WHAT, 0u64, "two snapshots have the GUID {}", of("GUID")?));
            }
        }
        Ok(Self { parents, top })
    }

    /// From the root to the wanted snapshot, or to the top. Empty if there are none.
    fn chain(&self, wanted: Option<&str>) -> Result<Vec<Uuid>> {
        let mut at = match wanted {
            Some(wanted) => match guid(wanted).ok().filter(|guid| self.parents.contains_key(guid)) {
                Some(guid) => guid,
                None => {
                    let known: Vec<_> = self.parents.keys().map(Uuid::to_string).collect();
                    let (wanted, known) = (clean(wanted), known.join(" and "));
                    return Err(Error::Usage(format!("no snapshot has the GUID {wanted}; there are {known}")));
                }
            },
            None if self.parents.is_empty() => return Ok(Vec::new()),
            None => self.top.unwrap_or(TOP),
        };
        let mut chain = Vec::new();
        while !at.is_nil() {
            let Some(parent) = self.parents.get(&at) else {
                return Err(corrupt!(WHAT, 0u64, "there is no snapshot {at}"));
            };
            if chain.len() == self.parents.len() {
                return Err(corrupt!(WHAT, 0u64, "the snapshots are a loop: {at} is its own ancestor"));
            }
            chain.push(at);
            at = *parent;
        }
        chain.reverse();
        Ok(chain)
    }
}

fn guid(text: &str) -> Result<Uuid> {
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    Uuid::try_parse(bare).map_err(|_| corrupt!(WHAT, 0u64, "{:?} is no GUID", clean(text)))
}

/// A number of sectors, at most as many as 2^63 bytes have.
fn sectors(node: Node<'_, '_>, name: &'static str) -> Result<u64> {
    let text = xml::text(node, name).unwrap_or_default();
    match text.parse::<u64>() {
        Ok(sectors) if sectors <= i64::MAX as u64 / SECTOR => Ok(sectors),
        _ => Err(corrupt!(WHAT, 0u64, "{name} is {:?}, want a number of sectors", clean(text))),
    }
}

#[cfg(test)]
mod tests;
