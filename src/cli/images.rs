//! The options that say which images, and how they are opened: those of every command that takes images.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args};
use images::Result;

use super::opening::Opening;
use super::wrong;
use crate::keys::{self, Typed};
use crate::session::{Image, Input, Session, Settings, Target};

/// The images, as every command takes them.
#[derive(Args, Debug, Default)]
pub struct Images {
    /// Open this disk image: the first becomes /dev/sda, the second /dev/sdb. An appliance (.ova, .ovf) has a name for
    /// each of its disks
    #[arg(short = 'a', long = "add", value_name = "IMAGE")]
    add: Vec<PathBuf>,
    #[arg(long, help = format_help("images that follow"), value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    format: Vec<String>,
    /// The sector size of the images that follow (512, 4096); without a value, found by content
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    blocksize: Vec<String>,
    /// Open the images as they were at this internal snapshot (name or id)
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    #[command(flatten)]
    opening: Opening,
    /// Show a file system whose journal needs recovery as it is on the disk, instead of replaying it in memory
    #[arg(long)]
    no_replay: bool,
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
    /// The image that is named without an option.
    #[arg(skip)]
    pub(super) word: Option<PathBuf>,
}

/// The help of `--format`, with every name that it takes.
pub(super) fn format_help(images: &str) -> String {
    let names: Vec<_> =
        std::iter::once(images::format::RAW).chain(images::FORMATS.iter().map(|known| known.name)).collect();
    format!("The format of the {images} ({}); without a value, found by content", names.join(", "))
}

impl Images {
    /// The images in the order of the command line, and how they are opened.
    pub(super) fn session(&self, matches: &ArgMatches, target: Target) -> Result<Session> {
        let inputs = self.in_order(matches)?;
        if inputs.is_empty() {
            return wrong("you must specify at least one -a or -d option; try imgmount --help");
        }
        let settings = Settings {
            snapshot: self.snapshot.clone(),
            backing: self.opening.backing(),
            replay: !self.no_replay,
            journals: self.journal.clone(),
            connection: self.connect.clone(),
            keys: keys::Options { typed: self.key.clone(), from_stdin: self.keys_from_stdin, echo: self.echo_keys },
            target,
            budget: self.opening.budget(),
        };
        Ok(Session::new(inputs, settings))
    }

    /// Whether images are named.
    pub(super) fn are_given(&self) -> bool {
        !self.add.is_empty() || !self.domain.is_empty() || self.word.is_some()
    }

    /// Gives every image the `--format` and `--blocksize` that stood last before it, and puts images and `-d` in one row.
    fn in_order(&self, matches: &ArgMatches) -> Result<Vec<Input>> {
        let at = |id: &str| -> Vec<usize> { matches.indices_of(id).map(Iterator::collect).unwrap_or_default() };
        let mut images: Vec<(usize, &PathBuf)> = at("add").into_iter().zip(&self.add).collect();
        if let Some(word) = &self.word {
            images.extend(at("word").into_iter().next().map(|position| (position, word)));
        }
        let (formats, sizes) = (at("format"), at("blocksize"));
        let last = images.iter().map(|(position, _)| *position).max().unwrap_or(0);
        if formats.last().is_some_and(|&format| format > last) {
            return wrong("--format must come before the -a that it is for");
        }
        if sizes.last().is_some_and(|&size| size > last) {
            return wrong("--blocksize must come before the -a that it is for");
        }
        let mut inputs = Vec::new();
        for (position, path) in images {
            let sector_size = match before(&sizes, &self.blocksize, position).as_deref() {
                None => None,
                Some("512") => Some(512),
                Some("4096") => Some(4096),
                Some(other) => return wrong(format!("--blocksize={other}: want 512 or 4096")),
            };
            let format = before(&formats, &self.format, position);
            inputs.push((
                position,
                Input::Image(Image { path: local_path(path)?, format, sector_size, read_only: false }),
            ));
        }
        inputs.extend(at("domain").into_iter().zip(self.domain.iter().cloned().map(Input::Guest)));
        inputs.sort_by_key(|(position, _)| *position);
        Ok(inputs.into_iter().map(|(_, input)| input).collect())
    }
}

/// The last of these values that stands before `position`, if it is not empty.
fn before(positions: &[usize], values: &[String], position: usize) -> Option<String> {
    let count = positions.iter().filter(|&&at| at < position).count();
    count.checked_sub(1).map(|index| values[index].clone()).filter(|value| !value.is_empty())
}

/// A path, or a `file:` URI of one; guestmount's rule for what is a URI.
pub(super) fn local_path(path: &Path) -> Result<PathBuf> {
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
    Ok(OsString::from_vec(out).into())
}
