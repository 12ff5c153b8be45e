//! The command line: guestmount's options, and the commands that it does not have.

mod forensics;
mod request;
pub(crate) mod size;

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, CommandFactory, Parser, Subcommand};
use images::{Backing, Error, Result};

pub use self::forensics::{Deleted, Filters, History, Recover, Selection, Timeline};
pub use self::request::{Image, Input, Request};
use crate::commands::info;
use crate::keys::{Keys, Typed};

const EXAMPLES: &str = "\
Examples:
  imgmount -a vm.qcow2 -i /mnt                     the guest's own tree, with what its fstab mounts
  imgmount -a vm.qcow2 -m /dev/sda1 /mnt           one file system
  imgmount -a a.img -a b.img -m /dev/vg/root -m /dev/vg/home:/home /mnt
  imgmount unmount /mnt
  imgmount filesystems -a vm.qcow2                 what is in the image
  imgmount inspect -a vm.qcow2 --json              which system it is
  imgmount -d guest -i /mnt                        the disks of a libvirt guest
  imgmount -a vm.qcow2 --blocks /mnt               /mnt/sda, /mnt/sda1, /mnt/vg/root: for any tool that reads devices
  imgmount info vm.qcow2                           its format, sizes, backing files and snapshots
  imgmount -a vm.qcow2 -i --deleted /mnt           the guest beside what was deleted from it
  imgmount deleted -a vm.qcow2                     what was deleted, and how much of it is left
  imgmount recover -a vm.qcow2 --to out '*.odt'    gets it back

Exit status: 0 success, 1 failure; `imgmount unmount` also has 2 (cannot unmount) and 3 (not mounted), `imgmount
recover` 2 (not everything that was asked for could be written), `imgmount info --verify` 2 (a hash is not right).
A directory with the name of a command is written as a path: ./inspect";

/// Opens disk images and shows the guest's own tree, without root.
#[derive(Parser, Debug, Default)]
#[command(name = "imgmount", version, disable_version_flag = true, disable_help_flag = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
#[command(after_help = EXAMPLES, override_usage = "imgmount -a IMAGE … (-i | -m DEVICE …) [OPTIONS] DIRECTORY\n       imgmount COMMAND …")]
pub struct Cli {
    /// What to do; without a command, mount.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to mount, and how.
    #[command(flatten)]
    pub mount: Mount,
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
    Info(info::Options),
    /// List deleted files, and how much of each is left
    Deleted(Deleted),
    /// Write deleted files to a directory, with a report
    Recover(Recover),
    /// Print the times of all files, live and deleted, as a body file for mactime and Plaso
    Timeline(Timeline),
    /// Show the earlier versions of a file's attributes that the journal remembers
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

/// The images, as every command takes them.
#[derive(Args, Debug, Default)]
pub struct Images {
    /// Open this disk image: the first becomes /dev/sda, the second /dev/sdb. An appliance (.ova, .ovf) has a name for
    /// each of its disks
    #[arg(short = 'a', long = "add", value_name = "IMAGE")]
    pub add: Vec<PathBuf>,
    #[arg(long, help = format_help("images that follow"), value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    format: Vec<String>,
    /// The sector size of the images that follow (512, 4096); without a value, found by content
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    blocksize: Vec<String>,
    /// Open the images as they were at this internal snapshot (name or id)
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<String>,
    /// Which files the images may name as their backing or data files: those that all can read who had a say in the name,
    /// as owners of images and links (owner); any (follow); none
    #[arg(long, value_name = "POLICY", default_value = "owner", value_parser = ["owner", "follow", "none"])]
    backing: String,
    /// How much memory the images may make the program hold at most: caches, tables, lists (256M, 1G)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size::bytes)]
    memory: u64,
    /// How much may be decompressed to temporary files at most (20G): images under gzip, bzip2, xz or zstd. Half of what
    /// is free there if not given; the variable TMPDIR says where
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    unpack_limit: Option<u64>,
    /// Show a file system whose journal needs recovery as it is on the disk, instead of replaying it in memory
    #[arg(long)]
    pub no_replay: bool,
    /// The journal of an ext file system whose journal is on another device: an image of that device; may be repeated.
    /// A journal on a device in the images is found without it
    #[arg(long, value_name = "IMAGE")]
    journal: Vec<PathBuf>,
    /// Say more; twice for everything
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log every request; implies --no-fork
    #[arg(short = 'x', long)]
    pub trace: bool,
    /// Open the disks of a libvirt guest: its name or UUID, or a file with its XML (a path with a `/`, or `*.xml`)
    #[arg(short = 'd', long, value_name = "GUEST")]
    domain: Vec<String>,
    /// The libvirt connection for -d, as virsh takes it
    #[arg(short = 'c', long, value_name = "URI", requires = "domain")]
    connect: Option<String>,
    /// A key for an encrypted volume or image: ID:key:STRING, ID:file:FILE, or its detached header ID:header:FILE; the
    /// ID is a device, an image's file name, a LUKS UUID or all; BitLocker takes the password, the recovery password or
    /// a .BEK file; may be repeated
    #[arg(long, value_name = "SELECTOR")]
    key: Vec<Typed>,
    /// Read keys from standard input: a line for each encrypted image and volume that no other key opens
    #[arg(long)]
    keys_from_stdin: bool,
    /// Show keys while they are typed
    #[arg(long)]
    echo_keys: bool,
}

/// The options of a mount.
#[derive(Args, Debug, Default)]
pub struct Mount {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub images: Images,
    /// Find the operating system and mount its file systems where it mounts them
    #[arg(short = 'i', long)]
    pub inspector: bool,
    /// Mount this device (at /, or at the directory given); may be repeated
    #[arg(short = 'm', long = "mount", value_name = "DEVICE[:DIR[:OPTIONS[:TYPE]]]")]
    pub mount: Vec<String>,
    /// With -i and several systems in the images: the device of the root file system to take
    #[arg(long, value_name = "DEVICE")]
    pub root: Option<String>,
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
    /// Where to mount
    #[arg(value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
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
            Self::Deleted(deleted) => Some(&deleted.selection.images),
            Self::Recover(recover) => Some(&recover.selection.images),
            Self::Timeline(timeline) => Some(&timeline.images),
            Self::History(history) => Some(&history.images),
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

/// The help of `--format`, with every name that it takes.
pub(crate) fn format_help(images: &str) -> String {
    let names: Vec<_> =
        std::iter::once(images::format::RAW).chain(images::FORMATS.iter().map(|known| known.name)).collect();
    format!("The format of the {images} ({}); without a value, found by content", names.join(", "))
}

fn wrong<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Usage(text.into()))
}

/// The policy for files that images name, by the name that `--backing` takes.
pub(crate) fn backing(policy: &str) -> Backing {
    match policy {
        "follow" => Backing::Follow,
        "none" => Backing::None,
        _ => Backing::Owner,
    }
}

impl Images {
    /// Whether keys are read from standard input, and so only once.
    pub fn reads_keys(&self) -> bool {
        self.keys_from_stdin
    }

    /// The keys for encrypted volumes. Reads the key files.
    fn keys(&self) -> Result<Keys> {
        Keys::new(&self.key, self.keys_from_stdin, self.echo_keys)
    }

    /// Gives every `-a` the `--format` and `--blocksize` that stood last before it, and puts `-a` and `-d` in one row.
    fn in_order(&self, matches: &ArgMatches) -> Result<Vec<Input>> {
        let at = |id: &str| matches.indices_of(id).map(Iterator::collect).unwrap_or_default();
        let (adds, formats, sizes): (Vec<usize>, Vec<usize>, Vec<usize>) = (at("add"), at("format"), at("blocksize"));
        let last = adds.last().copied().unwrap_or(0);
        if formats.last().is_some_and(|&format| format > last) {
            return wrong("--format must come before the -a that it is for");
        }
        if sizes.last().is_some_and(|&size| size > last) {
            return wrong("--blocksize must come before the -a that it is for");
        }
        let before = |positions: &[usize], values: &[String], add: usize| {
            let count = positions.iter().filter(|&&position| position < add).count();
            count.checked_sub(1).map(|index| values[index].clone()).filter(|value| !value.is_empty())
        };
        let one = |(path, &add): (&PathBuf, &usize)| {
            let sector_size = match before(&sizes, &self.blocksize, add).as_deref() {
                None => None,
                Some("512") => Some(512),
                Some("4096") => Some(4096),
                Some(other) => return wrong(format!("--blocksize={other}: want 512 or 4096")),
            };
            Ok(Image { path: local_path(path)?, format: before(&formats, &self.format, add), sector_size })
        };
        let mut inputs = Vec::new();
        for (path, add) in self.add.iter().zip(&adds) {
            inputs.push((*add, Input::Image(one((path, add))?)));
        }
        inputs.extend(at("domain").into_iter().zip(self.domain.iter().cloned().map(Input::Guest)));
        inputs.sort_by_key(|(position, _)| *position);
        Ok(inputs.into_iter().map(|(_, input)| input).collect())
    }
}

/// A path, or a `file:` URI of one; guestmount's rule for what is a URI.
fn local_path(path: &Path) -> Result<PathBuf> {
    let Some((scheme, rest)) = path.to_str().and_then(|text| text.split_once("://")) else {
        return Ok(path.to_owned());
    };
    let is_scheme = (1..=8).contains(&scheme.len()) && scheme.bytes().all(|c| c.is_ascii_lowercase() || c == b'+');
    match scheme {
        _ if !is_scheme => Ok(path.to_owned()),
        "file" if rest.starts_with('/') => percent_decoded(rest),
        "file" => wrong(format!("{}: a file on another host", path.display())),
        _ => wrong(format!("{}: images over {scheme} are not supported yet; copy it here or mount it", path.display())),
    }
}

fn percent_decoded(text: &str) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = after;
            continue;
        }
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) => out.push(code),
            None => return wrong(format!("file://{text}: % without two hexadecimal digits")),
        }
        rest = &after[2..];
    }
    Ok(std::ffi::OsString::from_vec(out).into())
}

impl Mount {
    fn check(&self, matches: &ArgMatches) -> Result<()> {
        let position = |id: &str, given: bool| given.then(|| matches.index_of(id)).flatten();
        if let (Some(ro), Some(rw)) = (position("ro", self.ro), position("rw", self.rw))
            && ro < rw
        {
            return wrong("cannot mix --ro and --rw options");
        }
        if self.live {
            return wrong("--live: live support was removed from guestmount in 1.48, and is not here either");
        }
        if self.fuse_help {
            return Ok(());
        }
        if self.images.add.is_empty() && self.images.domain.is_empty() {
            return wrong("you must specify at least one -a or -d option; try imgmount --help");
        }
        if !self.inspector && self.mount.is_empty() && !self.deleted && !self.unallocated && !self.blocks {
            return wrong(
                "you must specify either -i or at least one -m option; imgmount filesystems lists the devices",
            );
        }
        if self.root.is_some() && !self.inspector {
            return wrong("--root goes with -i");
        }
        if self.directory.is_none() {
            return wrong("you must specify a mountpoint in the host file system");
        }
        Ok(())
    }

    /// Whether writing is asked for: `--rw` and not, after it, `--ro`.
    pub fn wants_writing(&self) -> bool {
        self.rw && !self.ro
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request> {
        Request::parse(line.split(' ').collect()).unwrap()
    }

    fn message(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_hold_for_the_images_that_follow() {
        let request =
            parse("imgmount -a a --format=raw -a b --blocksize=4096 -a c --format --blocksize -a d -i /mnt").unwrap();
        let seen: Vec<_> =
            request.images().unwrap().iter().map(|image| (image.format.as_deref(), image.sector_size)).collect();
        assert_eq!(seen, [(None, None), (Some("raw"), None), (Some("raw"), Some(4096)), (None, None)]);
        assert_eq!(request.images().unwrap()[3].path, PathBuf::from("d"));
        assert!(message("imgmount -a a --format=raw -i /mnt").contains("before"));
        assert!(message("imgmount -a a --blocksize=512 -i /mnt").contains("before"));
        assert!(message("imgmount --blocksize=1024 -a a -i /mnt").contains("1024"));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (line, want) in [
            ("imgmount", "-a"),
            ("imgmount -i /mnt", "-a"),
            ("imgmount -a x /mnt", "-i"),
            ("imgmount -a x -i", "mountpoint"),
            ("imgmount -a x -i --ro --rw /mnt", "cannot mix"),
            ("imgmount -a x -i --live /mnt", "--live"),
            ("imgmount -d guest", "-i"),
            ("imgmount --format=raw -d guest -i /mnt", "--format"),
            ("imgmount -a nbd://h/x -i /mnt", "nbd"),
            ("imgmount -a file://host/x -i /mnt", "another host"),
            ("imgmount inspect", "-a"),
            ("imgmount deleted", "-a"),
        ] {
            assert!(message(line).contains(want), "{line}: {}", message(line));
        }
    }

    #[test]
    fn guestmount_and_guestunmount_are_names_of_their_own() {
        let request = parse("/usr/bin/guestmount -a x -i inspect").unwrap();
        assert_eq!(request.cli.mount.directory, Some(PathBuf::from("inspect")), "a directory, not a command");
        let request = parse("guestunmount --no-retry /mnt").unwrap();
        assert!(matches!(&request.cli.command, Some(Command::Unmount(unmount)) if unmount.no_retry));
        assert!(message("guestmount -i /mnt").contains("-a"));
        let usage = |line: &str| Request::parse(line.split(' ').collect()).err().unwrap();
        assert!(usage("guestunmount -a x /mnt").to_string().contains("Usage: guestunmount"));
        assert!(usage("guestmount -V").to_string().starts_with("guestmount (imgmount) "));
        assert_eq!(usage("guestunmount --help").exit_code(), 0);
    }

    #[test]
    fn bundled_and_long_spellings_are_the_same() {
        let request =
            parse("imgmount -a file:///tmp/a%20b --inspector --ro --mount /dev/sda1 -m /dev/sda2:/x -vv -n /mnt")
                .unwrap();
        assert_eq!(request.images().unwrap()[0].path, PathBuf::from("/tmp/a b"));
        assert_eq!(request.cli.mount.mount, ["/dev/sda1", "/dev/sda2:/x"]);
        assert_eq!(request.cli.mount.images.verbose, 2);
        assert!(!request.cli.mount.wants_writing());
        assert!(parse("imgmount -iwra x /mnt").is_ok());
        assert!(parse("imgmount -a x --deleted /mnt").is_ok());
        assert!(parse("imgmount -a x --blocks /mnt").is_ok());
        let request = parse("imgmount -a x -d guest -a y -i /mnt").unwrap();
        assert!(
            matches!(&request.inputs[..], [Input::Image(_), Input::Guest(guest), Input::Image(_)] if guest == "guest")
        );
        assert!(!parse("imgmount -a x -i --rw --ro /mnt").unwrap().cli.mount.wants_writing());
    }
}
