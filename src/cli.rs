//! The command line: guestmount's options, and the commands that it does not have.

mod forensics;
mod images;
mod info;
mod mount;
mod opening;
mod places;
mod request;
mod size;
mod words;

use std::path::PathBuf;

use ::images::{Error, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use self::forensics::{Deleted, Filters, History, Recover, Timeline};
pub use self::images::Images;
pub use self::info::Info;
use self::mount::Guestmount;
pub use self::mount::Mount;
pub use self::places::Places;
pub use self::request::Request;

const USAGE: &str = "\
imgmount IMAGE                                        what is in it
       imgmount IMAGE DIRECTORY                              mounts the guest's own tree
       imgmount -a IMAGE … (-i | -m DEVICE …) [OPTIONS] DIRECTORY
       imgmount COMMAND …";

const EVERYWHERE: &str = "Without -i and -m: every file system in the images.";

/// Every line that begins with the program's name is run by a test.
const EXAMPLES: &str = "\
Examples:
  imgmount vm.qcow2                                what is in the image
  imgmount vm.qcow2 /mnt                           the guest's own tree, with what its fstab mounts
  imgmount unmount /mnt
  imgmount -a vm.qcow2 -i /mnt                     the same in guestmount's words; -a again for each disk more
  imgmount -a vm.qcow2 -m /dev/sda1 /mnt           one file system
  imgmount -a vm.qcow2 -m /dev/vg/root -m /dev/vg/home:/home /mnt
  imgmount filesystems -a vm.qcow2                 every disk, partition and volume in the image
  imgmount inspect -a vm.qcow2 --json              which system it is
  imgmount -d guest.xml -i /mnt                    the disks of a libvirt guest, by its name or its XML
  imgmount -a vm.qcow2 --blocks /mnt               /mnt/sda, /mnt/sda1, /mnt/vg/root: for any tool that reads devices
  imgmount info vm.qcow2                           its format, sizes, backing files and snapshots
  imgmount vm.qcow2 -i --deleted /mnt              the guest beside what was deleted from it
  imgmount deleted -a vm.qcow2                     what was deleted, and how much of it is left
  imgmount recover -a vm.qcow2 --to out '*.txt'    gets it back

Exit status: 0 success, 1 failure; `imgmount unmount` also has 2 (cannot unmount), 3 (not mounted)
and 4 (unmounted, but not everything could be written), `imgmount recover` 2 (not everything that was asked for could be written), `imgmount info --verify` 2 (a hash is not right).
A file or directory with the name of a command is written as a path: ./inspect";

/// Opens disk images and shows the guest's own tree, without root.
#[derive(Parser, Debug, Default)]
#[command(name = "imgmount", version, disable_version_flag = true, disable_help_flag = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct Cli {
    /// What to do; without a command, mount.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to mount, and how.
    #[command(flatten)]
    pub mount: Mount,
    /// The image; and where to mount it. Without a directory: what is in the image. With -a or -d, only the directory
    #[arg(value_names = ["IMAGE", "DIRECTORY"], num_args = 1..)]
    word: Vec<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List disks, partitions, physical volumes, groups and logical volumes, and what each holds
    Filesystems(List),
    /// Say which operating systems are in the images
    Inspect(List),
    /// Say what images are: format, sizes, backing files, snapshots
    Info(Info),
    /// List deleted files, and how much of each is left
    #[command(after_help = EVERYWHERE)]
    Deleted(Deleted),
    /// Write deleted files to a directory, with a report
    #[command(after_help = EVERYWHERE)]
    Recover(Recover),
    /// Print the times of all files, live and deleted, as a body file for mactime and Plaso
    #[command(after_help = EVERYWHERE)]
    Timeline(Timeline),
    /// Show the earlier versions of a file's attributes that the journal remembers
    #[command(after_help = "Without -i and -m: PATH is a path of the only file system in the images.")]
    History(History),
    /// Unmount a directory that imgmount serves; returns when the serving process is gone
    Unmount(Unmount),
    /// Print the manual page, in roff
    #[command(hide = true)]
    Man,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The options of a listing.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub images: Images,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The options of `unmount`, which are guestunmount's.
#[derive(Args, Debug)]
pub struct Unmount {
    /// Wait until this pipe is closed at the other end, then unmount
    #[arg(long, value_name = "FD")]
    pub fd: Option<i32>,
    /// Do not say why it failed
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Try only once
    #[arg(long, conflicts_with = "retry")]
    pub no_retry: bool,
    /// Try so many times more, after 1, 2, 4 … seconds
    #[arg(long, value_name = "TIMES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..64))]
    pub retry: u32,
    /// Say what is tried
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// The mount point
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

impl Command {
    /// The images of a command that takes some.
    fn images(&self) -> Option<&Images> {
        match self {
            Self::Filesystems(list) | Self::Inspect(list) => Some(&list.images),
            Self::Deleted(deleted) => Some(&deleted.places.images),
            Self::Recover(recover) => Some(&recover.places.images),
            Self::Timeline(timeline) => Some(&timeline.places.images),
            Self::History(history) => Some(&history.places.images),
            Self::Info(_) | Self::Unmount(_) | Self::Man | Self::Completions { .. } => None,
        }
    }
}

impl Cli {
    /// The manual page in roff: one for the program, followed by one section for each command.
    pub fn manual() -> Result<String> {
        let failed = |error| Error::io("cannot write the manual page", error);
        let command = Self::command();
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = format!("imgmount {}", command.get_name());
            let man = clap_mangen::Man::new(command.clone().bin_name(name.clone()));
            page.extend(format!(".SH {}\n", name.to_uppercase()).into_bytes());
            man.render_synopsis_section(&mut page).map_err(failed)?;
            man.render_description_section(&mut page).map_err(failed)?;
            man.render_options_section(&mut page).map_err(failed)?;
            if let Some(more) = command.get_after_help() {
                page.extend(format!(".PP\n{more}\n").into_bytes());
            }
        }
        Ok(String::from_utf8_lossy(&page).into_owned())
    }

    /// The completions for a shell.
    pub fn completions(shell: clap_complete::Shell) -> String {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Self::command(), "imgmount", &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn wrong<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Usage(text.into()))
}

#[cfg(test)]
mod tests;
