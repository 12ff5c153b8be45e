//! A raw image in several files of one length, `disk.001`, `disk.002` and so on, as `split` and imaging tools cut it.
//!
//! The parts are raw: nothing in them says that they are parts, so the name of the first one does. An image that no
//! format recognises, whose name ends in `.001`, `.000` or `.aa` (or with more digits or letters) and beside which the
//! next one lies, is split; so is one opened with `--format split`. `split` itself calls them `xaa` or `x00`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Concat, Piece, View, printable};
use crate::format::{Beside, RAW, Request};
use crate::parent::is_absent;
use crate::{Disk, Error, Format, Result, corrupt, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format =
    Format { endings: &["000", "001"], named: Some(is_first_of_several), ..Format::new("split", |_| Ok(false), open) };

/// Our limit of the parts of an image: what three digits can count, and all that two letters do.
const MAX_PARTS: u32 = 999;
/// How many digits or letters a part may be numbered by; ours.
const WIDTHS: std::ops::RangeInclusive<usize> = 2..=9;

/// Whether the file has the name of a first part, and the second one is there.
fn is_first_of_several(file: &Beside<'_>) -> bool {
    let Some(parts) = Parts::of(file.name) else { return false };
    let is_there = |index| parts.name(index).is_some_and(|name| (file.has)(&name));
    if !is_there(1) && is_there(2) {
        log::warn!("{}: it looks like the first part of several, but the second is missing", file.shown);
    }
    is_there(1)
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("split raw")?;
    let Some(parts) = request.opener.file_name().and_then(Parts::of) else {
        return Err(Error::Usage(
            "a split image is opened by its first part, whose name ends in .001, .000 or .aa".into(),
        ));
    };
    let open = |name: Option<OsString>| {
        let Some(name) = name else { return Ok(None) };
        match request.opener.open(&Path::new(".").join(&name), Some(RAW)) {
            Ok(part) => Ok(Some((name, part))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let name = file.to_string();
    let mut disks = vec![file];
    let mut index = 1;
    while let Some((_, part)) = open(parts.name(index))? {
        if index > MAX_PARTS {
            return Err(unsupported!("more than {MAX_PARTS} parts, which is our limit"));
        }
        disks.push(part);
        index += 1;
    }
    let missing = parts.name(index);
    // One that is missing from the middle would shorten the disk in silence.
    if let (Some(missing), Some((after, _))) = (&missing, open(parts.name(index + 1))?) {
        let (missing, after) = (printable(Path::new(missing)), printable(Path::new(&after)));
        return Err(unsupported!("part {missing} is missing, but {after} is there"));
    }
    if let Some((longer, _)) = open(parts.longer())? {
        let longer = printable(Path::new(&longer));
        return Err(unsupported!(
            "it goes on with the longer name {longer}, which is not read: rename its parts to names of one length"
        ));
    }
    let length = disks[0].size();
    let last = disks.len() - 1;
    for (index, part) in disks.iter().enumerate() {
        let size = part.size();
        if size > length || (size < length && index < last) {
            return Err(corrupt!(part.to_string(), size, "its end, but the first part has {length} bytes: truncated?"));
        }
    }
    let pieces = disks.into_iter().map(|part| {
        let size = part.size();
        View::new(part.to_string(), part, 0, size).map(Piece::View)
    });
    Ok(Arc::new(Concat::new(name, pieces.collect::<Result<Vec<_>>>()?)?))
}

/// How the parts are called.
struct Parts<'a> {
    /// All but the number.
    stem: &'a [u8],
    /// How many digits or letters it has.
    width: usize,
    /// The first digit or letter, and how many there are.
    base: (u8, u8),
    /// The number of the first part.
    first: u32,
}

impl<'a> Parts<'a> {
    /// The parts of which `name` is the first.
    fn of(name: &'a OsStr) -> Option<Self> {
        let name = name.as_bytes();
        let ending = |digit: u8| name.iter().rev().take_while(|byte| **byte == digit).count();
        let with = |stem: usize, base, first| Self { stem: &name[..stem], width: name.len() - stem, base, first };
        let parts = match name.last()? {
            b'a' => with(name.len() - ending(b'a'), (b'a', 26), 0),
            b'0' => with(name.len() - ending(b'0'), (b'0', 10), 0),
            // Two digits from 01 on number backups as well.
            b'1' => {
                let zeros = name[..name.len() - 1].iter().rev().take_while(|byte| **byte == b'0').count();
                with(name.len() - 1 - zeros, (b'0', 10), 1)
            }
            _ => return None,
        };
        let enough = WIDTHS.contains(&parts.width) && parts.width > 2 * parts.first as usize;
        // What `split` calls them by itself has no point.
        let is_split = matches!((parts.stem, parts.width), (b"x", 2));
        (enough && (parts.stem.ends_with(b".") || is_split)).then_some(parts)
    }

    /// The name of a part, by its index from 0; `None` if there is none for so many.
    fn name(&self, index: u32) -> Option<OsString> {
        let (zero, base) = self.base;
        let mut rest = self.first + index;
        let mut number = vec![zero; self.width];
        for digit in number.iter_mut().rev() {
            *digit += u8::try_from(rest % u32::from(base)).expect("less than the base");
            rest /= u32::from(base);
        }
        (rest == 0).then(|| OsString::from_vec([self.stem, &number].concat()))
    }

    /// The name that `split` goes on with after `yz` or `89`, if nobody tells it how long names are.
    fn longer(&self) -> Option<OsString> {
        let (zero, base) = self.base;
        let last = zero + base - 1;
        (self.first == 0).then(|| OsString::from_vec([self.stem, &[last], &vec![zero; self.width + 1][..]].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_parts_are_known_by_their_names() {
        let name = |first: &str, index| {
            let parts = Parts::of(OsStr::new(first))?;
            Some(parts.name(index)?.into_string().unwrap())
        };
        for (first, index, want) in [
            ("disk.000", 12, "disk.012"),
            ("disk.001", 0, "disk.001"),
            ("disk.001", 998, "disk.999"),
            ("disk.0001", 999, "disk.1000"),
            ("disk.00", 99, "disk.99"),
            ("disk.aa", 27, "disk.bb"),
            ("d.aaa", 26 * 26 * 26 - 1, "d.zzz"),
            ("xaa", 1, "xab"),
            ("x00", 1, "x01"),
        ] {
            assert_eq!(name(first, index).as_deref(), Some(want), "{first}");
        }
        assert_eq!((name("disk.001", 999), name("disk.aa", 26 * 26)), (None, None));
        for none in ["disk.002", "disk.01", "disk.1", "disk.a", "disk", "", "bazaa", "x000", "disk000", "d.ba", "aa"] {
            assert_eq!(name(none, 0), None, "{none}");
        }
        assert_eq!(Parts::of(OsStr::new("d.aa")).unwrap().longer().unwrap(), "d.zaaa");
        assert_eq!(Parts::of(OsStr::new("d.00")).unwrap().longer().unwrap(), "d.9000");
    }
}
