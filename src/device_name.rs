//! The names that Linux and guestmount give to disks and partitions.

/// `/dev/sda`, .. `/dev/sdz`, `/dev/sdaa`: the name of the disk with this index.
pub fn of_disk(mut index: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'a' + (index % 26) as u8));
        if index < 26 {
            break;
        }
        index = index / 26 - 1;
    }
    format!("/dev/sd{}", letters.iter().rev().collect::<String>())
}

/// Takes `sda`, `hdb2`, `vdaa`, `xvda1` apart: the disk's index and the partition's number.
pub fn disk_and_partition(name: &str) -> Option<(usize, Option<u32>)> {
    let rest = ["sd", "hd", "vd", "xvd", "ubd"].iter().find_map(|start| name.strip_prefix(start))?;
    let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    let (letters, number) = rest.split_at(letters);
    if letters.is_empty() || letters.len() > 4 {
        return None;
    }
    let index = letters.bytes().fold(0, |index, letter| index * 26 + usize::from(letter - b'a') + 1) - 1;
    match number {
        "" => Some((index, None)),
        _ => Some((index, Some(decimal(number)?))),
    }
}

/// A decimal number without sign.
pub fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_names_count_like_the_kernel() {
        for (index, name) in [(0, "sda"), (25, "sdz"), (26, "sdaa"), (701, "sdzz"), (702, "sdaaa")] {
            assert_eq!(of_disk(index), format!("/dev/{name}"));
            assert_eq!(disk_and_partition(name), Some((index, None)));
        }
        assert_eq!(disk_and_partition("xvdb12"), Some((1, Some(12))));
        for wrong in ["sd", "sda+1", "sd1", "mda1", "sdaaaaa", "sda1p2"] {
            assert_eq!(disk_and_partition(wrong), None, "{wrong}");
        }
    }
}
