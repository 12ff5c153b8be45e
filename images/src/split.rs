//! A raw image in several files of one length, `disk.001`, `disk.002` and so on, as `split` and imaging tools cut it.
//!
//! The parts are raw: nothing in them says that they are parts, so the name of the first one does. An image that no
//! format recognises, whose name ends in `.001` or `.000` and beside which the next number lies, is split; so is one
//! opened with `--format split`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Concat, Piece, View};
use crate::format::{RAW, Request};
use crate::parent::is_absent;
use crate::{Disk, Error, Format, Result, corrupt, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format { name: "split", probe: |_| Ok(false), open };

/// What three digits can count.
const MAX_PARTS: u32 = 999;

/// Whether `path` has the name of a first part, and the second one is there.
pub fn is_first_of_several(path: &Path) -> bool {
    let next = path.file_name().and_then(Parts::of).map(|parts| path.with_file_name(parts.name(parts.first + 1)));
    next.is_some_and(|next| next.is_file())
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("split raw")?;
    let Some(parts) = request.opener.file_name().and_then(Parts::of) else {
        return Err(Error::Usage("a split image is opened by its first part, whose name ends in .001 or .000".into()));
    };
    let open = |number: u32| match request.opener.open(&Path::new(".").join(parts.name(number)), Some(RAW)) {
        Ok(part) => Ok(Some(part)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    };
    let name = file.to_string();
    let mut disks = vec![file];
    let mut number = parts.first + 1;
    while number <= MAX_PARTS {
        match open(number)? {
            Some(part) => disks.push(part),
            None => break,
        }
        number += 1;
    }
    // One that is missing from the middle would shorten the disk in silence.
    if number < MAX_PARTS && open(number + 1)?.is_some() {
        let (missing, after) = (parts.name(number), parts.name(number + 1));
        return Err(unsupported!("part {} is missing, but {} is there", missing.display(), after.display()));
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
    /// 0 or 1.
    first: u32,
}

impl<'a> Parts<'a> {
    /// The parts of which `name` is the first.
    fn of(name: &'a OsStr) -> Option<Self> {
        let name = name.as_bytes();
        let with = |first, ending| name.strip_suffix(ending).map(|stem| Self { stem, first });
        with(1, b"001".as_slice()).or(with(0, b"000")).filter(|parts| parts.stem.ends_with(b"."))
    }

    fn name(&self, number: u32) -> OsString {
        let mut name = OsStr::from_bytes(self.stem).to_owned();
        name.push(format!("{number:03}"));
        name
    }
}
