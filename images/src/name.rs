//! The name by which an image names another file: a path, a `file:` address or a `json:` description.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::disk::printable;
use crate::{Result, unsupported};

/// What a name says: a path of the host, and the image format if the name holds one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub path: PathBuf,
    pub format: Option<String>,
    /// Whether it is nothing but the path. The other ways to write it mean files of the host, whoever writes them.
    pub is_bare: bool,
}

/// The drivers of QEMU that read a file or block device of the host.
const HOST_DRIVERS: [&str; 2] = ["file", "host_device"];

/// Keys of a `json:` name that say how QEMU opens the file and not what is in it. Every other key that we do not
/// know is refused, because it may change the content: `offset` of the raw driver does.
const WITHOUT_EFFECT: [&str; 12] = [
    "aio",
    "auto-read-only",
    "cache.direct",
    "cache.no-flush",
    "detect-zeroes",
    "discard",
    "force-share",
    "locking",
    "node-name",
    "pr-manager",
    "read-only",
    "x-check-cache-dropped",
];

impl Name {
    /// What `name` says. Fails with `Unsupported` if it names something that is no file of this host.
    pub fn parse(name: &Path) -> Result<Self> {
        let bytes = name.as_os_str().as_bytes();
        if let Some(json) = bytes.strip_prefix(b"json:") {
            return Self::from_json(json)
                .map_err(|error| unsupported!("the file name {} is not read: {error}", printable(name)));
        }
        // As QEMU has it: a colon before the first slash ends a protocol.
        let protocol = match bytes.iter().position(|byte| matches!(byte, b':' | b'/')) {
            Some(at) if bytes[at] == b':' => Some(&bytes[..at]),
            _ => None,
        };
        let path = match protocol {
            Some(driver) if HOST_DRIVERS.iter().any(|host| host.as_bytes() == driver) => &bytes[driver.len() + 1..],
            Some(driver) => {
                let driver = printable(Path::new(OsStr::from_bytes(driver)));
                let name = printable(name);
                return Err(unsupported!("the file name {name} has the protocol {driver}, only file is read"));
            }
            None => bytes,
        };
        if path.is_empty() {
            return Err(unsupported!("the file name {} is empty", printable(name)));
        }
        Ok(Self { path: OsStr::from_bytes(path).into(), format: None, is_bare: protocol.is_none() })
    }

    fn in_json(path: String, format: Option<String>) -> Self {
        Self { path: path.into(), format, is_bare: false }
    }

    fn from_json(json: &[u8]) -> Result<Self> {
        let object: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| unsupported!("it is no JSON object: {error}"))?;
        let mut node = Node::default();
        node.take("", &object)?;
        let is_host = |driver: &str| HOST_DRIVERS.contains(&driver);
        match (node.driver, node.file_driver, node.filename, node.file_filename) {
            (Some(driver), None, Some(path), None) if is_host(&driver) => Ok(Self::in_json(path, None)),
            (Some(driver), ..) if is_host(&driver) => Err(unsupported!("the driver {driver} wants a filename")),
            (_, Some(driver), ..) if !is_host(&driver) => {
                Err(unsupported!("it has the protocol {}, only file is read", driver.escape_debug()))
            }
            (format, _, None, Some(path)) => Ok(Self::in_json(path, format)),
            (Some(driver), ..) => Err(unsupported!("the driver {} wants a file.filename", driver.escape_debug())),
            _ => Err(unsupported!("it has neither a driver nor a file.filename")),
        }
    }
}

/// The members of a block node that matter here.
#[derive(Default)]
struct Node {
    driver: Option<String>,
    filename: Option<String>,
    file_driver: Option<String>,
    file_filename: Option<String>,
}

impl Node {
    /// Takes the members of `object`, whose keys are below `prefix`; nested objects and dotted keys mean the same.
    fn take(&mut self, prefix: &str, object: &Map<String, Value>) -> Result<()> {
        for (key, value) in object {
            let key = format!("{prefix}{key}");
            let inner = key.strip_prefix("file.").unwrap_or(&key);
            let slot = match (key.as_str(), value) {
                ("file" | "cache" | "file.cache", Value::Object(object)) => {
                    self.take(&format!("{key}."), object)?;
                    continue;
                }
                ("driver", _) => &mut self.driver,
                ("filename", _) => &mut self.filename,
                ("file.driver", _) => &mut self.file_driver,
                ("file.filename", _) => &mut self.file_filename,
                _ if WITHOUT_EFFECT.contains(&inner) => continue,
                _ => return Err(unsupported!("the key {} is not known", key.escape_debug())),
            };
            match value {
                Value::String(text) if !text.is_empty() && slot.is_none() => *slot = Some(text.clone()),
                _ => return Err(unsupported!("{} is no string, or there twice", key.escape_debug())),
            }
        }
        Ok(())
    }
}

/// A file's name as [`Name::parse`] must have it, whatever colons are in it, unless it has the form of an address: that
/// is refused by its protocol.
pub(crate) fn of_file(name: &str) -> PathBuf {
    match name.contains("://") || name.starts_with('/') {
        true => PathBuf::from(name),
        false => Path::new(".").join(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> std::result::Result<(String, Option<String>), String> {
        match Name::parse(Path::new(name)) {
            Ok(name) => Ok((name.path.to_str().unwrap().into(), name.format)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn names_of_files() {
        for (name, path, format) in [
            ("base.img", "base.img", None),
            ("../a b/base.img", "../a b/base.img", None),
            ("/x/with:colon", "/x/with:colon", None),
            ("file:base.img", "base.img", None),
            ("file:///x/base.img", "///x/base.img", None),
            ("host_device:/dev/sdb", "/dev/sdb", None),
            (r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"b"}}"#, "b", Some("qcow2")),
            (r#"json:{"driver":"qcow2","file.driver":"file","file.filename":"b"}"#, "b", Some("qcow2")),
            (r#"json:{"driver":"raw","file":{"filename":"b","cache":{"direct":true}}}"#, "b", Some("raw")),
            (r#"json:{"driver":"file","filename":"b","locking":"off"}"#, "b", None),
            (r#"json:{"file.filename":"b"}"#, "b", None),
        ] {
            assert_eq!(parsed(name), Ok((path.into(), format.map(Into::into))), "{name}");
        }
    }

    #[test]
    fn names_that_are_known_to_be_of_files() {
        for (name, want) in [("a:b", Ok(("./a:b".into(), None))), ("json:{}", Ok(("./json:{}".into(), None)))] {
            assert_eq!(parsed(of_file(name).to_str().unwrap()), want);
        }
        assert_eq!(of_file("/a:b"), Path::new("/a:b"));
        assert!(parsed(of_file("http://host/x").to_str().unwrap()).unwrap_err().contains("protocol http"));
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (name, want) in [
            ("nbd://host/export", "the file name nbd://host/export has the protocol nbd, only file is read"),
            ("rbd:pool/image", "protocol rbd"),
            ("a\x1bb:c", "a\\u{1b}b:c has the protocol a\\u{1b}b"),
            ("", "is empty"),
            ("file:", "is empty"),
            ("json:", "no JSON object"),
            ("json:[]", "no JSON object"),
            (r#"json:{}"#, "neither a driver nor a file.filename"),
            (r#"json:{"driver":"nbd","host":"h"}"#, "the key host is not known"),
            (r#"json:{"driver":"nbd"}"#, "the driver nbd wants a file.filename"),
            (r#"json:{"driver":"file"}"#, "the driver file wants a filename"),
            (r#"json:{"driver":"raw","offset":512,"file":{"filename":"b"}}"#, "the key offset is not known"),
            (r#"json:{"driver":"raw","file":"node"}"#, "the key file is not known"),
            (r#"json:{"driver":"raw","file":{"driver":"https","filename":"b"}}"#, "the protocol https"),
            (r#"json:{"driver":"qcow2","backing":null,"file":{"filename":"b"}}"#, "the key backing is not known"),
            (r#"json:{"file.filename":"a","file":{"filename":"b"}}"#, "there twice"),
            (r#"json:{"driver":7}"#, "driver is no string"),
        ] {
            let error = parsed(name).unwrap_err();
            assert!(error.contains(want), "{name:?}: {error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        let deep = format!("json:{}", r#"{"file":"#.repeat(10_000));
        assert!(parsed(&deep).is_err(), "no stack overflow");
    }

    proptest::proptest! {
        #[test]
        fn random_names_have_an_answer_in_one_line(
            start in proptest::sample::select(vec!["", "file:", "json:", "json:{\"", "json:{\"file\":{\""]),
            bytes: Vec<u8>,
        ) {
            let name = [start.as_bytes(), &bytes].concat();
            if let Err(error) = Name::parse(Path::new(OsStr::from_bytes(&name))) {
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
    }
}
