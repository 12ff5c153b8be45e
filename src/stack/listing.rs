//! What there is in a stack: for messages, for tables, and for whoever looks for file systems.

use std::collections::HashMap;

use images::{Error, Result};

use super::{Contents, Level, Lock, Stack};

/// How many names one message lists; ours.
const MOST_NAMED: usize = 32;

/// The first of these names as a message lists them, and how many more there are.
pub fn some(mut names: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for name in names.by_ref().take(MOST_NAMED) {
        text += if text.is_empty() { "" } else { ", " };
        text += &name;
    }
    match names.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

impl Stack {
    /// The device of this name, as [`Self::find`] finds it; otherwise an error that lists what there is, as guestmount's
    /// answer to a wrong `-m` does.
    pub fn expect(&self, name: &str) -> Result<usize> {
        let missing = || Error::Usage(format!("{name}: no such device in the images; {}", self.candidates()));
        self.find(name).ok_or_else(missing)
    }

    /// The devices that could have been meant, as the end of a message.
    pub fn candidates(&self) -> String {
        let name = |at: usize| format!("{} ({})", self.devices[at].name, self.devices[at].contents_name());
        match some(self.file_systems().map(name)) {
            there if there.is_empty() => "there is no file system".to_owned(),
            there => format!("there is {there}"),
        }
    }

    /// That nothing in the images can be opened as a file system, and what there is instead.
    pub fn no_file_system(&self) -> Error {
        let name = |at: usize| {
            let why = self.open(at).err().map(|error| error.root().to_string());
            let device = &self.devices[at];
            match why.filter(|_| matches!(device.contents, Contents::Known(..)) && device.lock.is_none()) {
                Some(why) => format!("{} ({}: {why})", device.name, device.contents_name()),
                None => format!("{} ({})", device.name, device.contents_name()),
            }
        };
        let there = Some(some(self.file_systems().map(name))).filter(|there| !there.is_empty());
        let there = there.as_deref().unwrap_or("nothing");
        Error::Unknown(format!("no file system that can be read was found in the images; there is {there}"))
    }

    /// The devices that lie on each device, in their order.
    pub fn above(&self) -> Vec<Vec<usize>> {
        let mut above = vec![Vec::new(); self.devices.len()];
        for (at, device) in self.devices.iter().enumerate() {
            for &below in &device.on {
                above[below].push(at);
            }
        }
        above
    }

    /// The logical volumes of each group, by its name, in their order.
    pub fn volumes(&self) -> HashMap<&str, Vec<usize>> {
        let mut volumes: HashMap<_, Vec<_>> = HashMap::new();
        for (at, device) in self.devices.iter().enumerate() {
            if let Level::Logical(group, _) = &device.level {
                volumes.entry(group.as_str()).or_default().push(at);
            }
        }
        volumes
    }

    /// The disk that a device lies on, if it is one.
    pub fn disk_of(&self, at: usize) -> Option<usize> {
        match self.devices[at].on[..] {
            [] => Some(at),
            [below] => self.disk_of(below),
            _ => None,
        }
    }

    /// How many disks there are.
    pub fn disks(&self) -> usize {
        // They come first.
        self.devices.iter().take_while(|device| device.level == Level::Disk).count()
    }

    /// The devices that hold something a file system can be opened from or that is named, in guestmount's order.
    pub fn file_systems(&self) -> impl Iterator<Item = usize> {
        (0..self.devices.len()).filter(|&at| match self.devices[at].contents {
            _ if matches!(self.devices[at].lock, Some(Lock::Open(_))) => false,
            Contents::Known(..) | Contents::Unknown | Contents::Unreadable(_) => true,
            Contents::Table(_) | Contents::Frame | Contents::Member(_) => false,
        })
    }
}
