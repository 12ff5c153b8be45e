//! A tar archive: where the content of each member lies in the file.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::layout::*;
use crate::disk::{Cached, View};
use crate::length::in_memory;
use crate::{Budget, Disk, Error, Reservation, Result, corrupt, structure, unsupported};

/// Our limit of the members of an archive.
const MAX_MEMBERS: usize = 10_000;
/// Our limit of a name, in bytes.
const MAX_NAME: usize = 1024;
/// Our limit of the records before a member, in bytes; and of how many such there are in a row.
const MAX_RECORDS: u64 = 64 << 10;
const MAX_EXTENSIONS: usize = 8;
/// How many members the probe looks at: the descriptor is the first of them.
const PROBED: usize = 16;
/// The granularity in which headers are read, and our bound of what is kept of them, in bytes.
const PAGE: usize = 4096;
const CACHE_BYTES: u64 = 64 << 10;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    /// A hard or symbolic link.
    Link,
    /// A file with holes, which are left out of its content.
    Sparse,
    /// A directory, a device.
    Other,
}

/// A member of an archive.
#[derive(Debug)]
pub struct Member {
    /// The name without `./` at its start.
    name: Vec<u8>,
    kind: Kind,
    /// Where the content starts, in bytes.
    start: u64,
    size: u64,
}

/// An archive.
pub struct Archive {
    file: Arc<dyn Disk>,
    members: Vec<Member>,
    /// What the members take.
    _memory: Reservation,
}

/// Whether `file` starts like an archive, and one of the first members is an OVF descriptor.
pub fn has_descriptor(file: &dyn Disk) -> Result<bool> {
    let mut magic = USTAR;
    let at = std::mem::offset_of!(Header, magic) as u64;
    if file.size() < BLOCK {
        return Ok(false);
    }
    file.read_at(&mut magic, at)?;
    if magic != USTAR && magic != GNU {
        return Ok(false);
    }
    let mut walk = Walk { file, at: 0 };
    for _ in 0..PROBED {
        match walk.next() {
            Ok(Some(member)) if member.is_descriptor() => return Ok(true),
            Ok(Some(_)) => {}
            Ok(None) | Err(Error::Corrupt { .. } | Error::Unsupported(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether a file of this name is an OVF descriptor.
pub fn is_descriptor(name: &[u8]) -> bool {
    name.len() > 4 && name[name.len() - 4..].eq_ignore_ascii_case(b".ovf")
}

impl Member {
    fn is_descriptor(&self) -> bool {
        self.kind == Kind::File && is_descriptor(&self.name)
    }
}

impl Archive {
    /// Reads all headers of the archive in `file`.
    pub fn read(file: Arc<dyn Disk>, budget: &Budget) -> Result<Self> {
        let (mut members, mut memory) = (Vec::new(), budget.empty());
        let cached = Cached::new(file.clone(), PAGE, CACHE_BYTES);
        let mut walk = Walk { file: &cached, at: 0 };
        while let Some(member) = walk.next()? {
            if members.len() == MAX_MEMBERS {
                return Err(unsupported!("an archive of more than {MAX_MEMBERS} members, which is our limit"));
            }
            // A list that grows takes up to twice what it holds.
            memory.grow((member.name.len() + 2 * size_of::<Member>()) as u64, "the members of an archive")?;
            members.push(member);
        }
        Ok(Self { file, members, _memory: memory })
    }

    /// The names of the files that are no links.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().filter(|member| member.kind == Kind::File).map(|member| &member.name[..])
    }

    /// The content of the member called `name`, if there is one. Fails if there are two, or if it is no file.
    pub fn get(&self, name: &[u8]) -> Result<Option<Arc<dyn Disk>>> {
        let mut named = self.members.iter().filter(|member| member.name == name);
        let Some(member) = named.next() else { return Ok(None) };
        let shown = name.escape_ascii();
        if let Some(other) = named.next() {
            let (first, second) = (member.start, other.start);
            return Err(corrupt!("tar archive", second, "a second member {shown}, the first is at {first:#x}"));
        }
        match member.kind {
            Kind::File => {}
            Kind::Link => return Err(unsupported!("{shown} is a link, which is not followed in an archive")),
            Kind::Sparse => return Err(unsupported!("{shown} is stored without its holes, which is not supported")),
            Kind::Other => return Err(unsupported!("{shown} is no file")),
        }
        let view = View::new(format!("{shown} in {}", self.file), self.file.clone(), member.start, member.size)?;
        Ok(Some(Arc::new(view)))
    }
}

/// Goes from header to header. Each lies behind the one before, so this ends.
struct Walk<'a> {
    file: &'a dyn Disk,
    at: u64,
}

/// What the headers before a member say about it, in place of its own.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Walk<'_> {
    fn next(&mut self) -> Result<Option<Member>> {
        let mut extension = Extension::default();
        for _ in 0..=MAX_EXTENSIONS {
            let at = self.at;
            if at == self.file.size() {
                // The two blocks of zeros at the end are left out by some.
                return Ok(None);
            }
            let header: Header = structure::read(self.file, "tar header", at)?;
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            check(&header, at)?;
            let is_extension = matches!(header.typeflag, PAX_NEXT | PAX_GLOBAL | GNU_NAME | GNU_LINK);
            let own = number(&header.size).ok_or_else(|| corrupt!("tar header", at, "its size is no number"))?;
            let size = extension.size.filter(|_| !is_extension).unwrap_or(own);
            let start = at + BLOCK;
            let end = start.checked_add(size).filter(|end| *end <= self.file.size());
            let Some(end) = end else {
                let (name, len) = (text(&header.name).escape_ascii(), self.file.size());
                return Err(corrupt!(
                    "tar header",
                    at,
                    "{name} has {size} bytes, but the archive ends at byte {len:#x}: truncated?"
                ));
            };
            // Of the last member the filling may be left out.
            self.at = end.next_multiple_of(BLOCK).min(self.file.size());
            if is_extension {
                self.extend(&mut extension, header.typeflag, start, size)?;
                continue;
            }
            let name = extension.name.take().unwrap_or_else(|| full_name(&header));
            let kind = match header.typeflag {
                GNU_SPARSE => Kind::Sparse,
                _ if extension.is_sparse => Kind::Sparse,
                flag if LINKS.contains(&flag) => Kind::Link,
                flag if REGULAR.contains(&flag) && !name.ends_with(b"/") => Kind::File,
                _ => Kind::Other,
            };
            return Ok(Some(Member { name: normal(&name, at)?, kind, start, size }));
        }
        Err(corrupt!("tar header", self.at, "more than {MAX_EXTENSIONS} headers before a member"))
    }

    /// Reads what a header says of the next member.
    fn extend(&self, extension: &mut Extension, typeflag: u8, start: u64, size: u64) -> Result<()> {
        if size > MAX_RECORDS {
            return Err(unsupported!(
                "{size} bytes of records before a member of an archive, {MAX_RECORDS} is our limit"
            ));
        }
        let mut bytes = vec![0; in_memory(size)];
        self.file.read_at(&mut bytes, start)?;
        match typeflag {
            GNU_NAME => extension.name = Some(text(&bytes).to_owned()),
            PAX_NEXT => records(&bytes, start, extension)?,
            // The target of a link; and what holds for all, which no name or size does.
            _ => {}
        }
        Ok(())
    }
}

/// Takes what matters from the records of pax: `length key=value`, a line each.
fn records(mut bytes: &[u8], start: u64, extension: &mut Extension) -> Result<()> {
    const WHAT: &str = "pax record";
    while !text(bytes).is_empty() {
        let wrong = || corrupt!(WHAT, start, "no length and key");
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let len = decimal(&bytes[..space]).and_then(|len| usize::try_from(len).ok()).ok_or_else(wrong)?;
        let (record, rest) = bytes.split_at_checked(len).ok_or_else(wrong)?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(wrong)?;
        let middle = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, value) = (&record[..middle], &record[middle + 1..]);
        match key {
            b"path" => extension.name = Some(value.to_owned()),
            b"size" => extension.size = Some(decimal(value).ok_or_else(|| corrupt!(WHAT, start, "size is no number"))?),
            _ if key.starts_with(b"GNU.sparse.") => extension.is_sparse = true,
            _ => {}
        }
        bytes = rest;
    }
    Ok(())
}

/// Fails unless `header` is one, and its checksum is right.
fn check(header: &Header, at: u64) -> Result<()> {
    if header.magic != USTAR && header.magic != GNU {
        return Err(corrupt!("tar header", at, "no magic, want ustar"));
    }
    let sum: u64 = header.as_bytes().iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = header.chksum.iter().map(|byte| u64::from(*byte)).sum();
    let computed = sum - own + header.chksum.len() as u64 * u64::from(b' ');
    match number(&header.chksum) {
        Some(stored) if stored == computed => Ok(()),
        _ => {
            let stored = text(&header.chksum).trim_ascii().escape_ascii();
            Err(corrupt!("tar header", at, "checksum {stored}, computed is {computed:o}"))
        }
    }
}

/// A number of a header: octal digits between spaces and zero bytes, or GNU's big-endian one.
fn number(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let (high, low) = rest.split_at(rest.len().checked_sub(8)?);
        let is_small = first & 0x7f == 0 && high.iter().all(|byte| *byte == 0);
        return low.try_into().ok().map(u64::from_be_bytes).filter(|_| is_small);
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The bytes before the first zero.
fn text(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

/// The name in a header.
fn full_name(header: &Header) -> Vec<u8> {
    match text(&header.prefix) {
        prefix if !prefix.is_empty() && header.magic == USTAR => [prefix, b"/", text(&header.name)].concat(),
        _ => text(&header.name).to_owned(),
    }
}

/// A name as members are compared by it.
fn normal(name: &[u8], at: u64) -> Result<Vec<u8>> {
    if name.len() > MAX_NAME {
        return Err(unsupported!(
            "a name of {} bytes in an archive at byte {at:#x}, {MAX_NAME} is our limit",
            name.len()
        ));
    }
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    Ok(name.to_owned())
}
