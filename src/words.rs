//! The words of the command line, kept out of sight where a key is among them.
//!
//! Everybody on the host can read `/proc/PID/cmdline`. A word that holds a key (`--key ID:key:STRING`) must not stay
//! there as long as a mount is served, or an image is read: the program runs itself again under words in which the key is
//! `…`, and gets what was typed through an unnamed file in memory. For the moment before that nothing can be done here:
//! `ID:file:FILE` and `--keys-from-stdin` show nothing at all.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use images::{Error, Result};
use nix::sys::prctl::set_name;
use rustix::fs::MemfdFlags;
use zeroize::{Zeroize, Zeroizing};

/// Tells a run of the program which of its file descriptors has the words that were typed.
const WORDS_VARIABLE: &str = "IMGMOUNT_WORDS";

/// The option that can hold a key.
const KEY: &str = "--key";

/// What stands for a key in the list of processes.
const HIDDEN: &str = "…";

/// The words that were typed, the program's name first. Their `Debug` shows nothing.
#[derive(Clone, Default)]
pub struct Words(Vec<OsString>);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(…)")
    }
}

impl<T: Into<OsString>> FromIterator<T> for Words {
    fn from_iter<I: IntoIterator<Item = T>>(words: I) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }
}

impl Words {
    /// The words of this process. If a key is among them, the program first starts itself anew in this process.
    ///
    /// Call it before a thread is started. Fails if that is not possible.
    pub fn typed() -> Result<Self> {
        if let Some(number) = std::env::var_os(WORDS_VARIABLE) {
            let words = received(&number)
                .map_err(|error| Error::io(format!("{WORDS_VARIABLE} is for the program's own use"), error))?;
            keep_name();
            return Ok(words);
        }
        let words: Self = std::env::args_os().collect();
        if !words.has_key() {
            return Ok(words);
        }
        let (mut again, _words) = words.again()?;
        Err(Error::io("cannot start the program again to hide a key", again.exec()))
    }

    /// The words as the program parses them.
    pub fn as_slice(&self) -> &[OsString] {
        &self.0
    }

    /// A command that runs this program again with the same words, of which the list of processes shows no key. What comes
    /// with it must live until the command was started.
    pub fn again(&self) -> Result<(Command, Option<OwnedFd>)> {
        let failed = |error| Error::io("cannot hand over the words of the command line", error);
        let mut command = Command::new("/proc/self/exe");
        let (name, _) = self.0.split_first().map_or((OsStr::new("imgmount"), &[][..]), |(name, rest)| (&**name, rest));
        command.arg0(name).args(self.shown().iter().skip(1));
        if !self.has_key() {
            command.env_remove(WORDS_VARIABLE);
            return Ok((command, None));
        }
        let words = self.in_memory().map_err(failed)?;
        command.env(WORDS_VARIABLE, words.as_raw_fd().to_string());
        Ok((command, Some(words)))
    }

    /// The words in a file that has no name; a process that is started inherits it.
    fn in_memory(&self) -> io::Result<OwnedFd> {
        let mut file = File::from(rustix::fs::memfd_create("words", MemfdFlags::empty())?);
        for word in &self.0 {
            file.write_all(word.as_bytes())?;
            file.write_all(b"\0")?;
        }
        Ok(file.into())
    }

    fn has_key(&self) -> bool {
        self.shown() != self.0
    }

    /// The words with what is no file name after `--key` taken out.
    fn shown(&self) -> Vec<OsString> {
        let mut after_key = false;
        let shown = self.0.iter().map(|word| {
            let is_value = std::mem::replace(&mut after_key, word == KEY);
            match word.as_bytes().strip_prefix(KEY.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                Some(value) => OsString::from_vec([KEY.as_bytes(), b"=", &without_key(value)].concat()),
                None if is_value => OsString::from_vec(without_key(word.as_bytes())),
                None => word.clone(),
            }
        });
        shown.collect()
    }
}

/// The value of one `--key` without the secret in it. What is mistyped may be one.
fn without_key(value: &[u8]) -> Vec<u8> {
    let mut parts = value.splitn(3, |byte| *byte == b':');
    match (parts.next(), parts.next()) {
        (_, Some(b"file" | b"header" | b"clevis")) => value.to_vec(),
        (Some(id), Some(b"key")) => [id, b":key:", HIDDEN.as_bytes()].concat(),
        _ => HIDDEN.as_bytes().to_vec(),
    }
}

fn received(number: &OsStr) -> io::Result<Words> {
    let number: RawFd = number.to_str().and_then(|text| text.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = File::open(format!("/proc/self/fd/{number}"))?;
    // Nobody is to find it in /proc.
    nix::unistd::close(number)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(file.metadata()?.len() as usize + 1));
    file.read_to_end(&mut bytes)?;
    let words = bytes.strip_suffix(b"\0").ok_or(io::ErrorKind::InvalidData)?;
    Ok(words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect())
}

/// The program was run as /proc/self/exe and would be listed as `exe`.
pub fn keep_name() {
    let path = std::env::args_os().next().unwrap_or_default();
    if let Some(Ok(name)) = Path::new(&path).file_name().map(|name| CString::new(name.as_bytes())) {
        let _ = set_name(&name);
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        for word in self.0.drain(..) {
            word.into_vec().zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let words: Words = line.split(' ').collect();
        words.shown().join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn keys_are_not_shown() {
        for (line, want) in [
            ("imgmount -a x --key all:key:a:b -i /mnt", "imgmount -a x --key all:key:… -i /mnt"),
            ("imgmount --key=/dev/sda1:key:s -a x", "imgmount --key=/dev/sda1:key:… -a x"),
            ("imgmount --key hunter2 --key all:keys:hunter2", "imgmount --key … --key …"),
            ("imgmount --key all:file:/k --key=x:header:h", "imgmount --key all:file:/k --key=x:header:h"),
            ("imgmount --keys-from-stdin all:key:x", "imgmount --keys-from-stdin all:key:x"),
            ("imgmount --key", "imgmount --key"),
        ] {
            assert_eq!(shown(line), want);
        }
    }

    #[test]
    fn words_arrive_as_they_were() {
        let words: Words = ["imgmount", "--key", "all:key:\u{1b} a\nb", "", "ä"].into_iter().collect();
        let number = rustix::io::dup(words.in_memory().unwrap()).unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(number);
        assert_eq!(received(OsStr::new(&number.to_string())).unwrap().0, words.0);
        assert!(words.has_key() && words.again().unwrap().1.is_some());
        assert_eq!(format!("{words:?}"), "Words(…)");
    }
}
