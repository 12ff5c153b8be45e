//! The guest's own list of mounts: <https://man7.org/linux/man-pages/man5/fstab.5.html>.

use super::distribution::unquoted;

/// One entry of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line it stands on, from 1.
    pub line: usize,
    /// What is mounted, as it stands there: `UUID=…`, `/dev/sda1`.
    pub spec: String,
    /// Where, as an absolute path without superfluous slashes; anything else (`none`, `swap`) as it stands there.
    pub dir: String,
    /// The file system type.
    pub kind: String,
    /// The options, separated by commas.
    pub options: String,
}

impl Entry {
    /// Whether it is memory for the kernel, and mounts nothing.
    pub fn is_swap(&self) -> bool {
        self.kind == "swap"
    }
}

/// The entries, and a sentence for each line that is none.
pub fn parse(text: &str) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            [spec, dir, kind, ref rest @ ..] => {
                let options =
                    rest.first().filter(|options| !options.starts_with('#')).map_or("defaults", |options| options);
                entries.push(Entry {
                    line: line_number,
                    spec: unquoted_value(&unescaped(spec)),
                    dir: canonical(&unescaped(dir)),
                    kind: kind.to_owned(),
                    options: unescaped(options),
                });
            }
            _ => bad.push(format!("/etc/fstab line {line_number}: {} fields, want at least 3; ignored", fields.len())),
        }
    }
    (entries, bad)
}

/// Octal escapes (`\040`) resolved.
fn unescaped(field: &str) -> String {
    let (bytes, mut out) = (field.as_bytes(), Vec::with_capacity(field.len()));
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|digits| digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        let code = digits.map(|digits| digits.iter().fold(0u32, |code, digit| code * 8 + u32::from(digit - b'0')));
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(code) if byte == b'\\' => {
                out.push(code);
                at += 4;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `LABEL="a b"` as `LABEL=a b`.
fn unquoted_value(spec: &str) -> String {
    match spec.split_once('=') {
        Some((tag, value)) if !tag.contains('/') => format!("{tag}={}", unquoted(value)),
        _ => unquoted(spec),
    }
}

/// `/var//log/` as `/var/log`.
fn canonical(dir: &str) -> String {
    if !dir.starts_with('/') {
        return dir.to_owned();
    }
    let parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines_are_read_or_named() {
        let text = "# comment\n\n \t\nUUID=\"a-b\" / ext4 errors=remount-ro 0 1\n/dev/sda2 //home//x/ ext4\nbad line\n\
                    LABEL=my\\040disk /mnt/with\\040space vfat defaults\nnone swap swap sw # end\n/dev/sdb1 /b xfs # c\n";
        let (entries, bad) = parse(text);
        let seen: Vec<_> = entries.iter().map(|e| (e.line, &*e.spec, &*e.dir, &*e.kind, &*e.options)).collect();
        assert_eq!(
            seen,
            [
                (4, "UUID=a-b", "/", "ext4", "errors=remount-ro"),
                (5, "/dev/sda2", "/home/x", "ext4", "defaults"),
                (7, "LABEL=my disk", "/mnt/with space", "vfat", "defaults"),
                (8, "none", "swap", "swap", "sw"),
                (9, "/dev/sdb1", "/b", "xfs", "defaults"),
            ]
        );
        assert_eq!(bad, ["/etc/fstab line 6: 2 fields, want at least 3; ignored"]);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescaped("a\\"), "a\\");
        assert_eq!(unescaped("a\\04"), "a\\04");
        assert_eq!(unescaped("a\\777"), "a\\777", "more than a byte");
        assert_eq!(unescaped("a\\134b"), "a\\b");
    }
}
