//! XML from images and guests, read within bounds.

use roxmltree::{Document, ParsingOptions};

use crate::{Error, Result};

/// The longest text that is read, in bytes; ours. Descriptors of guests and appliances have some KiB.
pub const MAX_TEXT: u64 = 1 << 20;
/// The most elements, attributes and texts; ours.
const MAX_NODES: u32 = 100_000;
/// The most attributes of one element, and the most namespaces of the whole text; ours. The parser's time grows with the
/// square of both: a MiB of attributes would take a minute.
const MAX_ATTRIBUTES: usize = 256;
const MAX_NAMESPACES: usize = 256;

/// Parses a text. There is no document type: without one, there are no entities that could grow.
///
/// Fails with `Unsupported` if it is not well-formed or exceeds a bound; the message holds no control characters.
pub fn parse(text: &str) -> Result<Document<'_>> {
    let refuse = |why: &str| {
        let why: String = why.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Err(Error::Unsupported(format!("the XML cannot be read: {why}")))
    };
    if text.len() as u64 > MAX_TEXT {
        return refuse(&format!("it is longer than {MAX_TEXT} bytes"));
    }
    // An equals sign in a text between two elements counts too: only a long text is full of them.
    if text.split('<').any(|tag| tag.bytes().filter(|byte| *byte == b'=').count() > MAX_ATTRIBUTES) {
        return refuse(&format!("an element has more than {MAX_ATTRIBUTES} attributes"));
    }
    if text.matches("xmlns").count() > MAX_NAMESPACES {
        return refuse(&format!("it has more than {MAX_NAMESPACES} namespaces"));
    }
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).or_else(|error| refuse(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_take_long_is_refused() {
        let refused = |text: &str| parse(text).err().unwrap().to_string();
        let many = |count: usize| (0..count).map(|n| format!("a{n}='' ")).collect::<String>();
        assert!(parse(&format!("<a {}/>", many(MAX_ATTRIBUTES))).is_ok());
        assert!(refused(&format!("<a {}/>", many(100_000))).contains("attributes"));
        let nested: String = (0..50_000).map(|n| format!("<a xmlns:n{n}='u'>")).collect();
        assert!(refused(&nested).contains("namespaces"));
        assert!(refused(&"<a>".repeat(300_000)).contains("cannot be read"));
        assert!(refused(&" ".repeat(MAX_TEXT as usize + 1)).contains("longer"));
        assert!(refused("<!DOCTYPE d [<!ENTITY a 'aaaa'>]><d>&a;</d>").contains("cannot be read"));
        assert!(!refused("\u{0}\u{1b}[2J").contains(char::is_control));
    }
}
