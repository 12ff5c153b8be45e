//! A deleted file as JSON: all that is known of it.

use std::ops::Range;

use filesystems::{Deleted, FileSystem, Kind, Stat, Time};
use serde::{Serialize, Serializer};

/// Bytes of an image as JSON: text where they are text, otherwise an object with `text` (what is no text replaced) and
/// `hex`.
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Raw {
            text: String,
            hex: String,
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let hex = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                Raw { text: String::from_utf8_lossy(&self.0).into_owned(), hex }.serialize(serializer)
            }
        }
    }
}

/// A range of a file's bytes that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

impl From<&Range<u64>> for Lost {
    fn from(range: &Range<u64>) -> Self {
        Self { offset: range.start, length: range.end.saturating_sub(range.start) }
    }
}

/// A node's attributes as JSON. Times are in UTC, to the nanosecond.
#[derive(Serialize)]
pub struct Attributes {
    kind: &'static str,
    mode: String,
    owner: u32,
    group: u32,
    links: u32,
    size: u64,
    blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_number: Option<(u32, u32)>,
    accessed: String,
    modified: String,
    changed: String,
    created: Option<String>,
}

impl From<&Stat> for Attributes {
    fn from(stat: &Stat) -> Self {
        let is_device = matches!(stat.kind, Kind::CharDevice | Kind::BlockDevice);
        Self {
            kind: kind(stat.kind),
            mode: format!("{:04o}", stat.permissions),
            owner: stat.owner,
            group: stat.group,
            links: stat.links,
            size: stat.size,
            blocks: stat.blocks,
            device_number: is_device.then_some(stat.device),
            accessed: stat.accessed.to_string(),
            modified: stat.modified.to_string(),
            changed: stat.changed.to_string(),
            created: stat.created.map(|time| time.to_string()),
        }
    }
}

/// The word for a kind of node.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symbolic link",
        Kind::CharDevice => "character device",
        Kind::BlockDevice => "block device",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    }
}

#[derive(Serialize)]
struct EvidenceJson {
    what: &'static str,
    offset: u64,
    in_journal: bool,
    transaction: Option<u64>,
    checksum: Option<bool>,
}

/// What is known of a deleted file. Offsets and lengths are in bytes, those of evidence from the start of the volume.
#[derive(Serialize)]
pub struct Record<'a> {
    device: &'a str,
    /// The path in the tree of deleted files, with a slash at its start; none for a version that is not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Bytes>,
    inode: u64,
    generation: Option<u32>,
    version: u32,
    state: String,
    deleted: Option<String>,
    #[serde(flatten)]
    attributes: Option<Attributes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Bytes>,
    lost: Vec<Lost>,
    evidence: Vec<EvidenceJson>,
}

impl<'a> Record<'a> {
    /// Of a file that has a path, which begins without a slash.
    pub fn of(device: &'a str, tree: &dyn FileSystem, deleted: &Deleted, path: &[u8], stat: Option<&Stat>) -> Self {
        let target = stat.filter(|stat| stat.kind == Kind::Symlink);
        let target = target.and_then(|_| tree.read_link(deleted.node).ok());
        let path = Some(Bytes([b"/", path].concat()));
        Self { path, target: target.map(Bytes), ..Self::of_version(device, deleted, stat) }
    }

    /// Of a version, which has no path.
    pub fn of_version(device: &'a str, deleted: &Deleted, stat: Option<&Stat>) -> Self {
        let evidence = deleted.evidence.iter().map(|found| EvidenceJson {
            what: found.what,
            offset: found.offset,
            in_journal: found.in_journal,
            transaction: found.transaction,
            checksum: found.checksum,
        });
        Self {
            device,
            path: None,
            inode: deleted.number,
            generation: deleted.generation,
            version: deleted.version,
            state: deleted.state.to_string(),
            deleted: deleted.deleted.as_ref().map(Time::to_string),
            attributes: stat.map(Attributes::from),
            target: None,
            lost: deleted.lost.iter().map(Lost::from).collect(),
            evidence: evidence.collect(),
        }
    }
}
