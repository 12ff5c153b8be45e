//! Numbers and descriptors as VMDK has them.

/// The little-endian number of 4 bytes at byte `at`.
pub fn le32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The little-endian number of 8 bytes at byte `at`.
pub fn le64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Writes `value` at byte `at`, and lengthens `bytes` where that is past their end.
pub fn put(bytes: &mut Vec<u8>, at: usize, value: &[u8]) {
    if bytes.len() < at + value.len() {
        bytes.resize(at + value.len(), 0);
    }
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The text of a descriptor without parent.
pub fn descriptor(create_type: &str, extents: &str) -> String {
    let head = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n";
    format!(
        "{head}createType=\"{create_type}\"\n\n# Extent description\n{extents}\n\n#DDB\nddb.adapterType = \"ide\"\n"
    )
}
