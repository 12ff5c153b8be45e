//! What the name of a file says of its format: it was given by a user of the host, and no guest can change it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::format::Format;

/// Whether a file of this name is of this format by its ending; of an image inside of it, by the ending before the
/// wrapper's.
pub fn says(name: &OsStr, format: &str, is_wrapped: bool, formats: &[Format]) -> bool {
    let mut endings = name.as_bytes().rsplit(|byte| *byte == b'.');
    let is = |ending: &[u8], known: &str| ending.eq_ignore_ascii_case(known.as_bytes());
    let Some(mut last) = endings.next() else { return false };
    let wrappers = || formats.iter().filter(|format| format.wraps).flat_map(|format| format.endings);
    while is_wrapped && wrappers().any(|known| is(last, known)) {
        match endings.next() {
            Some(before) => last = before,
            None => return false,
        }
    }
    // What lies before the first dot is no ending.
    let is_ending = endings.next().is_some();
    let mut others = formats.iter().filter(|known| known.name == format).flat_map(|known| known.endings);
    is_ending && (is(last, format) || others.any(|other| is(last, other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_format() {
        let says = |name: &str, format, is_wrapped| says(OsStr::new(name), format, is_wrapped, crate::FORMATS);
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
