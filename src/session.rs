//! One use of a set of images: which they are, how they are opened, with which keys and in how much memory.
//!
//! It is what a command line comes down to, and what a program that uses this library begins with: a [`Session`] opens
//! the images and finds every device in them, a [`Stack`]; a [`Selection`](crate::place::Selection) picks trees in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use filesystems::Member;
use images::{Access, Backing, Budget, Error, Result};

use crate::domain;
use crate::keys::{self, Keys};
use crate::stack::Stack;

/// An image, and what is known of it beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// The format by its name; without it, found by content.
    pub format: Option<String>,
    /// The sector size in bytes; without it, found by content.
    pub sector_size: Option<u32>,
    /// Whether its definition says that it is not written.
    pub read_only: bool,
}

/// Where what is written goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nothing is written.
    #[default]
    Nowhere,
    /// To the images.
    Images,
    /// To an overlay of the only image, in this file; without one it is thrown away at the end.
    Overlay(Option<PathBuf>),
}

/// Where disks come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// An image: `-a`.
    Image(Image),
    /// The disks of a libvirt guest, by its name, its UUID or a file with its XML: `-d`.
    Guest(String),
}

/// How all images of a session are opened.
#[derive(Debug)]
pub struct Settings {
    /// The internal snapshot, by its name or id.
    pub snapshot: Option<String>,
    /// Which files the images may name.
    pub backing: Backing,
    /// Whether journals that need recovery are replayed in memory.
    pub replay: bool,
    /// Images of journals that lie on devices of their own.
    pub journals: Vec<PathBuf>,
    /// The libvirt connection for guests, as virsh takes it.
    pub connection: Option<String>,
    /// The keys for encrypted images and volumes.
    pub keys: keys::Options,
    /// Where what is written goes.
    pub target: Target,
    /// What everything that is opened may hold.
    pub budget: Budget,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            snapshot: None,
            backing: Backing::default(),
            replay: true,
            journals: Vec::new(),
            connection: None,
            keys: keys::Options::default(),
            target: Target::Nowhere,
            budget: Budget::default(),
        }
    }
}

/// A set of images, opened when somebody asks for it.
#[derive(Debug, Default)]
pub struct Session {
    inputs: Vec<Input>,
    settings: Settings,
    /// The images, once somebody has asked for them.
    images: OnceLock<Vec<Image>>,
    /// The keys, once somebody has asked for them.
    keys: OnceLock<Arc<Keys>>,
    /// Which of the images each disk is from, once they are open.
    origins: OnceLock<Vec<usize>>,
}

impl Session {
    /// Over the disks of these inputs, in their order.
    pub fn new(inputs: Vec<Input>, settings: Settings) -> Self {
        Self { inputs, settings, ..Self::default() }
    }

    /// Over these images, opened as the program does without options.
    pub fn of<P: Into<PathBuf>>(images: impl IntoIterator<Item = P>) -> Self {
        let image = |path: P| Input::Image(Image { path: path.into(), ..Image::default() });
        Self::new(images.into_iter().map(image).collect(), Settings::default())
    }

    /// Where the disks come from.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Opens the images and finds everything in them, also in the encrypted volumes that a key was given for.
    pub fn open(&self) -> Result<Stack> {
        let keys = self.keys()?;
        let (mut disks, mut origins) = (Vec::new(), Vec::new());
        if let (Target::Overlay(Some(file)), [_, _, ..]) = (&self.settings.target, self.images()?) {
            return Err(Error::Usage(format!("--overlay={}: one file is for one image", file.display())));
        }
        for (at, image) in self.images()?.iter().enumerate() {
            // An appliance has several.
            let options = self.image_options(disks.len(), image);
            disks.extend(match &self.settings.target {
                Target::Overlay(file) => images::open_overlays(&image.path, file.as_deref(), &options)?,
                Target::Nowhere | Target::Images => images::open_all(&image.path, &options)?,
            });
            origins.resize(disks.len(), at);
        }
        self.origins.get_or_init(|| origins);
        let mut options = filesystems::Options::default();
        options.replay = self.settings.replay;
        options.budget = self.settings.budget.clone();
        let journals = self.settings.journals.iter().map(|path| self.journal(path)).collect::<Result<_>>()?;
        Stack::with_keys(disks, journals, options, keys)
    }

    /// The same, and asks at the terminal for the keys of encrypted images, and for those of encrypted volumes where
    /// `wanted` says so of the name of the volume and of the device inside.
    pub fn open_asking(&self, wanted: impl Fn(&str, &str) -> bool + Send + 'static) -> Result<Stack> {
        let keys = self.keys()?;
        keys.ask(wanted);
        let stack = self.open();
        keys.ask_no_more();
        stack
    }

    /// The keys for encrypted images and volumes. The key files are read once.
    pub fn keys(&self) -> Result<&Arc<Keys>> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let keys = Arc::new(Keys::new(&self.settings.keys)?);
        Ok(self.keys.get_or_init(|| keys))
    }

    /// Whether keys are read from standard input, and so only once.
    pub fn reads_keys(&self) -> bool {
        self.settings.keys.from_stdin
    }

    /// The disk of `--journal`, an image in any format.
    fn journal(&self, path: &Path) -> Result<Member> {
        let (backing, budget) = (self.settings.backing, self.settings.budget.clone());
        let options = images::Options { backing, budget, ..images::Options::default() };
        let disk = images::open(path, &options)?;
        match filesystems::identify(&disk)? {
            Some((driver, identity)) if driver.journal == Some(&identity.kind) => {
                Ok(Member { disk, identity: Some(identity) })
            }
            other => {
                let holds = other.map_or("nothing that is known".to_owned(), |(_, identity)| identity.kind);
                Err(Error::Usage(format!(
                    "--journal {}: it holds {holds}, not the journal of a file system",
                    path.display()
                )))
            }
        }
    }

    /// The images in their order, those of guests included. libvirt is asked once.
    pub fn images(&self) -> Result<&[Image]> {
        if let Some(images) = self.images.get() {
            return Ok(images);
        }
        let mut images = Vec::new();
        for input in &self.inputs {
            match input {
                Input::Image(image) => images.push(image.clone()),
                Input::Guest(guest) => {
                    for disk in domain::disks(guest, self.settings.connection.as_deref())? {
                        let access = if disk.read_only { ", which it may only read" } else { "" };
                        log::info!("{} of {guest} is {}{access}", disk.target, disk.path.display());
                        let (format, sector_size, read_only) = (disk.format, disk.sector_size, disk.read_only);
                        images.push(Image { path: disk.path, format, sector_size, read_only });
                    }
                }
            }
        }
        Ok(self.images.get_or_init(|| images))
    }

    /// The image that a disk is from, by the disk's index, after the images were opened.
    pub fn image_of(&self, disk: usize) -> Result<&Image> {
        let images = self.images()?;
        let origin = self.origins.get().and_then(|origins| origins.get(disk)).and_then(|at| images.get(*at));
        origin.ok_or_else(|| Error::Usage(format!("there is no disk {disk}")))
    }

    /// How the image of the disk with this index is to be opened.
    pub fn image_options(&self, index: usize, image: &Image) -> images::Options {
        let settings = &self.settings;
        let writes = settings.target == Target::Images && !image.read_only;
        images::Options {
            format: image.format.clone(),
            access: if writes { Access::ReadWrite } else { Access::Read },
            sector_size: image.sector_size,
            snapshot: settings.snapshot.clone(),
            backing: settings.backing,
            secrets: self.keys.get().map(|keys| keys.of_disk(index)),
            budget: settings.budget.clone(),
            ..images::Options::default()
        }
    }
}
