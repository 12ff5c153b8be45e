//! The text that describes a virtual disk: its content's identity, its parent and its extents.
//!
//! Virtual Disk Format 5.0, "The Descriptor File".

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use encoding_rs::Encoding;

use super::layout::SECTOR;
use crate::length::in_memory;
use crate::{Disk, Result, corrupt, unsupported};

/// Our limit of a descriptor, in bytes; QEMU's is the same.
pub const MAX_DESCRIPTOR: u64 = 1 << 20;
/// Our limit of the extents of a disk: 16 TiB of the smallest that VMware makes, 2 GiB each.
pub const MAX_EXTENTS: usize = 8192;
/// Our limit of a disk, in sectors: 2^63 bytes. VMware's own is 62 TiB.
pub const MAX_SECTORS: u64 = 1 << (63 - SECTOR.trailing_zeros());
/// `parentCID` of a disk without parent.
const NO_PARENT: u32 = u32::MAX;
/// The newest version of the descriptor.
const MAX_VERSION: u32 = 3;

/// Every `createType` whose disks are made of extents that are described one by one, in lower case.
const CREATE_TYPES: [&str; 17] = [
    "2gbmaxextentflat",
    "2gbmaxextentsparse",
    "custom",
    "fulldevice",
    "monolithicflat",
    "monolithicsparse",
    "partitioneddevice",
    "sesparse",
    "streamoptimized",
    "twogbmaxextentflat",
    "twogbmaxextentsparse",
    "vmfs",
    "vmfseagerzeroedthick",
    "vmfspreallocated",
    "vmfssparse",
    "vmfsthin",
    "vsansparse",
];

/// How the bytes of an extent are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As they are, from this sector of the file on.
    Flat(u64),
    /// In grains, as a hosted or an ESXi host sparse extent.
    Sparse,
    /// In grains, as a space-efficient sparse extent.
    SpaceEfficient,
    /// Nowhere: they are zeros.
    Zero,
    /// They may not be read (`NOACCESS`).
    NoAccess,
}

/// One extent line.
#[derive(Debug, PartialEq, Eq)]
pub struct ExtentLine {
    /// The size in sectors, at most [`MAX_SECTORS`].
    pub sectors: u64,
    pub kind: Kind,
    /// The file's name in the descriptor's encoding; empty for kinds without a file.
    pub name: Vec<u8>,
    /// Where the line starts, in bytes from the start of the file.
    pub at: u64,
}

/// The disk that has what this one does not.
#[derive(Debug)]
pub struct ParentHint {
    /// What its content was when this disk was made.
    pub cid: u32,
    /// Its name in the descriptor's encoding.
    pub name: Vec<u8>,
}

/// What a descriptor says, within the bounds that the rest of this format relies on.
#[derive(Debug, Default)]
pub struct Descriptor {
    /// The identity of the content, which changes when it is written to.
    pub cid: Option<u32>,
    pub parent: Option<ParentHint>,
    pub extents: Vec<ExtentLine>,
    encoding: Option<&'static Encoding>,
}

/// The values that matter for reading, as they are found.
#[derive(Default)]
struct Values {
    version: Option<u32>,
    cid: Option<u32>,
    parent_cid: Option<u32>,
    parent_name: Option<Vec<u8>>,
    create_type: Option<String>,
    encoding: Option<String>,
}

impl Descriptor {
    /// Reads the descriptor of at most `len` bytes at `at`; `None` if that is blank, as it is in the extents of a split
    /// disk. Bytes from the first zero byte on are padding.
    pub fn read(file: &dyn Disk, at: u64, len: u64) -> Result<Option<Self>> {
        if len > MAX_DESCRIPTOR {
            return Err(corrupt!("descriptor", at, "{len} bytes long, {MAX_DESCRIPTOR} is the most"));
        }
        let mut text = vec![0; in_memory(len)];
        match at.checked_add(len) {
            Some(end) if end <= file.size() => file.read_at(&mut text, at)?,
            _ => return Err(corrupt!("descriptor", at, "past the end of the file at byte {:#x}", file.size())),
        }
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        let text = text[..end].trim_ascii_end();
        if text.is_empty() { Ok(None) } else { Self::parse(text, at).map(Some) }
    }

    /// Parses the text of a descriptor that lies at byte `at` of its file.
    fn parse(text: &[u8], at: u64) -> Result<Self> {
        let mut extents = Vec::new();
        let mut values = Values::default();
        let mut line_at = at;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|byte| *byte == b'\n') {
            let start = line_at;
            line_at += line.len() as u64 + 1;
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if let Some(extent) = ExtentLine::parse(line, start)? {
                if extents.len() == MAX_EXTENTS {
                    return Err(unsupported!("the descriptor has more than {MAX_EXTENTS} extents, which is our limit"));
                }
                extents.push(extent);
            } else {
                values.take(line, start)?;
            }
        }
        values.check(at, extents)
    }

    /// The path that `name` is on this host: what is not ASCII was written in the descriptor's encoding.
    pub fn path(&self, name: &[u8]) -> Result<PathBuf> {
        let path = match self.encoding {
            Some(encoding) if !name.is_ascii() && encoding != encoding_rs::UTF_8 => {
                match encoding.decode_without_bom_handling_and_without_replacement(name) {
                    Some(name) => PathBuf::from(name.into_owned()),
                    None => return Err(unsupported!("a file name in the descriptor is no {}", encoding.name())),
                }
            }
            _ => PathBuf::from(OsStr::from_bytes(name)),
        };
        Ok(path)
    }
}

impl Values {
    /// Takes the line `key = value`; the first of several with one key holds, as it does for QEMU.
    fn take(&mut self, line: &[u8], at: u64) -> Result<()> {
        let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).escape_debug().to_string();
        let parts = line.iter().position(|byte| *byte == b'=').map(|middle| (&line[..middle], &line[middle + 1..]));
        let Some((key, value)) = parts.map(|(key, value)| (key.trim_ascii(), value.trim_ascii())) else {
            return Err(corrupt!("descriptor line", at, "neither an extent nor a value: {}", shown()));
        };
        if key.is_empty() || !key.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"') {
            return Err(corrupt!("descriptor line", at, "neither an extent nor a value: {}", shown()));
        }
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).escape_debug().to_string();
        let number = |radix| {
            u32::from_str_radix(&text(), radix).map_err(|_| corrupt!("descriptor line", at, "no number: {}", shown()))
        };
        match key.to_ascii_lowercase().as_slice() {
            b"version" => self.version = Some(self.version.map_or_else(|| number(10), Ok)?),
            b"cid" => self.cid = Some(self.cid.map_or_else(|| number(16), Ok)?),
            b"parentcid" => self.parent_cid = Some(self.parent_cid.map_or_else(|| number(16), Ok)?),
            b"createtype" => _ = self.create_type.get_or_insert_with(text),
            b"encoding" => _ = self.encoding.get_or_insert_with(text),
            b"parentfilenamehint" => _ = self.parent_name.get_or_insert_with(|| value.to_owned()),
            key if key.starts_with(b"encryption.") => {
                return Err(unsupported!("the disk is encrypted by VMware, which is not supported"));
            }
            b"ddb.iofilters" if value.windows(5).any(|word| word.eq_ignore_ascii_case(b"crypt")) => {
                return Err(unsupported!("the disk is encrypted by vSphere ({}), which is not supported", text()));
            }
            // The disk data base, and what describes the content and not where it lies.
            _ => {}
        }
        Ok(())
    }

    fn check(self, at: u64, extents: Vec<ExtentLine>) -> Result<Descriptor> {
        match self.version {
            Some(1..=MAX_VERSION) => {}
            Some(version) => return Err(unsupported!("VMDK descriptor version {version} is not supported")),
            None => return Err(corrupt!("descriptor", at, "no version")),
        }
        match &self.create_type {
            Some(name) if CREATE_TYPES.contains(&name.to_ascii_lowercase().as_str()) => {}
            Some(name) => return Err(unsupported!("VMDK disks of the type {name} are not supported")),
            None => return Err(corrupt!("descriptor", at, "no createType")),
        }
        let parent = match (self.parent_cid, self.parent_name) {
            (None | Some(NO_PARENT), None) => None,
            (Some(cid), Some(name)) if cid != NO_PARENT => Some(ParentHint { cid, name }),
            (Some(cid), None) => {
                return Err(corrupt!("descriptor", at, "parentCID is {cid:08x}, but no parentFileNameHint names it"));
            }
            (_, Some(name)) => {
                let name = String::from_utf8_lossy(&name).escape_debug().to_string();
                return Err(corrupt!("descriptor", at, "parentFileNameHint is {name}, but there is no parentCID"));
            }
        };
        let encoding = match self.encoding {
            None => None,
            Some(label) => match Encoding::for_label(label.as_bytes()) {
                Some(encoding) => Some(encoding),
                None => return Err(unsupported!("the descriptor's encoding {label} is not known")),
            },
        };
        Ok(Descriptor { cid: self.cid, parent, extents, encoding })
    }
}

impl ExtentLine {
    /// The extent that `line` describes, or `None` if it does not start with an access mode.
    fn parse(line: &[u8], at: u64) -> Result<Option<Self>> {
        let mut rest = line;
        let access = word(&mut rest);
        let readable = match access.to_ascii_uppercase().as_slice() {
            b"RW" | b"RDONLY" => true,
            b"NOACCESS" => false,
            _ => return Ok(None),
        };
        let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).escape_debug().to_string();
        let wrong = |what: &str| corrupt!("extent line", at, "{what}: {}", shown());
        let number = |word: &[u8]| std::str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok());
        let sectors = match number(word(&mut rest)) {
            Some(sectors) if sectors <= MAX_SECTORS => sectors,
            Some(_) => return Err(wrong("larger than 2^63 bytes")),
            None => return Err(wrong("no size in sectors")),
        };
        let kind = word(&mut rest).to_ascii_uppercase();
        let kind = match kind.as_slice() {
            _ if !readable => Kind::NoAccess,
            b"FLAT" | b"VMFS" => Kind::Flat(0),
            b"SPARSE" | b"VMFSSPARSE" => Kind::Sparse,
            b"SESPARSE" => Kind::SpaceEfficient,
            b"ZERO" => Kind::Zero,
            b"VMFSRDM" | b"VMFSRAW" => {
                return Err(unsupported!("a raw device mapping names a device of the ESXi host, which is not here"));
            }
            kind => {
                let kind = String::from_utf8_lossy(kind).escape_debug().to_string();
                return Err(unsupported!("VMDK extents of the type {kind:?} are not supported"));
            }
        };
        if matches!(kind, Kind::Zero | Kind::NoAccess) {
            return Ok(Some(Self { sectors, kind, name: Vec::new(), at }));
        }
        let quoted = rest.trim_ascii_start().strip_prefix(b"\"");
        let end = quoted.and_then(|quoted| quoted.iter().position(|byte| *byte == b'"'));
        let (Some(quoted), Some(end)) = (quoted, end.filter(|end| *end > 0)) else {
            return Err(wrong("no file name in quotes"));
        };
        rest = &quoted[end + 1..];
        // What may follow the offset is the identity of a partition or device, for its owner to recognise.
        let kind = match (kind, word(&mut rest)) {
            (Kind::Flat(_), offset) if !offset.is_empty() => match number(offset) {
                Some(offset) if offset <= MAX_SECTORS => Kind::Flat(offset),
                _ => return Err(wrong("no offset in sectors")),
            },
            (kind, _) => kind,
        };
        Ok(Some(Self { sectors, kind, name: quoted[..end].to_owned(), at }))
    }
}

/// Takes the first word off `rest`; empty at its end.
fn word<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let line = rest.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (word, after) = line.split_at(end);
    *rest = after;
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Descriptor> {
        let text = format!("# Disk DescriptorFile\nversion=1\nCID=12345678\ncreateType=\"custom\"\n{body}");
        Descriptor::parse(text.as_bytes(), 0)
    }

    #[test]
    fn extent_lines_of_every_kind() {
        let text = "RW 10 FLAT \"a b.vmdk\" 5\r\n rdonly 20 Sparse \"s\"\nRW 1 VMFS \"f\"\nNOACCESS 7 FLAT \"x\" 0\n\
                    RW 3 ZERO\nRW 4 VMFSSPARSE \"c\"\nRW 5 SESPARSE \"e\"\nRW 63 FLAT \"/dev/sda\" 63 Partition0 id\n";
        let extents = parse(text).unwrap().extents;
        let seen: Vec<_> =
            extents.iter().map(|line| (line.sectors, line.kind, std::str::from_utf8(&line.name).unwrap())).collect();
        assert_eq!(
            seen,
            [
                (10, Kind::Flat(5), "a b.vmdk"),
                (20, Kind::Sparse, "s"),
                (1, Kind::Flat(0), "f"),
                (7, Kind::NoAccess, ""),
                (3, Kind::Zero, ""),
                (4, Kind::Sparse, "c"),
                (5, Kind::SpaceEfficient, "e"),
                (63, Kind::Flat(63), "/dev/sda"),
            ]
        );
        assert_eq!(extents[0].at, 65);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, want) in [
            ("RW -5 FLAT \"a\" 0", "extent line at byte 0x41: no size in sectors: RW -5 FLAT \\\"a\\\" 0"),
            ("RW 99999999999999999999 FLAT \"a\" 0", "no size in sectors"),
            ("RW 36028797018963969 FLAT \"a\" 0", "larger than 2^63 bytes"),
            ("RW 5 FLAT \"a\" -1", "no offset in sectors"),
            ("RW 5 FLAT a 0", "no file name in quotes"),
            ("RW 5 FLAT \"a", "no file name in quotes"),
            ("RW 5 FLAT \"\" 0", "no file name in quotes"),
            ("RW 5", "extents of the type \"\" are not supported"),
            ("RW 5 VMFSRDM \"a\"", "raw device mapping"),
            ("RW 5 NEW \"a\"", "the type \"NEW\""),
            ("RX 5 FLAT \"a=b\" 0", "neither an extent nor a value"),
            ("rubbish", "neither an extent nor a value: rubbish"),
            ("parentCID=12", "no parentFileNameHint names it"),
            ("parentFileNameHint=\"a\"", "there is no parentCID"),
            ("parentCID=xyz", "no number"),
            ("encryption.keySafe = \"vmware:key/list\"", "encrypted by VMware"),
            ("ddb.iofilters = \"vmwarecrypt\"", "encrypted by vSphere (vmwarecrypt)"),
            ("encoding=\"klingon\"", "encoding klingon is not known"),
        ] {
            let error = parse(body).unwrap_err().to_string();
            assert!(error.contains(want), "{body}: {error}");
        }
        for (text, want) in [
            ("version=4\ncreateType=\"vmfs\"", "descriptor version 4"),
            ("createType=\"vmfs\"", "no version"),
            ("version=1", "no createType"),
            ("version=1\ncreateType=\"vmfsRaw\\x1b\"", "the type vmfsRaw"),
        ] {
            let error = Descriptor::parse(text.as_bytes(), 0).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_million_extents_are_refused_early() {
        let error = parse(&"RW 1 ZERO\n".repeat(1_000_000)).unwrap_err().to_string();
        assert_eq!(error, "the descriptor has more than 8192 extents, which is our limit");
    }

    #[test]
    fn names_are_read_in_the_encoding_of_the_descriptor() {
        for (encoding, name, want) in [
            ("windows-1252", &b"Gr\xf6\xdfe.vmdk"[..], "Größe.vmdk"),
            ("Shift_JIS", b"\x83f\x83B.vmdk", "ディ.vmdk"),
            ("GBK", b"\xb4\xc5.vmdk", "磁.vmdk"),
            ("UTF-8", "Größe.vmdk".as_bytes(), "Größe.vmdk"),
        ] {
            let descriptor = parse(&format!("encoding=\"{encoding}\"\n")).unwrap();
            assert_eq!(descriptor.path(name).unwrap(), PathBuf::from(want));
        }
        assert!(parse("encoding=\"GBK\"").unwrap().path(b"\xff\xff").is_err());
        let bytes = parse("").unwrap().path(b"\xff.vmdk").unwrap();
        assert_eq!(bytes.as_os_str().as_bytes(), b"\xff.vmdk", "without a word about it they are the host's bytes");
    }
}
