//! Characters that a terminal takes for more than letters, written as what they are.
//!
//! An image chooses names, labels, UUIDs and lines of configuration. Written to a terminal as they are, they can move the
//! cursor, rewrite what stands there, answer in the user's name, or show a name backwards.

use std::fmt::{self, Display, Write};

/// Characters beside the control characters (C0, DEL, C1) that show nothing themselves and change how others are shown:
/// Unicode's categories Cf, Zl and Zp, and the fillers that look like nothing at all; first and last of each range. From
/// <https://www.unicode.org/Public/16.0.0/ucd/extracted/DerivedGeneralCategory.txt>.
const UNSEEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a terminal may take this character for more than a letter.
pub fn is_harmful(c: char) -> bool {
    c.is_control() || !c.is_ascii() && UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// One line of text for people: whatever it holds, what is printed has no line end, and nothing that a terminal takes for
/// more than letters. Such a character stands there as Rust writes it: `\n`, `\t`, `\u{1b}`.
pub struct Line<T>(pub T);

impl<T: Display> Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Passes text on, with the harmful characters escaped.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_harmful) {
            let (before, from) = rest.split_at(at);
            let c = from.chars().next().expect("it was found there");
            self.0.write_str(before)?;
            write!(self.0, "{}", c.escape_default())?;
            rest = &from[c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Bytes of an image as one line for people; what is not UTF-8 stands there as `\xff`.
pub fn clean(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += &Line(chunk.valid()).to_string();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

/// JSON in which strings hold no harmful character, and mean the same. `serde_json` escapes those below U+0020 only.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Most of a long list is printable ASCII, which is copied in runs.
    while let Some(at) = rest.bytes().position(|byte| byte > b'~') {
        let (printable, other) = rest.split_at(at);
        out += printable;
        let mut chars = other.chars();
        // Those that are left stand in strings: outside of them, JSON is printable ASCII and line ends.
        match chars.next().expect("a byte is there, and the runs end between characters") {
            c if is_harmful(c) => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}"));
            }
            c => out.push(c),
        }
        rest = chars.as_str();
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: C0, DEL, C1, bidi override, isolate, zero width, line separator, byte order mark, tag.
    const HOSTILE: &str = "\0\u{7}\u{8}\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{200b}\u{200e}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{e0041}";

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert!(HOSTILE.chars().all(is_harmful));
        let shown = Line(HOSTILE).to_string();
        assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
        assert!(shown.starts_with("\\u{0}\\u{7}\\u{8}\\t\\n\\r\\u{1b}\\u{7f}\\u{85}\\u{9b}"), "{shown}");
        assert_eq!(Line(&shown).to_string(), shown, "once is enough");
        assert_eq!(Line("ä 漢字 е́ 🦀 \\ \"").to_string(), "ä 漢字 е́ 🦀 \\ \"");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(clean(b"a\x1b[31m\nb\xff\xc2"), "a\\u{1b}[31m\\nb\\xff\\xc2");
        // C1 as bytes and in UTF-8.
        assert_eq!(clean(b"\x9b\xc2\x9b"), "\\x9b\\u{9b}");
    }

    #[test]
    fn json_means_the_same() {
        let text = serde_json::to_string(&HOSTILE).unwrap();
        assert!(text.contains('\u{9b}') && text.contains('\u{202e}'));
        let safe = json(&text);
        assert!(safe.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), HOSTILE);
    }
}
