//! Names: short ones in code page 437, long ones in UTF-16 spread over several entries, and how they compare.

use super::layout::*;

/// Code page 437 from 0x80 on, <https://www.unicode.org/Public/MAPPINGS/VENDORS/MICSFT/PC/CP437.TXT>.
const CP437: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ\
    áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
    αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The most parts of a long name.
const PARTS_MAX: usize = LONG_NAME_MAX.div_ceil(LONG_PART);

/// Whether a tree can hold a name: it has no slash and no NUL, and does not mean a directory itself.
fn is_usable(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn cp437(byte: u8) -> char {
    match byte {
        // What cannot stand in a name is shown as damage.
        0 | b'/' => char::REPLACEMENT_CHARACTER,
        ..0x80 => byte.into(),
        _ => CP437.chars().nth(usize::from(byte) - 0x80).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// Appends the short name of an entry, in the case that `nt_res` gives it: Linux's `shortname=mixed`.
pub fn push_short(entry: &DirEntry, out: &mut String) {
    let (base, extension) = entry.name.split_at(8);
    for (part, lower) in [(base, LOWER_BASE), (extension, LOWER_EXTENSION)] {
        let len = part.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        if lower == LOWER_EXTENSION && len > 0 {
            out.push('.');
        }
        for (index, byte) in part[..len].iter().enumerate() {
            let first = lower == LOWER_BASE && index == 0;
            let char = cp437(if first && *byte == KANJI_E5 { 0xe5 } else { *byte });
            out.push(if entry.nt_res & lower != 0 { fold(char) } else { char });
        }
    }
    if !is_usable(out) {
        out.insert(0, char::REPLACEMENT_CHARACTER);
    }
}

/// Whether this is the entry `.` or `..`, which every directory but the root begins with.
pub fn is_dot(entry: &DirEntry) -> bool {
    matches!(&entry.name, b".          " | b"..         ")
}

/// The sum of the short name that binds the parts of the long name to it.
pub fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// A long name in the making: its parts come last first, then the entry that it belongs to.
#[derive(Default)]
pub struct LongName {
    units: Vec<u16>,
    /// How many parts are still to come; none are, and there are units: complete.
    missing: u8,
    checksum: u8,
    /// The directory slot of the first part on the disk.
    pub first_slot: u32,
}

impl LongName {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.units.clear();
        self.missing = 0;
    }

    /// Takes the part that lies in this slot. A part out of turn drops what came before it.
    pub fn push(&mut self, part: &LongDirEntry, slot: u32) {
        let number = part.ord & !LAST_LONG_ENTRY;
        if part.ord & LAST_LONG_ENTRY != 0 {
            self.clear();
            if !(1..=PARTS_MAX).contains(&number.into()) {
                return;
            }
            self.units.resize(usize::from(number) * LONG_PART, 0);
            (self.missing, self.checksum, self.first_slot) = (number, part.chksum, slot);
        }
        if self.missing == 0 || number != self.missing || part.chksum != self.checksum {
            return self.clear();
        }
        self.missing -= 1;
        let at = usize::from(self.missing) * LONG_PART;
        let units = part.name1.iter().chain(&part.name2).chain(&part.name3);
        for (unit, read) in self.units[at..].iter_mut().zip(units) {
            *unit = read.get();
        }
    }

    /// Appends the name if it is complete and belongs to this entry; says whether it did.
    pub fn take(&mut self, entry: &DirEntry, out: &mut String) -> bool {
        let complete = !self.units.is_empty() && self.missing == 0 && self.checksum == checksum(&entry.name);
        if complete {
            let len = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
            push_long(&self.units[..len], out);
        }
        self.clear();
        if complete && is_usable(out) {
            return true;
        }
        out.clear();
        false
    }
}

/// Appends a long name, unless it is too long.
fn push_long(units: &[u16], out: &mut String) {
    if units.len() <= LONG_NAME_MAX {
        let chars = char::decode_utf16(units.iter().copied());
        out.extend(chars.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }
}

/// A long name, if a tree can hold it.
pub fn from_units(units: &[u16]) -> Option<String> {
    let mut name = String::new();
    push_long(units, &mut name);
    is_usable(&name).then_some(name)
}

/// A character in lower case, where that is one character.
fn fold(char: char) -> char {
    if char.is_ascii() {
        return char.to_ascii_lowercase();
    }
    let mut lower = char.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => char,
    }
}

/// Whether two names are the same but for their case.
pub fn same(a: &str, b: &str) -> bool {
    a.chars().map(fold).eq(b.chars().map(fold))
}

/// A hash that is the same for names that are the [`same`]: FNV-1a over the folded characters.
pub fn hash(name: &str) -> u32 {
    name.chars().map(fold).fold(0x811c_9dc5, |hash, char| (hash ^ u32::from(char)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn entry(name: &[u8; 11], nt_res: u8) -> DirEntry {
        DirEntry { name: *name, nt_res, ..DirEntry::new_zeroed() }
    }

    fn short(name: &[u8; 11], nt_res: u8) -> String {
        let mut out = String::new();
        push_short(&entry(name, nt_res), &mut out);
        out
    }

    /// The parts of a long name as they lie on the disk.
    fn parts(name: &str, short: &[u8; 11]) -> Vec<LongDirEntry> {
        let mut units: Vec<u16> = name.encode_utf16().collect();
        let count = units.len().div_ceil(LONG_PART);
        if !units.len().is_multiple_of(LONG_PART) {
            units.push(0);
        }
        units.resize(count * LONG_PART, 0xffff);
        let part = |index: usize| {
            let mut part = LongDirEntry { chksum: checksum(short), attr: ATTR_LONG_NAME, ..LongDirEntry::new_zeroed() };
            part.ord = index as u8 + 1 + if index + 1 == count { LAST_LONG_ENTRY } else { 0 };
            let target = part.name1.iter_mut().chain(&mut part.name2).chain(&mut part.name3);
            for (target, unit) in target.zip(&units[index * LONG_PART..]) {
                target.set(*unit);
            }
            part
        };
        (0..count).rev().map(part).collect()
    }

    fn long(parts: &[LongDirEntry], short: &[u8; 11]) -> Option<String> {
        let (mut name, mut out) = (LongName::default(), String::new());
        for part in parts {
            name.push(part, 0);
        }
        name.take(&entry(short, 0), &mut out).then_some(out)
    }

    #[test]
    fn short_names() {
        assert_eq!(short(b"README  TXT", 0), "README.TXT");
        assert_eq!(short(b"README  TXT", LOWER_BASE), "readme.TXT");
        assert_eq!(short(b"README  TXT", LOWER_EXTENSION), "README.txt");
        assert_eq!(short(b"MAKEFILE   ", LOWER_BASE | LOWER_EXTENSION), "makefile");
        assert_eq!(short(b"A B     C  ", 0), "A B.C");
        assert_eq!(short(b"\x05\x81\x80\xe1    \xff  ", 0), "σüÇß.\u{a0}");
        assert_eq!(short(b"\x80A      \x9a  ", LOWER_BASE | LOWER_EXTENSION), "ça.ü");
        assert_eq!(short(b"           ", 0), "\u{fffd}");
        assert_eq!(short(b".          ", 0), "\u{fffd}.");
        assert_eq!(short(b"A/\0     TXT", 0), "A\u{fffd}\u{fffd}.TXT");
        assert!(is_dot(&entry(b".          ", 0)) && is_dot(&entry(b"..         ", 0)));
    }

    #[test]
    fn long_names() {
        let sfn = b"LONGNA~1TXT";
        let longest = "x".repeat(255);
        for name in ["a", "thirteen char", "A longer name of several parts.text", "Grüße \u{1f40d} 日本.txt", &longest]
        {
            assert_eq!(long(&parts(name, sfn), sfn).as_deref(), Some(name));
            assert_eq!(long(&parts(name, sfn), b"OTHER      "), None, "the checksum is another's");
            let mut broken = parts(name, sfn);
            broken.pop();
            assert_eq!(long(&broken, sfn), None, "a part is missing");
            let mut broken = parts(name, sfn);
            broken.remove(0);
            assert_eq!(long(&broken, sfn), None, "the last part is missing");
        }
        let mut swapped = parts(&longest, sfn);
        swapped.swap(3, 4);
        assert_eq!(long(&swapped, sfn), None);
        for name in ["", ".", "..", "a/b", &"x".repeat(256)] {
            assert_eq!(long(&parts(name, sfn), sfn), None, "{name}");
        }
        let mut half = parts("ab", sfn);
        half[0].name1[1].set(0xd83d);
        assert_eq!(long(&half, sfn).as_deref(), Some("a\u{fffd}"));
        let twice = [parts("stray name of two", sfn), parts("good", sfn)].concat();
        assert_eq!(long(&twice, sfn).as_deref(), Some("good"));
    }

    #[test]
    fn code_page_437_is_whole() {
        assert_eq!(CP437.chars().count(), 128);
        assert_eq!((cp437(0x80), cp437(0xe1), cp437(0xff)), ('Ç', 'ß', '\u{a0}'));
    }

    #[test]
    fn case_does_not_matter() {
        assert!(same("Grüße.TXT", "GRÜßE.txt"));
        assert!(!same("a", "ab") && !same("a", "b"));
        assert_eq!(hash("Ünïcode"), hash("üNÏCODE"));
    }
}
