//! The names of devices: those that guestmount and Linux give, and all the spellings that are understood.

use super::{Level, Stack};

impl Stack {
    /// guestmount's name for what is inside an encrypted volume; a second one with the same UUID gets a number.
    pub(super) fn unlocked_name(&self, device: &str, uuid: Option<&str>) -> String {
        let name = match uuid {
            Some(uuid) => format!("/dev/mapper/luks-{uuid}"),
            None => {
                let bare = device.strip_prefix("/dev/").unwrap_or(device);
                format!("/dev/mapper/crypt{}", bare.replace(|c: char| !c.is_ascii_alphanumeric(), ""))
            }
        };
        let same = self.devices.iter().filter(|device| {
            let rest = device.name.strip_prefix(&name);
            device.level == Level::Unlocked && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        });
        match same.count() {
            0 => name,
            others => format!("{name}#{}", others + 1),
        }
    }

    /// Linux's name for an array that asks for this number: the next free one from 127 downwards, if it asks for none or
    /// another array has it.
    pub(super) fn array_name(&self, wanted: Option<u32>) -> String {
        let mut names = wanted.into_iter().chain((0..=127).rev()).chain(128..).map(|number| format!("/dev/md{number}"));
        let is_free = |name: &String| self.devices.iter().all(|device| device.name != *name);
        names.find(is_free).expect("there are more numbers than devices")
    }

    /// The device of this name, in any of the spellings that guestmount takes: `/dev/vda1`, `sda1`, `/dev/mapper/a-b`.
    pub fn find(&self, name: &str) -> Option<usize> {
        let bare = name.strip_prefix("/dev/").unwrap_or(name);
        if let Some(at) = self.devices.iter().position(|device| device.name.strip_prefix("/dev/") == Some(bare)) {
            return Some(at);
        }
        if let Some((disk, partition)) = disk_and_partition(bare) {
            return self.partition(disk, partition);
        }
        if let Some(name) = bare.strip_prefix("md/") {
            return self.array(name);
        }
        self.mapped(bare.strip_prefix("mapper/")?)
    }

    /// The device that the device mapper would call `name`: a logical volume as `group-volume`, with `-` doubled in both,
    /// or what is inside an encrypted volume.
    pub fn mapped(&self, name: &str) -> Option<usize> {
        let doubled = |name: &str| name.replace('-', "--");
        self.devices.iter().position(|device| match &device.level {
            Level::Logical(group, own) => format!("{}-{}", doubled(group), doubled(own)) == name,
            Level::Unlocked => device.name.strip_prefix("/dev/mapper/") == Some(name),
            _ => false,
        })
    }

    /// The array of this name, with or without that of its host before it, or its partition: `root`, `box:root`, `root1`.
    fn array(&self, name: &str) -> Option<usize> {
        let whole = |name: &str| {
            self.devices.iter().position(|device| match &device.level {
                Level::Array(own) => {
                    let bare = own.split_once(':').map_or(own.as_str(), |(_, own)| own);
                    let number = device.name.strip_prefix("/dev/md");
                    !name.is_empty() && (own == name || bare == name || own.is_empty() && number == Some(name))
                }
                _ => false,
            })
        };
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = decimal(name.strip_prefix(stem)?);
        // As the kernel writes it where a name ends with a digit, and as udev does.
        let stems = [stem.strip_suffix('p'), stem.strip_suffix("-part"), Some(stem)].into_iter().flatten();
        whole(name).or_else(|| self.inside(stems.filter_map(whole).next()?, number?))
    }

    /// The partition with this number on a device.
    pub fn inside(&self, whole: usize, number: u32) -> Option<usize> {
        self.devices.iter().position(|device| device.on == [whole] && device.level == Level::Partition(number))
    }

    /// The Nth disk (from 0), or its partition with this number.
    pub fn partition(&self, disk: usize, partition: Option<u32>) -> Option<usize> {
        let whole = self.devices.get(disk).filter(|device| device.level == Level::Disk).map(|_| disk)?;
        let Some(number) = partition else { return Some(whole) };
        self.inside(whole, number)
    }
}

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
