//! The guest's names for its encrypted volumes: <https://man7.org/linux/man-pages/man5/crypttab.5.html>.

/// The entries: the name of the unlocked device, and the volume, as they stand there. Lines that are none are left out.
pub fn parse(text: &str) -> Vec<(String, String)> {
    let entry = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (name, volume) = (fields.next()?, fields.next()?);
        (!name.starts_with('#')).then(|| (name.to_owned(), volume.replace('"', "")))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_volumes() {
        let text =
            "# name volume\n\nroot UUID=\"12-ab\" none luks,discard\n  swap\t/dev/sda3 /dev/urandom swap\nlonely\n";
        let pair = |name: &str, volume: &str| (name.to_owned(), volume.to_owned());
        assert_eq!(parse(text), [pair("root", "UUID=12-ab"), pair("swap", "/dev/sda3")]);
    }
}
