//! Names that are to be written: what FAT can hold, the short name that goes with it, and the entries of both.

use images::{Error, Result};
use zerocopy::little_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

use super::super::layout::*;
use super::super::name;

/// Of how many characters of the long name an alias begins, with a number and with a hash behind them.
const BEFORE_NUMBER: usize = 6;
const BEFORE_HASH: usize = 2;
/// The highest number of an alias. Where all are taken up to this one, as Windows does it a part is a hash.
const NUMBER_MAX: u8 = 9;

/// An entry of 32 bytes.
pub type Slot = [u8; SLOT as usize];

/// A name that is to be written.
pub struct NewName<'a> {
    /// Without dots at its end: as in Windows and Linux, these do not count.
    pub long: &'a str,
    pub short: [u8; 11],
    /// Which parts of the short name are in lower case.
    nt_res: u8,
    /// Whether the short name alone does not say it.
    needs_long: bool,
}

/// The name as it is stored. Fails with `Invalid` for what FAT cannot hold, with `NameTooLong`.
pub fn check(name: &[u8]) -> Result<&str> {
    let name = std::str::from_utf8(name).map_err(|_| Error::Invalid)?.trim_end_matches('.');
    let forbidden = |char: char| char < ' ' || "\"*/:<>?\\|".contains(char);
    if name.is_empty() || name.ends_with(' ') || name.contains(forbidden) {
        return Err(Error::Invalid);
    }
    if name.encode_utf16().count() > LONG_NAME_MAX {
        return Err(Error::NameTooLong);
    }
    Ok(name)
}

impl<'a> NewName<'a> {
    /// The name with the short one that goes with it, which is none that `is_taken`.
    pub fn new(long: &'a str, mut is_taken: impl FnMut(&[u8; 11]) -> Result<bool>) -> Result<Self> {
        if let Some((short, nt_res, needs_long)) = exact(long)
            && !is_taken(&short)?
        {
            return Ok(Self { long, short, nt_res, needs_long });
        }
        let (base, extension) = parts(long);
        let mut short = [b' '; 11];
        short[8..8 + extension.len()].copy_from_slice(&extension);
        let mut try_alias = |before: &[u8], number: u8| {
            short[..8].fill(b' ');
            short[..before.len()].copy_from_slice(before);
            short[before.len()..before.len() + 2].copy_from_slice(&[b'~', b'0' + number]);
            Ok::<_, Error>((!is_taken(&short)?).then_some(short))
        };
        for number in 1..=NUMBER_MAX {
            if let Some(short) = try_alias(&base[..base.len().min(BEFORE_NUMBER)], number)? {
                return Ok(Self { long, short, nt_res: 0, needs_long: true });
            }
        }
        let hash = name::hash(long) as u16;
        for step in 0..=u16::MAX {
            let mut before = base[..base.len().min(BEFORE_HASH)].to_vec();
            before.extend(format!("{:04X}", hash.wrapping_add(step)).into_bytes());
            if let Some(short) = try_alias(&before, 1)? {
                return Ok(Self { long, short, nt_res: 0, needs_long: true });
            }
        }
        Err(Error::NoSpace)
    }

    /// The entries of the name, as they lie in the directory: those of the long one, then `entry` under the short one.
    pub fn slots(&self, entry: &DirEntry) -> Vec<Slot> {
        let mut units: Vec<u16> = if self.needs_long { self.long.encode_utf16().collect() } else { Vec::new() };
        let count = units.len().div_ceil(LONG_PART);
        if !units.len().is_multiple_of(LONG_PART) {
            units.push(0);
        }
        units.resize(count * LONG_PART, 0xffff);
        let chksum = name::checksum(&self.short);
        let part = |(index, units): (usize, &[u16])| {
            let last = if index + 1 == count { LAST_LONG_ENTRY } else { 0 };
            let ord = u8::try_from(index + 1).expect("at most 20 parts") | last;
            let mut part = LongDirEntry { ord, attr: ATTR_LONG_NAME, chksum, ..LongDirEntry::new_zeroed() };
            let target = part.name1.iter_mut().chain(&mut part.name2).chain(&mut part.name3);
            target.zip(units).for_each(|(target, unit)| *target = U16::new(*unit));
            slot(&part)
        };
        let mut slots: Vec<Slot> = units.chunks(LONG_PART).enumerate().map(part).collect();
        slots.reverse();
        slots.push(slot(&DirEntry { name: self.short, nt_res: self.nt_res, ..*entry }));
        slots
    }
}

/// The bytes of an entry.
pub fn slot(entry: &(impl IntoBytes + zerocopy::Immutable)) -> Slot {
    entry.as_bytes().try_into().expect("entries have 32 bytes")
}

fn is_short(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"$%'-_@~`!(){}^#&".contains(&byte)
}

/// The short name that is the name itself but for the case of its letters, what says their case, and whether that is not
/// enough: Windows' and Linux's rule.
fn exact(name: &str) -> Option<([u8; 11], u8, bool)> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    if !fits || !base.bytes().chain(extension.bytes()).all(is_short) {
        return None;
    }
    let (mut short, mut nt_res, mut needs_long) = ([b' '; 11], 0, false);
    for (part, at, flag) in [(base, 0, LOWER_BASE), (extension, 8, LOWER_EXTENSION)] {
        short[at..at + part.len()].copy_from_slice(part.to_ascii_uppercase().as_bytes());
        let lower = part.bytes().any(|byte| byte.is_ascii_lowercase());
        nt_res |= if lower { flag } else { 0 };
        needs_long |= lower && part.bytes().any(|byte| byte.is_ascii_uppercase());
    }
    Some((short, if needs_long { 0 } else { nt_res }, needs_long))
}

/// What the alias of a name begins with, and its extension.
fn parts(name: &str) -> (Vec<u8>, Vec<u8>) {
    let name = name.trim_start_matches(['.', ' ']);
    let (base, extension) = match name.rsplit_once('.') {
        Some((base, extension)) => (base, extension),
        None => (name, ""),
    };
    let short = |part: &str, most: usize| {
        let chars = part.chars().filter(|char| !matches!(char, ' ' | '.'));
        let bytes = chars.map(|char| u8::try_from(char).ok().filter(|byte| is_short(*byte)).unwrap_or(b'_'));
        bytes.map(|byte| byte.to_ascii_uppercase()).take(most).collect::<Vec<u8>>()
    };
    let mut base = short(base, 8);
    if base.is_empty() {
        base.push(b'_');
    }
    (base, short(extension, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, taken: &[&[u8; 11]]) -> (String, u8, bool) {
        let new = NewName::new(name, |short| Ok(taken.contains(&short))).unwrap();
        (String::from_utf8(new.short.to_vec()).unwrap(), new.nt_res, new.needs_long)
    }

    #[test]
    fn short_names_say_what_they_can() {
        let both = LOWER_BASE | LOWER_EXTENSION;
        assert_eq!(new("README.TXT", &[]), ("README  TXT".into(), 0, false));
        assert_eq!(new("readme.txt", &[]), ("README  TXT".into(), both, false));
        assert_eq!(new("README.txt", &[]), ("README  TXT".into(), LOWER_EXTENSION, false));
        assert_eq!(new("Readme.txt", &[]), ("README  TXT".into(), 0, true));
        assert_eq!(new("a", &[]), ("A          ".into(), LOWER_BASE, false));
        assert_eq!(new("12345678.123", &[]), ("12345678123".into(), 0, false));
    }

    #[test]
    fn long_names_have_aliases() {
        for (name, alias) in [
            ("longfilename.text", "LONGFI~1TEX"),
            ("a b", "AB~1       "),
            (".hidden", "HIDDEN~1   "),
            ("two.dots.c", "TWODOT~1C  "),
            ("+plus,[x].a", "_PLUS_~1A  "),
            ("日本語", "___~1      "),
            ("...a", "A~1        "),
            (" ", "_~1        "),
            ("noextension", "NOEXTE~1   "),
        ] {
            assert_eq!(new(name, &[]), (alias.into(), 0, true), "{name}");
        }
        let taken = [b"LONGFI~1TEX", b"LONGFI~2TEX"];
        assert_eq!(new("longfilename.text", &taken).0, "LONGFI~3TEX");
        let all = NewName::new("longfilename.text", |short| Ok(short[6] == b'~' && short.starts_with(b"LONGFI")));
        let hash = format!("LO{:04X}~1TEX", name::hash("longfilename.text") as u16);
        assert_eq!(all.unwrap().short, hash.as_bytes());
    }

    #[test]
    fn what_fat_cannot_hold_is_refused() {
        for name in ["", ".", "..", "...", "a/b", "a:b", "a?", "*", "\"", "<", ">", "|", "a\\b", "a\nb", "a\0", "end "]
        {
            assert!(matches!(check(name.as_bytes()), Err(Error::Invalid)), "{name:?}");
        }
        assert!(matches!(check(b"\xff"), Err(Error::Invalid)));
        assert!(matches!(check("x".repeat(256).as_bytes()), Err(Error::NameTooLong)));
        assert!(matches!(check("\u{1f40d}".repeat(128).as_bytes()), Err(Error::NameTooLong)));
        assert!(check("\u{1f40d}".repeat(127).as_bytes()).is_ok());
        assert_eq!(check(b"a...").unwrap(), "a");
    }

    #[test]
    fn what_is_written_is_read() {
        use super::super::super::name::LongName;
        use zerocopy::FromBytes;
        for name in ["a long name", "thirteen char", "x".repeat(255).as_str(), "Grüße \u{1f40d}", "Mixed.txt"] {
            let slots = NewName::new(name, |_| Ok(false)).unwrap().slots(&DirEntry::new_zeroed());
            let (mut long, mut read) = (LongName::default(), String::new());
            let (entry, parts) = slots.split_last().unwrap();
            for part in parts {
                long.push(&LongDirEntry::read_from_bytes(part).unwrap(), 0);
            }
            assert!(long.take(&DirEntry::read_from_bytes(entry).unwrap(), &mut read));
            assert_eq!(read, name);
        }
    }
}
