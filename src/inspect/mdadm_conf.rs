//! The guest's names for its arrays: <https://man7.org/linux/man-pages/man5/mdadm.conf.5.html>.

/// An array that the file names.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// The device without `/dev/`: `md0`, `md/root`.
    pub device: String,
    /// Its 32 hexadecimal digits in lower case.
    pub uuid: Option<String>,
    /// The name in its metadata: `box:root`.
    pub name: Option<String>,
}

/// The arrays, as they stand there. Those without a device name or anything to know them by are left out.
pub fn parse(text: &str) -> Vec<Named> {
    let mut arrays: Vec<Named> = Vec::new();
    let mut in_array = false;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace().peekable();
        // A line that begins with a space goes on with the one before.
        if !line.starts_with([' ', '\t']) {
            let keyword = words.next().unwrap_or_default().to_ascii_lowercase();
            in_array = keyword.len() >= 3 && "array".starts_with(&keyword);
            if in_array {
                let device = words.next_if(|word| !word.contains('=')).unwrap_or_default();
                let device = device.strip_prefix("/dev/").unwrap_or(device).to_owned();
                arrays.push(Named { device, uuid: None, name: None });
            }
        }
        let Some(array) = arrays.last_mut().filter(|_| in_array) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key.to_ascii_lowercase().as_str() {
                "uuid" => array.uuid = Some(digits(value)),
                "name" => array.name = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    arrays.retain(|array| !array.device.is_empty() && (array.uuid.is_some() || array.name.is_some()));
    arrays
}

/// The hexadecimal digits of a UUID, however it is punctuated, in lower case.
pub fn digits(uuid: &str) -> String {
    uuid.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_what_they_are_known_by() {
        let text = "# mdadm.conf\nHOMEHOST <system>\nARRAY /dev/md/0 metadata=1.2 UUID=4EBB168c:62389df4:3ebfa9f4:7805a2a7 name=box:0\n\
                    arr md5\n   uuid=01234567-89ab-cdef-0123-456789abcdef\nMAILADDR root\n  name=not:this\nARRAY <ignore> UUID=1\n\
                    ARRAY UUID=2\nARRAY /dev/md7 devices=/dev/sda1\n";
        let named = |device: &str, uuid: &str, name: Option<&str>| Named {
            device: device.into(),
            uuid: Some(uuid.into()),
            name: name.map(str::to_owned),
        };
        let want = [
            named("md/0", "4ebb168c62389df43ebfa9f47805a2a7", Some("box:0")),
            named("md5", "0123456789abcdef0123456789abcdef", None),
            named("<ignore>", "1", None),
        ];
        assert_eq!(parse(text), want);
    }
}
