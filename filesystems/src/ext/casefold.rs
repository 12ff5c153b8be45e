//! Names without regard to case, in directories with the casefold flag.
//!
//! The only encoding of ext4 is UTF-8 of Unicode 12.1, folded as the kernel does: each character to its full case
//! folding, then canonical decomposition; characters that are ignorable by default are left out.
//! <https://docs.kernel.org/filesystems/ext4/super.html>, [Unicode, section 3.13](https://www.unicode.org/versions/Unicode12.1.0/)

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

/// The name as it is compared and hashed; `None` if it is not valid UTF-8: then its bytes are compared as they are.
/// (Where the encoding is strict, such names cannot be made.)
pub fn fold(name: &[u8]) -> Option<Vec<u8>> {
    let name = str::from_utf8(name).ok()?;
    if name.is_ascii() {
        return Some(name.to_ascii_lowercase().into_bytes());
    }
    let mut folded = String::with_capacity(name.len());
    // Both kinds of character stand between marks, which are put in order on each side of them only.
    for part in name.split_inclusive(|c| is_ignorable(c) || is_newer(c)) {
        let last = part.chars().next_back().filter(|c| is_ignorable(*c) || is_newer(*c));
        let end = part.len() - last.map_or(0, char::len_utf8);
        folded.extend(part[..end].chars().default_case_fold().nfd());
        folded.extend(last.filter(|c| !is_ignorable(*c)));
    }
    Some(folded.into_bytes())
}

/// Whether a character has the property Default_Ignorable_Code_Point of Unicode 12.1.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character that is folded, decomposed or ordered today was not yet assigned in Unicode 12.1; such
/// characters stay as they are. (Measured with every character against e2fsprogs, see `tests/ext_casefold.rs`.)
#[rustfmt::skip]
fn is_newer(c: char) -> bool {
    matches!(c,
        '\u{5c8}'..='\u{5c9}' | '\u{897}'..='\u{89f}' | '\u{8ca}'..='\u{8d2}' | '\u{c3c}' | '\u{1715}' |
        '\u{1abf}'..='\u{1af0}' | '\u{1c89}' | '\u{1dfa}' | '\u{2c2f}' | '\u{a7c0}' | '\u{a7c7}' | '\u{a7c9}' |
        '\u{a7cb}'..='\u{a7cc}' | '\u{a7d0}' | '\u{a7d6}' | '\u{a7d8}' | '\u{a7da}' | '\u{a7dc}' | '\u{a7f5}' |
        '\u{a82c}' | '\u{10570}'..='\u{1057a}' | '\u{1057c}'..='\u{1058a}' | '\u{1058c}'..='\u{10592}' |
        '\u{10594}'..='\u{10595}' | '\u{105c9}' | '\u{105e4}' | '\u{10d50}'..='\u{10d65}' |
        '\u{10d69}'..='\u{10d6d}' | '\u{10eab}'..='\u{10eac}' | '\u{10ecb}'..='\u{10ecf}' |
        '\u{10ef0}'..='\u{10efb}' | '\u{10efd}'..='\u{10eff}' | '\u{10f82}'..='\u{10f85}' | '\u{11070}' |
        '\u{11383}' | '\u{11385}' | '\u{1138e}' | '\u{11391}' | '\u{113c5}' | '\u{113c7}'..='\u{113c8}' |
        '\u{113ce}'..='\u{113d0}' | '\u{11938}' | '\u{1193d}'..='\u{1193e}' | '\u{11943}' |
        '\u{11f41}'..='\u{11f42}' | '\u{16121}'..='\u{16128}' | '\u{1612f}' | '\u{16d68}'..='\u{16d6a}' |
        '\u{16ff0}'..='\u{16ff1}' | '\u{1d127}'..='\u{1d128}' | '\u{1d250}'..='\u{1d252}' |
        '\u{1d25b}'..='\u{1d25c}' | '\u{1d25f}' | '\u{1d280}'..='\u{1d281}' | '\u{1e08f}' | '\u{1e2ae}' |
        '\u{1e4ec}'..='\u{1e4ef}' | '\u{1e5ee}'..='\u{1e5ef}' | '\u{1e6e3}' | '\u{1e6e6}' |
        '\u{1e6ee}'..='\u{1e6ef}' | '\u{1e6f5}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_fold_to_the_same_bytes() {
        let same = |a: &str, b: &str| assert_eq!(fold(a.as_bytes()), fold(b.as_bytes()), "{a} {b}");
        same("README", "readme");
        same("Stra\u{df}e", "STRASSE");
        same("\u{c9}t\u{e9}", "e\u{301}TE\u{301}");
        same("\u{3a3}\u{3c3}\u{3c2}", "\u{3c3}\u{3c3}\u{3c3}");
        same("a\u{323}\u{301}", "A\u{301}\u{323}");
        same("zero\u{200b}width", "ZEROWIDTH");
        same("\u{212a}", "k");
        assert_ne!(fold("i\u{307}".as_bytes()), fold(b"I"), "no language's own rules");
        assert_eq!(fold(b"\xff"), None);
        assert_eq!(fold(b"a\xc3"), None);
    }
}
