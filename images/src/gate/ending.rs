//! What the name of a file says of its format: it was given by a user of the host, and no guest can change it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Endings of names that say a format, beside the format's own name.
const ENDINGS: &[(&str, &[&str])] = &[
    ("bzip2", &["bz2"]),
    ("ewf", &["e01", "s01"]),
    ("gzip", &["gz", "bgz"]),
    ("parallels", &["hdd", "hds", "xml"]),
    ("qcow", &["cow"]),
    ("split", &["000", "001"]),
    ("vhdx", &["avhdx"]),
    ("vpc", &["vhd", "avhd"]),
    ("zstd", &["zst"]),
];

/// Endings of wrappers; the name of what is inside lies before them.
const WRAPPERS: &[&str] = &["gz", "bgz", "xz", "zst", "zstd", "bz2"];

/// Whether a file of this name is of this format by its ending; of an image inside of it, by the ending before the
/// wrapper's.
pub fn says(name: &OsStr, format: &str, is_wrapped: bool) -> bool {
    let mut endings = name.as_bytes().rsplit(|byte| *byte == b'.');
    let is = |ending: &[u8], known: &str| ending.eq_ignore_ascii_case(known.as_bytes());
    let Some(mut last) = endings.next() else { return false };
    while is_wrapped && WRAPPERS.iter().any(|wrapper| is(last, wrapper)) {
        match endings.next() {
            Some(before) => last = before,
            None => return false,
        }
    }
    // What lies before the first dot is no ending.
    let is_ending = endings.next().is_some();
    let others = ENDINGS.iter().find(|(name, _)| *name == format).map_or(&[][..], |(_, endings)| endings);
    is_ending && (is(last, format) || others.iter().any(|other| is(last, other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_of_formats_that_there_are() {
        for (format, _) in ENDINGS {
            assert!(crate::FORMATS.iter().any(|known| known.name == *format), "{format}");
        }
    }

    #[test]
    fn names_say_their_format() {
        let says = |name: &str, format, is_wrapped| says(OsStr::new(name), format, is_wrapped);
        for (name, format, is_wrapped, want) in [
            ("vm.qcow2", "qcow2", false, true),
            ("VM.QCOW2", "qcow2", false, true),
            ("vm.img", "qcow2", false, false),
            ("vm", "qcow2", false, false),
            ("qcow2", "qcow2", false, false),
            ("vm.qcow2", "vmdk", false, false),
            ("vm.qcow2.img", "qcow2", false, false),
            ("vm.qcow2.gz", "qcow2", false, false),
            ("vm.qcow2.gz", "qcow2", true, true),
            ("vm.qcow2.gz", "gzip", false, true),
            ("vm.img.gz", "qcow2", true, false),
            ("qcow2.gz", "qcow2", true, false),
            ("gz", "qcow2", true, false),
            ("disk.E01", "ewf", false, true),
            ("disk.avhdx", "vhdx", false, true),
            ("disk.vhd", "vpc", false, true),
            ("DiskDescriptor.xml", "parallels", false, true),
        ] {
            assert_eq!(says(name, format, is_wrapped), want, "{name} {format}");
        }
    }
}
