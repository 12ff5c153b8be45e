//! What was typed: parsed and checked, as far as that can be done without opening anything.

use std::ffi::OsStr;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches};
use images::Result;

use super::{Cli, Command, Guestmount, Images, Unmount, wrong};
use crate::session::{Session, Target};
use crate::words::Words;

/// A command line of this name, which takes these options and nothing else.
fn named<Options: Args>(name: &'static str) -> clap::Command {
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Print the version");
    let command = clap::Command::new(name).version(concat!("(imgmount) ", env!("CARGO_PKG_VERSION")));
    let command = command.disable_help_flag(true).disable_version_flag(true);
    Options::augment_args(command).arg(help).arg(version)
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Request {
    /// The parsed options.
    pub cli: Cli,
    /// The words themselves, to run the program again.
    pub words: Words,
    /// The images; none for a command that takes none this way.
    pub session: Session,
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
                let matches = named::<Guestmount>("guestmount").try_get_matches_from(words.as_slice())?;
                let Guestmount { mut mount, directory } = Guestmount::from_arg_matches(&matches)?;
                mount.directory = directory;
                mount.as_guestmount = true;
                (Cli { mount, ..Cli::default() }, matches)
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
        Ok(Self::check(cli, &matches, words))
    }

    /// The options that all commands with images share.
    pub fn images(&self) -> &Images {
        self.cli.command.as_ref().and_then(Command::images).unwrap_or(&self.cli.mount.places.images)
    }

    fn check(mut cli: Cli, matches: &ArgMatches, words: Words) -> Result<Self> {
        let session = match &cli.command {
            Some(command) => Self::of_command(command, matches)?,
            None => {
                cli.place_words(matches)?;
                if cli.mount.fuse_help {
                    Session::default()
                } else {
                    let target = if cli.is_overview() { Target::Nowhere } else { cli.mount.target()? };
                    let session = cli.mount.places.images.session(matches, target)?;
                    if !cli.is_overview() {
                        cli.mount.check(matches)?;
                    }
                    session
                }
            }
        };
        Ok(Self { cli, words, session })
    }

    fn of_command(command: &Command, matches: &ArgMatches) -> Result<Session> {
        let (Some(images), Some((name, matches))) = (command.images(), matches.subcommand()) else {
            return Ok(Session::default());
        };
        // A file of this name would be one word too.
        if !images.are_given() && Path::new(name).exists() {
            return wrong(format!(
                "{name} is a command, which needs at least one -a or -d option; the file of this name is ./{name}"
            ));
        }
        images.session(matches, Target::Nowhere)
    }
}
