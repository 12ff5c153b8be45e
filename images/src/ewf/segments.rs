//! The files that an image is cut into, and their names: `.E01` to `.E99`, then `.EAA` to `.ZZZ`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use super::layout::*;
use crate::format::{Opener, RAW};
use crate::parent::is_absent;
use crate::{Disk, Error, Result, corrupt, structure, unsupported};

/// The last one whose name is two digits.
const LAST_DECIMAL: u32 = 99;
/// How many names two letters make.
const PAIRS: u32 = 26 * 26;

/// Checks the header of the segment file `file`, which must be number `want`.
pub fn check_header(file: &dyn Disk, want: u32) -> Result<()> {
    let header: FileHeader = structure::read(file, "EWF file header", 0)?;
    if header.signature != SIGNATURE {
        return Err(corrupt!("EWF file header", 0u64, "no signature, want EVF"));
    }
    match u32::from(header.segment_number.get()) {
        number if number == want => Ok(()),
        number if want == 1 => {
            Err(Error::Usage(format!("it is segment {number} of an image: open the first, .E01 or .s01")))
        }
        number => Err(corrupt!("EWF file header", 9u64, "it is segment {number}, its name says {want}")),
    }
}

/// The names of the segments of one image.
pub struct Names {
    /// The name of the first without the two digits at its end.
    stem: Vec<u8>,
}

impl Names {
    /// Those of the image whose first segment is called `first`.
    pub fn of(first: &OsStr) -> Option<Self> {
        let stem = first.as_bytes().strip_suffix(b"01")?;
        match stem {
            [.., b'.', letter] if letter.is_ascii_alphabetic() => Some(Self { stem: stem.to_owned() }),
            _ => None,
        }
    }

    /// The name of segment `number`, from 1; `None` if there is none for so many.
    pub fn name(&self, number: u32) -> Option<OsString> {
        let mut name = self.stem.clone();
        if number <= LAST_DECIMAL {
            name.extend(format!("{number:02}").into_bytes());
            return Some(OsString::from_vec(name));
        }
        let first = name.pop()?;
        let (a, z) = if first.is_ascii_uppercase() { (b'A', b'Z') } else { (b'a', b'z') };
        let beyond = number - LAST_DECIMAL - 1;
        let lead = first.checked_add(u8::try_from(beyond / PAIRS).ok()?).filter(|lead| *lead <= z)?;
        let letter = |index: u32| (a..=z).nth(index as usize % 26);
        name.extend([lead, letter(beyond / 26)?, letter(beyond)?]);
        Some(OsString::from_vec(name))
    }
}

/// Opens segment `number` of the image that `opener` stands for.
pub fn open(opener: &dyn Opener, number: u32) -> Result<Arc<dyn Disk>> {
    let Some(names) = opener.file_name().and_then(Names::of) else {
        return Err(unsupported!(
            "segment {number} of the image is in another file, but the name of the first does not end in .E01 or .s01"
        ));
    };
    let Some(name) = names.name(number) else {
        return Err(unsupported!("an image of more than {} segments", number - 1));
    };
    match opener.open(&Path::new(".").join(&name), Some(RAW)) {
        Err(error) if is_absent(&error) => {
            let name = crate::disk::printable(Path::new(&name));
            Err(Error::Io { what: format!("segment {number} of the image is missing: {name}"), source: not_found() })
        }
        opened => opened,
    }
}

fn not_found() -> std::io::Error {
    std::io::ErrorKind::NotFound.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_on_with_letters() {
        let names = Names::of(OsStr::new("disk.E01")).unwrap();
        let name = |number| names.name(number).map(|name| name.into_string().unwrap());
        for (number, want) in [
            (1, "disk.E01"),
            (99, "disk.E99"),
            (100, "disk.EAA"),
            (125, "disk.EAZ"),
            (126, "disk.EBA"),
            (775, "disk.EZZ"),
            (776, "disk.FAA"),
            (14971, "disk.ZZZ"),
        ] {
            assert_eq!(name(number).as_deref(), Some(want));
        }
        assert_eq!(name(14972), None);
        assert_eq!(Names::of(OsStr::new("a.s01")).unwrap().name(100).unwrap(), "a.saa");
        for none in ["disk", "disk.001", "disk.E02", "E01", ""] {
            assert!(Names::of(OsStr::new(none)).is_none(), "{none}");
        }
    }
}
