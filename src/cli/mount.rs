//! The options of a mount.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use images::Result;

use super::{Images, Places, wrong};

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
    /// Mount for reading only: the default
    #[arg(short = 'r', long)]
    pub ro: bool,
    /// Mount for writing (not supported yet: fails with the reason)
    #[arg(short = 'w', long)]
    pub rw: bool,
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
    /// Do not sync when unmounting: nothing is ever written
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
        self.places.selection().map(drop)
    }

    /// Whether writing is asked for: `--rw` and not, after it, `--ro`.
    pub fn wants_writing(&self) -> bool {
        self.rw && !self.ro
    }
}
