//! The manifest of an appliance: a hash of each of its files.
//!
//! DSP0243 2.1.1, 6.2 "OVF package manifest".

use crate::stored::Algorithm;
use crate::{Result, corrupt, unsupported};

/// Our limit of the lines of a manifest.
const MAX_LINES: usize = 10_000;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub algorithm: Algorithm,
    /// The name of the file, relative to the manifest.
    pub name: String,
    pub value: Vec<u8>,
}

/// The lines of a manifest: `SHA256(disk.vmdk)= 0123…`. Tools differ in their spaces.
pub fn parse(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        if lines.len() == MAX_LINES {
            return Err(unsupported!("a manifest of more than {MAX_LINES} lines, which is our limit"));
        }
        lines.push(parse_line(line.trim(), number)?);
    }
    Ok(lines)
}

fn parse_line(line: &str, number: u32) -> Result<Line> {
    let wrong = || {
        let shown: String = line.chars().take(80).collect();
        corrupt!("OVF manifest", 0u64, "line {number} is {:?}, want SHA256(name)= value", shown)
    };
    // The name may have any character in it, the value none but digits.
    let (start, value) = line.rsplit_once('=').ok_or_else(wrong)?;
    let (algorithm, name) =
        start.trim_end().strip_suffix(')').and_then(|start| start.split_once('(')).ok_or_else(wrong)?;
    let algorithm = algorithm.trim_end().replace('-', "").to_ascii_uppercase();
    let Some(algorithm) = Algorithm::named(&algorithm) else {
        return Err(unsupported!("the manifest has hashes of the kind {}", algorithm.escape_debug()));
    };
    let digits = value.trim();
    let value: Option<Vec<u8>> = match digits.is_ascii() && digits.len() % 2 == 0 && !digits.is_empty() {
        true => (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect(),
        false => None,
    };
    Ok(Line { algorithm, name: name.to_owned(), value: value.ok_or_else(wrong)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_several_tools_write_them() {
        let text = "SHA1(a.ovf)= 00ff\r\nSHA256 (a (1)=b.vmdk) = AA\n\nSHA-512(c)=01\n";
        let line = |algorithm, name: &str, value: &[u8]| Line { algorithm, name: name.into(), value: value.into() };
        let want = [
            line(Algorithm::Sha1, "a.ovf", &[0, 255]),
            line(Algorithm::Sha256, "a (1)=b.vmdk", &[0xaa]),
            line(Algorithm::Sha512, "c", &[1]),
        ];
        assert_eq!(parse(text).unwrap(), want);
        for wrong in ["a", "SHA1(a)=", "SHA1(a)= 0", "SHA1(a)= 0g", "SHA1(a= 00", "CRC(a)= 00", "SHA1(a)= äö", "\u{1b}"]
        {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        assert!(parse(&"SHA1(a)= 00\n".repeat(MAX_LINES + 1)).is_err());
    }
}
