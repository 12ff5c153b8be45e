//! One `-m`: a device, where its tree is shown, and how it is opened.

use std::fmt;
use std::sync::Arc;

use filesystems::FileSystem;
use images::{Access, Error, Result};

use super::{Place, Writing};
use crate::stack::{Contents, Stack};

/// Options of mount(8) that change nothing here: fstab lines can be copied as they are.
const HARMLESS: &[&str] = &[
    "ro",
    "defaults",
    "noatime",
    "relatime",
    "nodiratime",
    "strictatime",
    "lazytime",
    "nosuid",
    "nodev",
    "noexec",
    "exec",
    "sync",
    "async",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nofail",
    "_netdev",
    "acl",
    "noacl",
    "user_xattr",
    "nouser_xattr",
    "barrier",
    "nobarrier",
    "errors=remount-ro",
    "errors=continue",
    "errors=panic",
    "discard",
    "nodiscard",
    "utf8",
    "iocharset=utf8",
    "shortname=mixed",
    "x-systemd.automount",
];

/// A device at a directory: `DEVICE[:DIRECTORY[:OPTIONS[:TYPE]]]`, as guestmount has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAt {
    /// The device, in any of the spellings that [`Stack::find`] takes.
    pub device: String,
    /// Where its root is shown, an absolute path.
    pub directory: String,
    /// Whether it is written, if that was said: the last of the options `ro` and `rw`.
    pub access: Option<Access>,
    /// Options of mount(8).
    pub options: Vec<String>,
    /// The type of the file system, if it has to be this one.
    pub kind: Option<String>,
}

impl fmt::Display for DeviceAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.directory)
    }
}

impl DeviceAt {
    /// Takes the value of one `-m` apart. What is left out or empty is `/`, no options and any type.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':').map(str::to_owned);
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (device, directory, options, kind) = (next(), next(), next(), next());
        let device = device.ok_or_else(|| Error::Usage(format!("-m {text}: no device is named")))?;
        let directory = directory.unwrap_or_else(|| "/".to_owned());
        if !directory.starts_with('/') {
            return Err(Error::Usage(format!("-m {text}: the directory {directory} must begin with /")));
        }
        let options: Vec<String> = options.map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
        let access = options.iter().rev().find_map(|option| match option.as_str() {
            "ro" => Some(Access::Read),
            "rw" => Some(Access::ReadWrite),
            _ => None,
        });
        Ok(Self { device, directory, access, options, kind })
    }

    /// The file system on it, to be written as far as its options and `writing` want.
    pub fn open(&self, stack: &Stack, writing: Writing) -> Result<Place> {
        let at = stack.expect(&self.device)?;
        let writing = match (self.access, writing) {
            (Some(Access::ReadWrite), Writing::Never) => {
                let device = &self.device;
                return Err(Error::Usage(format!("-m {device}: option rw: only what is mounted can be written")));
            }
            (Some(Access::ReadWrite), _) => Writing::All,
            (Some(Access::Read), _) => Writing::Never,
            (None, writing) => writing,
        };
        let place = Place::open_for(stack, at, writing, |access| self.file_system(stack, at, access))?;
        Ok(place.at(&self.directory))
    }

    fn file_system(&self, stack: &Stack, at: usize, access: Access) -> Result<Arc<dyn FileSystem>> {
        let refuse = |why: String| Err(Error::Usage(format!("-m {}: {why}", self.device)));
        let (mut replay, mut subvolume) = (true, None);
        for option in &self.options {
            match option.as_str() {
                "noload" | "norecovery" => replay = false,
                "rw" => {}
                known if HARMLESS.contains(&known) => {}
                other => match other.split_once('=') {
                    Some(("subvol", name)) => subvolume = Some(name),
                    _ => return refuse(format!("option {other} is not known here")),
                },
            }
        }
        let device = &stack.devices[at];
        if let Some(kind) = self.kind.as_deref().filter(|kind| !device.is_called(kind)) {
            return refuse(format!("it holds {}, not {kind}", device.contents_name()));
        }
        if !matches!(device.contents, Contents::Known(..)) {
            return stack.open(at).map_err(|error| Error::Usage(format!("{error}; {}", stack.candidates())));
        }
        let fs = if replay && access == Access::Read {
            stack.open(at)?
        } else {
            let mut options = stack.options().clone();
            (options.replay, options.access) = (replay && options.replay, access);
            stack.open_with(at, &options)?
        };
        let Some(name) = subvolume else { return Ok(fs) };
        fs.trees()
            .and_then(|trees| trees.open(name.as_bytes()))
            .or_else(|why| refuse(format!("option subvol={name}: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_apart() {
        let device = DeviceAt::parse("/dev/sda1:/boot:noload,ro:ext4").unwrap();
        assert_eq!((&*device.device, &*device.directory), ("/dev/sda1", "/boot"));
        assert_eq!(device.access, Some(Access::Read));
        assert_eq!((device.options, device.kind), (vec!["noload".into(), "ro".into()], Some("ext4".into())));
        let device = DeviceAt::parse("sda1:::vfat").unwrap();
        assert_eq!((&*device.directory, device.options.len(), device.kind.as_deref()), ("/", 0, Some("vfat")));
        for (text, want) in [("", "no device"), (":/x", "no device"), ("sda1:x", "must begin with /")] {
            assert!(DeviceAt::parse(text).unwrap_err().to_string().contains(want), "{text}");
        }
    }
}
