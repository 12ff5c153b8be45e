//! The table of image formats: a line for each.

use crate::format::Format;
use crate::{
    Disk, Result, compressed, ewf, ovf, parallels, qcow1, qcow2, qed, split, unsupported, vdi, vhd, vhdx, vmdk,
};

/// Every image format. All are recognised by their content but split raw, which its name tells; raw is the fallback.
pub static FORMATS: &[Format] = &[
    qcow2::FORMAT,
    vmdk::FORMAT,
    vdi::FORMAT,
    vhd::FORMAT,
    vhdx::FORMAT,
    qcow1::FORMAT,
    qed::FORMAT,
    parallels::FORMAT,
    split::FORMAT,
    compressed::GZIP,
    compressed::XZ,
    compressed::ZSTD,
    compressed::BZIP2,
    ewf::FORMAT,
    ovf::FORMAT,
    ovf::ARCHIVE,
];

/// First bytes of image formats that are not read: without this table they would pass for raw disks of garbage.
const FOREIGN: &[(&str, &[u8])] = &[
    ("logical evidence (L01)", b"LVF\x09\x0d\x0a\xff\0"),
    ("EWF version 2 (Ex01)", b"EVF2\x0d\x0a\x81\0"),
    ("logical evidence (Lx01)", b"LEF2\x0d\x0a\x81\0"),
];

/// Fails with `Unsupported` if the disk starts like an image format that is not read.
pub(crate) fn refuse_foreign(disk: &dyn Disk) -> Result<()> {
    let mut start = [0; 64];
    let len = start.len().min(usize::try_from(disk.size()).unwrap_or(usize::MAX));
    disk.read_at(&mut start[..len], 0)?;
    match FOREIGN.iter().find(|(_, magic)| start.starts_with(magic)) {
        Some((name, _)) => Err(unsupported!(
            "{disk} is of the format {name}, which is not read; --format raw takes its bytes as they are"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn formats_that_are_not_read_are_named() {
        let error = refuse_foreign(&Memory::new("x", b"EVF2\x0d\x0a\x81\0".to_vec())).unwrap_err().to_string();
        assert_eq!(
            error,
            "x is of the format EWF version 2 (Ex01), which is not read; --format raw takes its bytes as they are"
        );
        for start in [&b""[..], b"EVF2", &[0; 4096]] {
            refuse_foreign(&Memory::new("x", start.to_vec())).unwrap();
        }
    }
}
