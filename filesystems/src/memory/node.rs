//! What one node is.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use images::{Error, Result};

use super::is_directory;
use super::pages::Pages;
use crate::{Kind, NodeId, Stat, Time};

/// A node, with all that is known of it.
pub struct Node {
    pub stat: Stat,
    pub content: Content,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How often it is held.
    pub held: u64,
    /// Where a directory lies.
    pub parent: NodeId,
}

pub enum Content {
    File(Pages),
    Directory(Names),
    Symlink(Vec<u8>),
    Other(Kind, (u32, u32)),
}

/// The names in a directory, in the order in which they were made.
#[derive(Default)]
pub struct Names {
    by_name: BTreeMap<Vec<u8>, u64>,
    by_number: BTreeMap<u64, (Vec<u8>, NodeId)>,
    last: u64,
}

impl Content {
    pub fn directory() -> Self {
        Self::Directory(Names::default())
    }

    fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Directory(_) => Kind::Directory,
            Self::Symlink(_) => Kind::Symlink,
            Self::Other(kind, _) => *kind,
        }
    }
}

impl Node {
    /// A node that has no name yet.
    pub fn new(content: Content, permissions: u16, (owner, group): (u32, u32)) -> Self {
        let now = now();
        let kind = content.kind();
        let stat = Stat {
            kind,
            generation: 0,
            permissions,
            links: 1,
            owner,
            group,
            size: match &content {
                Content::Symlink(target) => target.len() as u64,
                Content::Directory(_) => super::BLOCK,
                _ => 0,
            },
            blocks: 0,
            device: if let Content::Other(_, device) = content { device } else { (0, 0) },
            accessed: now,
            modified: now,
            changed: now,
            created: Some(now),
        };
        Self { stat, content, xattrs: BTreeMap::new(), held: 0, parent: super::ROOT }
    }

    pub fn names(&self) -> Result<&Names> {
        match &self.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Error::NotDirectory),
        }
    }

    pub fn names_mut(&mut self) -> Result<&mut Names> {
        match &mut self.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Error::NotDirectory),
        }
    }

    pub fn file(&self) -> Result<&Pages> {
        match &self.content {
            Content::File(pages) => Ok(pages),
            _ if is_directory(&self.stat) => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    pub fn file_mut(&mut self) -> Result<&mut Pages> {
        match &mut self.content {
            Content::File(pages) => Ok(pages),
            _ if is_directory(&self.stat) => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    /// How many pages its content takes.
    pub fn pages(&self) -> u64 {
        if let Content::File(pages) = &self.content { pages.count() } else { 0 }
    }

    /// Notes that its content has changed, and with it the node.
    pub fn is_modified(&mut self) {
        self.stat.modified = now();
        self.stat.changed = self.stat.modified;
    }
}

impl Names {
    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        self.by_name.get(name).map(|number| self.by_number[number].1)
    }

    /// The first entry after this number: its own number, and what it is.
    pub fn after(&self, number: u64) -> Option<(u64, Vec<u8>, NodeId)> {
        let (number, (name, node)) = self.by_number.range(number + 1..).next()?;
        Some((*number, name.clone(), *node))
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Gives a name to a node, also one that another node had.
    pub fn set(&mut self, name: &[u8], node: NodeId) {
        if let Some(number) = self.by_name.get(name) {
            self.by_number.insert(*number, (name.to_vec(), node));
            return;
        }
        self.last += 1;
        self.by_name.insert(name.to_vec(), self.last);
        self.by_number.insert(self.last, (name.to_vec(), node));
    }

    pub fn remove(&mut self, name: &[u8]) {
        if let Some(number) = self.by_name.remove(name) {
            self.by_number.remove(&number);
        }
    }
}

/// The present.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() }
}
