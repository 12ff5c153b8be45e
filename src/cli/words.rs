//! The words without an option: `IMAGE`, `IMAGE DIRECTORY`, or guestmount's `DIRECTORY` where options name the images.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::ArgMatches;
use images::Result;

use super::images::local_path;
use super::{Cli, Mount, wrong};

impl Cli {
    /// Whether only an image is named: then what is in it is shown.
    pub fn is_overview(&self) -> bool {
        self.command.is_none() && self.mount.places.images.word.is_some() && self.mount.directory.is_none()
    }

    /// Finds out what the words are.
    pub(super) fn place_words(&mut self, matches: &ArgMatches) -> Result<()> {
        let mount = &mut self.mount;
        match &self.word[..] {
            [] => {}
            [directory] if mount.places.images.are_given() || Mount::is_typed(matches) => {
                mount.directory = Some(directory.clone());
            }
            [image] => {
                check_image(image)?;
                mount.places.images.word = Some(image.clone());
            }
            [directory, more, ..] if mount.places.images.are_given() => {
                return wrong(format!(
                    "{} and {}: want one directory to mount on; further images are named with -a",
                    directory.display(),
                    more.display()
                ));
            }
            [image, directory] => {
                check_directory(image, directory)?;
                (mount.places.images.word, mount.directory) = (Some(image.clone()), Some(directory.clone()));
                if !mount.says_what() {
                    mount.places.inspector = true;
                }
            }
            [first, second, ..] => return wrong(several(first, second)),
        }
        Ok(())
    }
}

fn several(first: &Path, second: &Path) -> String {
    let (first, second) = (first.display(), second.display());
    format!("several images are named with -a: imgmount -a {first} -a {second} -i DIRECTORY")
}

/// A single word that is no file may be a command that was mistyped.
fn check_image(image: &Path) -> Result<()> {
    match fs::metadata(local_path(image)?) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            wrong(format!("{}: there is no image and no command of this name; try imgmount --help", image.display()))
        }
        // Whatever else is wrong with it, opening it says.
        _ => Ok(()),
    }
}

/// Whether the second of two words can be the directory.
fn check_directory(image: &Path, directory: &Path) -> Result<()> {
    let shown = directory.display();
    match fs::metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            wrong(format!("{shown}: there is no such directory to mount on; make it first: mkdir {shown}"))
        }
        Ok(found) if !found.is_dir() && fs::metadata(image).is_ok_and(|found| found.is_dir()) => {
            wrong(format!("the image comes first, then the directory: imgmount {shown} {}", image.display()))
        }
        Ok(found) if !found.is_dir() => {
            wrong(format!("{shown} is not a directory to mount on; {}", several(image, directory)))
        }
        // A mount that hangs or is gone: mounting says it.
        _ => Ok(()),
    }
}
