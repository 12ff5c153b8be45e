//! The options of a mount.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use images::Result;

use super::{Images, Places, wrong};
use crate::place::{Selection, Writing};
use crate::session::Target;

/// The options of a mount.
#[derive(Args, Debug, Default)]
pub struct Mount {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub places: Places,
    /// Mount directories side by side: guest (what -i and -m ask for) and deleted, which has a tree of deleted files
    /// for each file system in the images
    #[arg(long)]
    pub deleted: bool,
    /// The same with a directory unallocated: the free space of each file system as a sparse file
    #[arg(long)]
    pub unallocated: bool,
    /// Show every disk, partition, logical volume and internal snapshot as a sparse file, in place of what is in them
    #[arg(long, conflicts_with_all = ["inspector", "mount", "deleted", "unallocated"])]
    pub blocks: bool,
    /// Mount for reading only: the default, but not of guestmount
    #[arg(short = 'r', long)]
    ro: bool,
    /// Mount for writing: changes go to the images. -m DEVICE:DIR:rw is for one file system
    #[arg(short = 'w', long)]
    rw: bool,
    /// Mount for writing, and leave the images as they are: changes go to FILE, a qcow2 overlay that QEMU can boot from and
    /// `qemu-img commit` can commit; without FILE they are thrown away when unmounted
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with = "ro")]
    overlay: Option<OsString>,
    /// New files belong to this user and group of the guest, as numbers; otherwise to root, or with allow_other to who
    /// makes them
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    pub owner: Option<(u32, u32)>,
    /// New files do not get the SELinux label of their directory
    #[arg(long)]
    pub no_selinux_inherit: bool,
    /// A FUSE option, or several separated by commas: allow_other, uid=N, gid=N …
    #[arg(short = 'o', long = "option", value_name = "OPTION")]
    pub option: Vec<String>,
    /// List the FUSE options
    #[arg(long)]
    pub fuse_help: bool,
    /// How long the kernel may keep names and attributes, in seconds
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub dir_cache_timeout: Option<i64>,
    /// Serve in the foreground
    #[arg(long)]
    pub no_fork: bool,
    /// Write the serving process's number to this file; it is removed after unmounting
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Write one zero byte to this file descriptor when the mount is usable
    #[arg(long, value_name = "FD")]
    pub fd: Option<i32>,
    /// Do not sync when unmounting: it is done all the same
    #[arg(short = 'n', long)]
    no_sync: bool,
    /// Extended attributes, with them SELinux labels, are always shown
    #[arg(long)]
    selinux: bool,
    /// Removed from guestmount in 1.48
    #[arg(long, hide = true)]
    live: bool,
    /// Where to mount.
    #[arg(skip)]
    pub directory: Option<PathBuf>,
    /// The program was started as guestmount.
    #[arg(skip)]
    pub(super) as_guestmount: bool,
}

/// Opens disk images and shows the guest's own tree, with guestmount's words
#[derive(Args, Debug)]
pub(super) struct Guestmount {
    #[command(flatten)]
    pub mount: Mount,
    /// Where to mount
    #[arg(value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

impl Mount {
    /// Whether it is said what to mount.
    pub(super) fn says_what(&self) -> bool {
        !self.places.is_empty() || self.deleted || self.unallocated || self.blocks
    }

    /// Whether an option was typed that only a mount has.
    pub(super) fn is_typed(matches: &ArgMatches) -> bool {
        let shared = Images::augment_args(clap::Command::new("images"));
        let all = Self::augment_args(clap::Command::new("mount"));
        let of_mount = all.get_arguments().filter(|own| shared.get_arguments().all(|arg| arg.get_id() != own.get_id()));
        let mut ids = of_mount.map(|arg| arg.get_id().as_str());
        ids.any(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
    }

    pub(super) fn check(&self, matches: &ArgMatches) -> Result<()> {
        let position = |id: &str, given: bool| given.then(|| matches.index_of(id)).flatten();
        if let (Some(ro), Some(rw)) = (position("ro", self.ro), position("rw", self.rw))
            && ro < rw
        {
            return wrong("cannot mix --ro and --rw options");
        }
        if self.live {
            return wrong("--live: live support was removed from guestmount in 1.48, and is not here either");
        }
        if !self.says_what() {
            return wrong(
                "you must specify either -i or at least one -m option; imgmount filesystems lists the devices",
            );
        }
        if self.directory.is_none() {
            return wrong("you must specify a mountpoint in the host file system");
        }
        let writes = self.selection()?.writes();
        if writes && (self.blocks || self.deleted || self.unallocated) {
            return wrong("--rw: with --blocks, --deleted and --unallocated a mount is for reading only");
        }
        if !writes && self.overlay.is_some() {
            return wrong("--overlay: nothing is mounted for writing");
        }
        Ok(())
    }

    /// What is to be mounted, and what of it is to be written.
    pub fn selection(&self) -> Result<Selection> {
        let last = |name: &str| {
            let mut words = self.option.iter().rev().flat_map(|list| list.rsplit(','));
            words.find(|word| matches!(*word, "ro" | "rw")) == Some(name)
        };
        let reads = self.ro || last("ro");
        let asked = self.rw || self.overlay.is_some() || last("rw");
        let shows_more = self.blocks || self.deleted || self.unallocated;
        let writing = match (reads, asked) {
            (true, _) => Writing::Named,
            (_, true) => Writing::All,
            // As guestmount has it; there is no reason to fail where nobody asked.
            _ if self.as_guestmount && !shows_more => Writing::Possible,
            _ => Writing::Named,
        };
        Ok(Selection { writing, ..self.places.selection()? })
    }

    /// Where what is written goes.
    pub(super) fn target(&self) -> Result<Target> {
        Ok(match &self.overlay {
            Some(file) if file.is_empty() => Target::Overlay(None),
            Some(file) => Target::Overlay(Some(file.into())),
            None if self.selection()?.writes() => Target::Images,
            None => Target::Nowhere,
        })
    }
}

/// `UID:GID`.
fn owner(text: &str) -> std::result::Result<(u32, u32), String> {
    // -1 is no user: the kernel refuses it.
    let number = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
    let ids = text.split_once(':').and_then(|(user, group)| Some((number(user)?, number(group)?)));
    ids.ok_or_else(|| "want UID:GID, two numbers of the guest".to_owned())
}
