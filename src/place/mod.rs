//! Which tree, at which path, on which device: the one way to say where in the images.
//!
//! A [`Selection`] is what was said: `-i` with `--root`, `-m DEVICE[:DIR[:OPTIONS[:TYPE]]]`, or nothing. It is resolved in
//! a [`Stack`] into a [`Place`] for each file system, or into one tree of all of them.

mod device_at;
mod writing;

use std::sync::Arc;

use filesystems::FileSystem;
use filesystems::view::{DeletedFiles, Mounts};
use images::{Access, Budget, Error, Reservation, Result};

pub use self::device_at::DeviceAt;
pub use self::writing::Writing;
use crate::inspect;
use crate::stack::{Contents, Stack};

/// What an open file system and a search in it take whatever they hold, in bytes: measured, of small ones.
const OPEN: u64 = 128 << 10;

/// A file system in the images, and where its paths begin.
pub struct Place {
    /// The device: `/dev/sda1`.
    pub device: String,
    /// The device as a relative path: `sda1`, `group/volume`.
    pub name: String,
    /// The size of the device in bytes.
    pub size: u64,
    /// What stands before the paths of the file system: nothing, or a path without a slash at its end, `/boot`.
    pub prefix: String,
    /// The file system.
    pub tree: Arc<dyn FileSystem>,
    /// What was deleted from it.
    pub deleted: Arc<DeletedFiles>,
    /// What may be held of what is found there.
    pub budget: Budget,
    /// Whether it is written.
    pub written: bool,
    _held: Reservation,
}

impl Place {
    /// The file system on this device of the stack, at `/`.
    pub fn open(stack: &Stack, at: usize) -> Result<Self> {
        Self::open_as(stack, at, || stack.open(at))
    }

    fn open_as(stack: &Stack, at: usize, open: impl FnOnce() -> Result<Arc<dyn FileSystem>>) -> Result<Self> {
        let device = &stack.devices[at];
        let budget = stack.options().budget.clone();
        // Taken first: of thousands each is small, and all together are not.
        let held = budget.take(OPEN, format_args!("the file system on {}", device.name))?;
        Ok(Self { _held: held, ..Self::of(&device.name, device.size, open()?, budget) })
    }

    /// A file system on a device of this name and size in bytes, at `/`.
    pub fn of(device: &str, size: u64, tree: Arc<dyn FileSystem>, budget: Budget) -> Self {
        let name = device.strip_prefix("/dev/").unwrap_or(device).to_owned();
        let deleted = Arc::new(DeletedFiles::new(tree.clone(), device, budget.clone()));
        let (device, prefix, held) = (device.to_owned(), String::new(), budget.empty());
        Self { device, name, size, prefix, tree, deleted, budget, written: false, _held: held }
    }

    /// The same, with its paths below this directory.
    fn at(self, directory: &str) -> Self {
        Self { prefix: directory.trim_end_matches('/').to_owned(), ..self }
    }

    /// Every file system in the images that can be opened; of the others only those are told of that should be
    /// readable. Each has its paths below the name of its device, an only one has them as they are.
    pub fn all(stack: &Stack) -> Vec<Self> {
        let known = stack.file_systems().filter(|&at| matches!(stack.devices[at].contents, Contents::Known(..)));
        let mut all = Vec::new();
        for at in known {
            match Self::open(stack, at) {
                Ok(place) => all.push(place),
                Err(error) if matches!(error.root(), Error::Unsupported(_)) => log::info!("passed over: {error}"),
                Err(error @ Error::Memory(_)) => {
                    log::warn!("passed over, with all that follow: {error}; -m chooses one");
                    break;
                }
                Err(error) => log::warn!("passed over: {error}"),
            }
        }
        if all.len() > 1 {
            all.iter_mut().for_each(|place| place.prefix = format!("/{}", place.name));
        }
        all
    }

    /// What of a path lies in this file system: the path there.
    pub fn inside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.strip_prefix(self.prefix.as_bytes())?;
        (rest.is_empty() || rest.starts_with(b"/") || self.prefix.is_empty()).then_some(rest)
    }
}

/// Where in the images, as it was said. Nothing said is every file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The guest's file systems, where the guest mounts them.
    pub inspector: bool,
    /// Of several guests, the one whose root file system is on this device.
    pub root: Option<String>,
    /// Devices, and where they are mounted: after, and over, what the guest mounts.
    pub devices: Vec<DeviceAt>,
    /// What of it is to be written, where it is mounted.
    pub writing: Writing,
}

impl Selection {
    /// The only guest in the images.
    pub fn guest() -> Self {
        Self { inspector: true, ..Self::default() }
    }

    /// Whether any of it may have to be written.
    pub fn writes(&self) -> bool {
        match self.writing {
            Writing::Never => false,
            Writing::Named => self.devices.iter().any(|device| device.access == Some(Access::ReadWrite)),
            Writing::All | Writing::Possible => true,
        }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        !self.inspector && self.devices.is_empty()
    }

    /// The file systems, each where its paths begin. Fails if there is none.
    pub fn places(&self, stack: &Stack) -> Result<Vec<Place>> {
        if self.is_empty() {
            let all = Place::all(stack);
            return if all.is_empty() { Err(stack.no_file_system()) } else { Ok(all) };
        }
        let (mut places, _tree) = self.of_guest(stack)?;
        for device in &self.devices {
            places.push(device.open(stack, Writing::Never)?);
        }
        Ok(places)
    }

    /// The file systems by themselves, each once: where paths are those on the device, and where it would be mounted
    /// means nothing.
    pub fn file_systems(&self, stack: &Stack) -> Result<Vec<Place>> {
        if let Some(device) = self.devices.iter().find(|device| device.directory != "/") {
            let text = format!("-m {device}: name the device alone; paths are those on the device here");
            return Err(Error::Usage(text));
        }
        let mut places: Vec<Place> = Vec::new();
        for place in self.places(stack)? {
            if places.iter().all(|other| other.device != place.device) {
                places.push(place);
            }
        }
        Ok(places)
    }

    /// One tree of what was chosen, as a mount shows it, and the file systems in it. Nothing said is the only file system
    /// that there is.
    pub fn tree(&self, stack: &Stack) -> Result<(Mounts, Vec<Place>)> {
        if self.is_empty() {
            let mut all = Place::all(stack);
            return match all.len() {
                0 => Err(stack.no_file_system()),
                1 => Ok((Mounts::new(all[0].tree.clone()), std::mem::take(&mut all))),
                _ => {
                    let names: Vec<_> = all.iter().map(|place| place.device.as_str()).collect();
                    Err(Error::Usage(format!(
                        "several file systems are in the images: {}; choose with -m or -i",
                        names.join(", ")
                    )))
                }
            };
        }
        let (mut places, mut tree) = self.of_guest(stack)?;
        for device in &self.devices {
            let place = device.open(stack, self.writing)?;
            match &mut tree {
                Some(tree) => tree.mount(device.directory.as_bytes(), place.tree.clone()).map_err(|error| {
                    Error::Usage(format!("cannot mount {} on {}: {error}", device.device, device.directory))
                })?,
                None if device.directory == "/" => tree = Some(Mounts::new(place.tree.clone())),
                None => {
                    let text = format!("-m {device}: nothing is mounted on / yet; name that first");
                    return Err(Error::Usage(text));
                }
            }
            places.push(place);
        }
        Ok((tree.expect("the selection is not empty"), places))
    }

    /// The file systems of the guest, and its tree, if that was asked for. What the guest's list of mounts has and the
    /// images have not is said in the log.
    fn of_guest(&self, stack: &Stack) -> Result<(Vec<Place>, Option<Mounts>)> {
        if !self.inspector {
            return Ok((Vec::new(), None));
        }
        let (guest, tree) = inspect::guest(stack, self.root.as_deref())?;
        for warning in &guest.warnings {
            log::warn!("{warning}");
        }
        if matches!(self.writing, Writing::Never | Writing::Named) {
            let place = |(directory, at): &(String, usize)| Ok(Place::open(stack, *at)?.at(directory));
            return Ok((guest.mounts.iter().map(place).collect::<Result<_>>()?, Some(tree)));
        }
        // What was opened for reading shows journals replayed in memory: it is opened again.
        drop(tree);
        let (mut places, mut tree) = (Vec::<Place>::new(), None::<Mounts>);
        for (directory, at) in &guest.mounts {
            let device = &stack.devices[*at].name;
            let writing = if tree.is_some() { self.writing.beside_root() } else { self.writing };
            let place = match places.iter().find(|place| place.device == *device) {
                // Mounted twice.
                Some(same) => Place::of(device, same.size, same.tree.clone(), same.budget.clone()),
                None => Place::open_for(stack, *at, writing, |access| {
                    let mut options = stack.options().clone();
                    options.access = access;
                    stack.open_with(*at, &options)
                })?,
            };
            match &mut tree {
                Some(tree) => tree.mount(directory.as_bytes(), place.tree.clone())?,
                None => tree = Some(Mounts::new(place.tree.clone())),
            }
            places.push(place.at(directory));
        }
        Ok((places, tree))
    }
}
