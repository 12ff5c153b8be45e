//! What was typed: checked, and opened when somebody asks for it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches};
use images::{Budget, Disk, Error, Result, Storage};

use super::{Cli, Command, Images, Mount, Unmount, backing, wrong};
use crate::domain;
use crate::keys::Keys;
use crate::stack::{JOURNAL, Stack};
use crate::words::Words;

/// One `-a` with the options that stood before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// `--format`, if one is in force.
    pub format: Option<String>,
    /// `--blocksize` in bytes, if one is in force.
    pub sector_size: Option<u32>,
}

/// Where disks come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// `-a`.
    Image(Image),
    /// `-d`: what stands there.
    Guest(String),
}

/// A command line of this name, which takes these options and nothing else.
fn named<Options: Args>(name: &'static str) -> clap::Command {
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Print the version");
    let command = clap::Command::new(name).version(concat!("(imgmount) ", env!("CARGO_PKG_VERSION")));
    let command = command.disable_help_flag(true).disable_version_flag(true);
    Options::augment_args(command).arg(help).arg(version)
}

/// What was typed, checked as far as that can be done without opening anything.
#[derive(Debug)]
pub struct Request {
    /// The parsed options.
    pub cli: Cli,
    /// The words themselves, to run the program again.
    pub words: Words,
    /// Where the disks come from, in the order of the command line.
    pub inputs: Vec<Input>,
    /// What everything that is opened may hold.
    budget: Budget,
    /// The images, once somebody has asked for them.
    images: OnceLock<Vec<Image>>,
    /// The keys, once somebody has asked for them.
    keys: OnceLock<Arc<Keys>>,
    /// Which of the images each disk is from, once they are open.
    origins: OnceLock<Vec<usize>>,
}

impl Request {
    /// Parses the words of a command line. A clap error also stands for `--help` and `--version`.
    ///
    /// The first word is the name under which the program was started: as `guestmount` and `guestunmount` it takes the
    /// words of those.
    pub fn parse(words: Words) -> std::result::Result<Result<Self>, clap::Error> {
        let name = words.as_slice().first().and_then(|path| Path::new(path).file_name());
        let (cli, matches) = match name.and_then(OsStr::to_str) {
            Some("guestmount") => {
                let matches = named::<Mount>("guestmount").try_get_matches_from(words.as_slice())?;
                (Cli { mount: Mount::from_arg_matches(&matches)?, ..Cli::default() }, matches)
            }
            Some("guestunmount") => {
                let matches = named::<Unmount>("guestunmount").try_get_matches_from(words.as_slice())?;
                let command = Some(Command::Unmount(Unmount::from_arg_matches(&matches)?));
                (Cli { command, ..Cli::default() }, matches)
            }
            _ => {
                let matches = Cli::command().try_get_matches_from(words.as_slice())?;
                (Cli::from_arg_matches(&matches)?, matches)
            }
        };
        Ok(Self::check(cli, &matches).map(|request| Self { words, ..request }))
    }

    /// The options that all commands share.
    pub fn options(&self) -> &Images {
        self.cli.command.as_ref().and_then(Command::images).unwrap_or(&self.cli.mount.images)
    }

    /// Opens the images and finds everything in them, also in the encrypted volumes that a key was given for.
    pub fn open(&self) -> Result<Stack> {
        let keys = self.keys()?;
        let (mut disks, mut origins) = (Vec::new(), Vec::new());
        for (at, image) in self.images()?.iter().enumerate() {
            // An appliance has several.
            disks.extend(images::open_all(&image.path, &self.image_options(disks.len(), image))?);
            origins.resize(disks.len(), at);
        }
        self.origins.get_or_init(|| origins);
        let mut wanted = filesystems::Options::default();
        wanted.replay = !self.options().no_replay;
        wanted.budget = self.budget.clone();
        for path in &self.options().journal {
            wanted.journals.push(self.journal(path)?);
        }
        Stack::with_keys(disks, wanted, keys)
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
        let keys = Arc::new(self.options().keys()?);
        Ok(self.keys.get_or_init(|| keys))
    }

    /// The disk of `--journal`, an image in any format.
    fn journal(&self, path: &Path) -> Result<Arc<dyn Disk>> {
        let (backing, budget) = (backing(&self.options().backing), self.budget.clone());
        let options = images::Options { backing, budget, ..images::Options::default() };
        let disk = images::open(path, &options)?;
        match filesystems::identify(&disk)? {
            Some((_, identity)) if identity.kind == JOURNAL => Ok(disk),
            other => {
                let holds = other.map_or("nothing that is known".to_owned(), |(_, identity)| identity.kind);
                Err(Error::Usage(format!(
                    "--journal {}: it holds {holds}, not the journal of an ext file system",
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
                    for disk in domain::disks(guest, self.options().connect.as_deref())? {
                        let access = if disk.read_only { ", which it may only read" } else { "" };
                        log::info!("{} of {guest} is {}{access}", disk.target, disk.path.display());
                        images.push(Image { path: disk.path, format: disk.format, sector_size: disk.sector_size });
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
        let options = self.options();
        let (format, sector_size) = (image.format.clone(), image.sector_size);
        let (snapshot, backing) = (options.snapshot.clone(), backing(&options.backing));
        let secrets = self.keys.get().map(|keys| keys.of_disk(index));
        images::Options { format, sector_size, snapshot, backing, secrets, budget: self.budget.clone() }
    }

    fn check(cli: Cli, matches: &ArgMatches) -> Result<Self> {
        let (options, matches) = match (cli.command.as_ref().map(Command::images), matches.subcommand()) {
            (Some(Some(images)), Some((_, matches))) => (images, matches),
            (None, _) => (&cli.mount.images, matches),
            _ => {
                return Ok(Self::new(cli, Vec::new(), Budget::default()));
            }
        };
        let inputs = options.in_order(matches)?;
        if cli.command.is_none() {
            cli.mount.check(matches)?;
        }
        if inputs.is_empty() && !cli.mount.fuse_help {
            return wrong("you must specify at least one -a or -d option; try imgmount --help");
        }
        let budget = Budget::with_storage(options.memory, Storage::new(options.unpack_limit));
        Ok(Self::new(cli, inputs, budget))
    }

    fn new(cli: Cli, inputs: Vec<Input>, budget: Budget) -> Self {
        let words = Words::default();
        Self { cli, words, inputs, budget, images: OnceLock::new(), keys: OnceLock::new(), origins: OnceLock::new() }
    }
}
