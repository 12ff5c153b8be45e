//! Keys for encrypted volumes: guestmount's `--key` and `--keys-from-stdin`, and the question at the terminal.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use images::crypt::{Attempt, EncryptedImage, ImageKey, ImageLock, Secrets};
use images::disk::HostFile;
use images::{Disk, Error, Location, Result};
use zeroize::{Zeroize, Zeroizing};

use crate::{device_name, prompt, terminal};

/// The longest key file, in bytes: cryptsetup's bound.
const MAX_KEY_FILE: u64 = 8 << 20;
/// How often a person may try; cryptsetup's number.
const TRIES: usize = 3;

/// A secret. It is wiped from memory when it is dropped, and nothing prints it.
type Secret = Zeroizing<Vec<u8>>;

/// The value of one `--key`, as it was typed. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Typed(String);

impl FromStr for Typed {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed(…)")
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The keys that were asked for, not read yet.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The values of `--key`.
    pub typed: Vec<Typed>,
    /// Whether a line of standard input is tried for each volume that no other key opens.
    pub from_stdin: bool,
    /// Whether a key is shown while it is typed.
    pub echo: bool,
}

/// What one `--key` gives.
enum Given {
    /// What is to be tried: a string, or all readings of a file.
    Secrets(Vec<Secret>),
    Header(PathBuf),
}

/// A `--key`: which volumes it is for, and what it gives.
struct Selector {
    id: String,
    given: Given,
}

/// All keys that were given, and whether more may be asked for.
#[derive(Default)]
pub struct Keys {
    selectors: Vec<Selector>,
    from_stdin: bool,
    echo: bool,
    asking: Mutex<Option<Asking>>,
    /// Lines of standard input and answers at the terminal so far: the next volume may have the same passphrase.
    heard: Mutex<Vec<Secret>>,
    /// The keys of the images that were opened: their snapshots are opened later, when nobody can be asked.
    images: Mutex<Vec<(Location, ImageLock, ImageKey)>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For which volumes the terminal is asked: by the name of the volume and of the disk inside.
type Asking = Box<dyn Fn(&str, &str) -> bool + Send>;

/// A volume that may be unlocked.
pub struct Volume<'a> {
    /// Its device.
    pub device: &'a str,
    /// What the device inside is called, or `None` for an image, without whose key there is nothing to see at all:
    /// then it is asked for wherever anything is.
    pub inside: Option<&'a str>,
    /// The UUID in its header.
    pub uuid: Option<&'a str>,
    /// Whether a name that the user gave means this device.
    pub is_named: &'a dyn Fn(&str) -> bool,
}

/// What came of trying.
pub enum Outcome<T> {
    /// What is inside.
    Open(T),
    /// There was no key for it.
    NoKey,
    /// There were keys, and none opens it.
    WrongKey,
}

impl Keys {
    /// From the values of the options; reads the key files. Fails if a value is none, without saying what was typed:
    /// it is a secret.
    pub fn new(options: &Options) -> Result<Self> {
        let parsed = options.typed.iter().enumerate().map(|(index, typed)| Selector::parse(index + 1, &typed.0));
        let selectors = parsed.collect::<Result<_>>()?;
        Ok(Self { selectors, from_stdin: options.from_stdin, echo: options.echo, ..Self::default() })
    }

    /// Lets the terminal be asked for encrypted images that none of the keys opens, and for volumes where `wanted` says
    /// so.
    pub fn ask(&self, wanted: impl Fn(&str, &str) -> bool + Send + 'static) {
        *lock(&self.asking) = Some(Box::new(wanted));
    }

    /// Ends that.
    pub fn ask_no_more(&self) {
        *lock(&self.asking) = None;
    }

    /// Forgets what was typed and read.
    pub fn forget(&self) {
        lock(&self.heard).clear();
    }

    /// The keys for the disk with this index, which is an encrypted image, and for the images below it.
    pub fn of_disk(self: &Arc<Self>, index: usize) -> Arc<dyn Secrets> {
        Arc::new(DiskKeys { keys: self.clone(), index })
    }

    /// The detached header of a device that is not recognised by itself.
    pub fn header(&self, is_named: &dyn Fn(&str) -> bool) -> Result<Option<Arc<dyn Disk>>> {
        let header = |selector: &Selector| match &selector.given {
            Given::Header(path) if is_named(&selector.id) => Some(path.clone()),
            _ => None,
        };
        match self.selectors.iter().find_map(header) {
            Some(path) => Ok(Some(Arc::new(HostFile::open(&path)?))),
            None => Ok(None),
        }
    }

    /// Tries the keys for a volume in the order given, then those from standard input, then asks. `open` tries one.
    ///
    /// The error is that of the header, of a key file or of the terminal; a wrong key is none.
    pub fn unlock<T>(
        &self,
        volume: &Volume<'_>,
        mut open: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<Outcome<T>> {
        let mut tried: Vec<Secret> = Vec::new();
        let mut attempt = |secret: &Secret| {
            // The same key again would cost the derivation again.
            if tried.contains(secret) {
                return Ok(None);
            }
            log::debug!("{}: trying a key", volume.device);
            tried.push(secret.clone());
            open(secret)
        };
        for selector in self.selectors.iter().filter(|selector| selector.is_for(volume)) {
            let Given::Secrets(secrets) = &selector.given else { continue };
            for secret in secrets {
                if let Some(disk) = attempt(secret)? {
                    return Ok(Outcome::Open(disk));
                }
            }
        }
        let heard = lock(&self.heard).clone();
        for secret in &heard {
            if let Some(disk) = attempt(secret)? {
                return Ok(Outcome::Open(disk));
            }
        }
        for _ in 0..TRIES {
            let Some(secret) = self.hear(volume)? else { break };
            let opened = attempt(&secret)?;
            lock(&self.heard).push(secret);
            if let Some(disk) = opened {
                return Ok(Outcome::Open(disk));
            }
            if self.from_stdin {
                break;
            }
            log::warn!("that does not open {}", volume.device);
        }
        Ok(if tried.is_empty() { Outcome::NoKey } else { Outcome::WrongKey })
    }

    /// The next key for this volume: a line of standard input, or one typed at the terminal.
    fn hear(&self, volume: &Volume<'_>) -> Result<Option<Secret>> {
        if self.from_stdin {
            return prompt::next_line();
        }
        match &*lock(&self.asking) {
            Some(wanted) if volume.inside.is_none_or(|inside| wanted(volume.device, inside)) => {
                let question = format!("Enter key or passphrase (\"{}\"): ", volume.device);
                prompt::ask(&question, self.echo)
            }
            _ => Ok(None),
        }
    }
}

/// The keys for one disk and the images that it consists of.
#[derive(Debug)]
struct DiskKeys {
    keys: Arc<Keys>,
    index: usize,
}

impl Secrets for DiskKeys {
    fn unlock(&self, image: &EncryptedImage<'_>, attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        let EncryptedImage { location, lock: how } = image;
        let shown = location.shown();
        let location = location.absolute();
        let known = |(at, lock, _): &&(Location, ImageLock, ImageKey)| *at == location && lock == *how;
        if let Some((.., key)) = lock(&self.keys.images).iter().find(known) {
            return Ok(key.clone());
        }
        let disk = device_name::of_disk(self.index);
        let device = format!("{disk}, {}", terminal::clean(shown.as_encoded_bytes()));
        let is_named = |id: &str| {
            let bare = id.strip_prefix("/dev/").unwrap_or(id);
            device_name::disk_and_partition(bare) == Some((self.index, None))
                || Path::new(&shown) == Path::new(id)
                || image.location.file_name().is_some_and(|name| name == id)
        };
        let volume = Volume { device: &device, inside: None, uuid: how.uuid.as_deref(), is_named: &is_named };
        let could_not = format!("could not find key to open {} encrypted {device}", how.method);
        match self.keys.unlock(&volume, attempt)? {
            Outcome::Open(key) => {
                lock(&self.keys.images).push((location, (*how).clone(), key.clone()));
                Ok(key)
            }
            Outcome::NoKey => Err(Error::Denied(format!("{could_not}: give one with --key {disk}:key:STRING"))),
            Outcome::WrongKey => Err(Error::Denied(format!("{could_not}: none of those given opens it"))),
        }
    }
}

impl Selector {
    fn parse(number: usize, text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Err(Error::Usage(format!(
                "--key number {number}: {why}: want ID:key:STRING, ID:file:FILE or ID:header:FILE"
            )))
        };
        let mut parts = text.splitn(3, ':');
        let (Some(id), Some(kind)) = (parts.next(), parts.next()) else { return wrong("no ':' in it") };
        if id.is_empty() {
            return wrong("no device, UUID or `all` before the first ':'");
        }
        let given = match (kind, parts.next()) {
            ("key", Some(key)) => Given::Secrets(vec![Zeroizing::new(key.as_bytes().to_vec())]),
            ("file", Some(file)) if !file.is_empty() => Given::Secrets(secrets_in(Path::new(file))?),
            ("header", Some(file)) if !file.is_empty() => Given::Header(file.into()),
            ("clevis", _) => return wrong("keys from clevis need the network of the guest, and are not supported"),
            _ => return wrong("not one of the kinds of keys"),
        };
        Ok(Self { id: id.to_owned(), given })
    }

    fn is_for(&self, volume: &Volume<'_>) -> bool {
        self.id == "all"
            || volume.uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(&self.id))
            || (volume.is_named)(&self.id)
    }
}

/// What a key file may mean: all of its bytes, or those without the line end that an editor adds.
fn secrets_in(path: &Path) -> Result<Vec<Secret>> {
    let failed = |error| Error::io(format!("cannot read the key file {}", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len().min(MAX_KEY_FILE + 1);
    // As long as it will be: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len as usize + 1));
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(Error::Usage(format!("the key file {} is longer than {MAX_KEY_FILE} bytes", path.display())));
    }
    let line = bytes.strip_suffix(b"\n").map(|line| Zeroizing::new(line.to_vec()));
    Ok(std::iter::once(bytes).chain(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(values: &[&str]) -> Keys {
        let typed: Vec<Typed> = values.iter().map(|value| value.parse().unwrap()).collect();
        Keys::new(&Options { typed, ..Options::default() }).unwrap()
    }

    fn tried(keys: &Keys) -> Vec<Vec<u8>> {
        let mut tried = Vec::new();
        let is_named = |name: &str| name == "sda2";
        let uuid = Some("12ab");
        let volume = Volume { device: "/dev/sda2", inside: Some(""), uuid, is_named: &is_named };
        let outcome = keys.unlock(&volume, |secret| {
            tried.push(secret.to_vec());
            Ok(None::<()>)
        });
        assert!(matches!(outcome, Ok(Outcome::NoKey | Outcome::WrongKey)));
        tried
    }

    #[test]
    fn keys_are_tried_in_order_and_once() {
        let given = ["sda3:key:no", "sda2:key:a:b", "12AB:key:uuid", "all:key:a:b", "all:key:", "sda2:header:/x"];
        assert_eq!(tried(&keys(&given)), [&b"a:b"[..], b"uuid", b""]);
        assert!(tried(&keys(&["sdb:key:x"])).is_empty());
    }

    #[test]
    fn a_key_file_is_its_bytes_or_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, b"\0\xff\n").unwrap();
        let value = format!("all:file:{}", path.display());
        assert_eq!(tried(&keys(&[&value])), [&b"\0\xff\n"[..], b"\0\xff"]);
        let error = secrets_in(Path::new("/no/such/key")).unwrap_err().to_string();
        assert!(error.contains("/no/such/key"), "{error}");
        File::create(&path).unwrap().set_len(MAX_KEY_FILE + 1).unwrap();
        assert!(secrets_in(&path).is_err());
    }

    #[test]
    fn no_message_shows_a_secret() {
        for value in ["hunter2", "all:hunter2", "all:keys:hunter2", ":key:hunter2", "all:clevis"] {
            let typed: Typed = value.parse().unwrap();
            let options = Options { typed: vec![typed], ..Options::default() };
            let said = format!("{options:?} {}", Keys::new(&options).err().unwrap());
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
