//! XML that describes disks: recognised by its first element, read and looked through within bounds.

use roxmltree::{Document, Node, ParsingOptions};

use crate::length::in_memory;
use crate::{Disk, Result, corrupt, unsupported};

/// The longest XML that is read, in bytes; ours. An appliance of ten disks has about 50 KiB.
pub const MAX_XML: u64 = 1 << 20;
/// How many nodes it may have; ours.
const MAX_NODES: u32 = 100_000;
/// How many attributes an element may have; ours. The parser compares each with all others.
const MAX_ATTRIBUTES: usize = 1000;
/// How many namespaces the text may declare; ours. The parser copies those of an element to each one below it.
const MAX_NAMESPACES: usize = 256;
/// How much of a file is looked at for its first element, in bytes.
const PROBED: usize = 4096;

/// Whether `file` is XML whose first element is called `name`, in any namespace.
pub fn starts_with(file: &dyn Disk, name: &str) -> Result<bool> {
    let mut bytes = [0; PROBED];
    let len = PROBED.min(usize::try_from(file.size()).unwrap_or(PROBED));
    file.read_at(&mut bytes[..len], 0)?;
    Ok(first_element(&bytes[..len]) == Some(name.as_bytes()))
}

/// The name of the first element of a text, without its namespace, if it is whole.
fn first_element(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    loop {
        let ending: &[u8] = match rest {
            _ if rest.starts_with(b"<?") => b"?>",
            _ if rest.starts_with(b"<!--") => b"-->",
            _ => break,
        };
        let end = rest.windows(ending.len()).position(|window| window == ending)?;
        rest = rest[end + ending.len()..].trim_ascii_start();
    }
    let tag = rest.strip_prefix(b"<")?;
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))?;
    tag[..end].rsplit(|byte| *byte == b':').next()
}

/// All of `file` as text. `what` names it in messages.
pub fn read(file: &dyn Disk, what: &str) -> Result<String> {
    let size = file.size();
    if size > MAX_XML {
        return Err(unsupported!("the {what} is {size} bytes long, {MAX_XML} is our limit"));
    }
    let mut bytes = vec![0; in_memory(size)];
    file.read_at(&mut bytes, 0)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => Err(corrupt!(what, error.utf8_error().valid_up_to() as u64, "it is not UTF-8")),
    }
}

/// The parsed text of a `what`. Without a document type there are no entities that could grow.
pub fn parse<'a>(text: &'a str, what: &str) -> Result<Document<'a>> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if most_attributes(text) > MAX_ATTRIBUTES {
        return Err(unsupported!(
            "an element of the {what} has more than {MAX_ATTRIBUTES} attributes, which is our limit"
        ));
    }
    if text.matches("xmlns").count() > MAX_NAMESPACES {
        return Err(unsupported!("the {what} has more than {MAX_NAMESPACES} namespaces, which is our limit"));
    }
    Document::parse_with_options(text, options)
        .map_err(|error| corrupt!(what, 0u64, "its XML cannot be read: {}", clean(&error.to_string())))
}

/// At least as many attributes as any element has: quoted values after a `=`, up to the next `<`, which none has in it.
fn most_attributes(text: &str) -> usize {
    let (mut most, mut count, mut last) = (0, 0, b' ');
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        match byte {
            b'<' => count = 0,
            b'"' | b'\'' if last == b'=' => count += 1,
            _ => {}
        }
        (most, last) = (most.max(count), byte);
    }
    most
}

/// The children of `node` with this name, in any namespace.
pub fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

/// The first child of `node` with this name.
pub fn child<'a>(node: Node<'a, 'a>, name: &'static str) -> Option<Node<'a, 'a>> {
    children(node, name).next()
}

/// The text of the first child of `node` with this name; `None` if it is empty.
pub fn text<'a>(node: Node<'a, 'a>, name: &'static str) -> Option<&'a str> {
    child(node, name).and_then(|child| child.text()).map(str::trim).filter(|text| !text.is_empty())
}

/// The attribute of `node` with this name, in no namespace or in that of its element; `None` if it is empty.
pub fn attribute<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    let own = node.tag_name().namespace();
    let is_own = |namespace: Option<&str>| namespace.is_none() || namespace == own;
    let found = node.attributes().find(|attribute| attribute.name() == name && is_own(attribute.namespace()));
    found.map(|found| found.value().trim()).filter(|value| !value.is_empty())
}

/// Text of the XML in one line: it must not talk to the terminal.
pub fn clean(text: &str) -> String {
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn the_first_element_is_found_behind_what_precedes_it() {
        for (text, want) in [
            ("<a/>", Some("a")),
            ("\u{feff}<?xml version='1.0'?>\n<!-- <b> -->\n <ovf:Envelope xmlns:ovf='x'>", Some("Envelope")),
            ("<!DOCTYPE html><html>", Some("!DOCTYPE")),
            ("<?xml", None),
            ("<!-- a", None),
            ("<a", None),
            ("a<b>", None),
            ("", None),
        ] {
            assert_eq!(first_element(text.as_bytes()), want.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn hostile_text_ends() {
        let many = (MAX_XML / 8) as usize;
        let attributes: String = (0..90_000).map(|n| format!("a{n} = '' ")).collect();
        assert_eq!(most_attributes("<a b='=\"' c = \"<d e='>'/>\" f=1>g='h'"), 3, "two, and one that only looks so");
        for text in [
            String::new(),
            "<a>".repeat(many),
            format!("<a {attributes}/>"),
            (0..50_000).map(|n| format!("<a xmlns:n{n}='u'>")).collect(),
            format!("<a>{}</a>", "<d/>".repeat(many)),
            "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;'>]><a>&b;</a>".to_owned(),
        ] {
            if let Err(error) = parse(&text, "text") {
                assert!(!error.to_string().contains(char::is_control), "{error}");
            }
        }
        assert!(read(&Memory::new("m", vec![b'a'; MAX_XML as usize + 1]), "text").is_err());
        assert!(read(&Memory::new("m", vec![b'a', 0xff]), "text").is_err());
    }
}
