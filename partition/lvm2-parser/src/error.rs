//! What is wrong with the bytes, and where.

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes are not what LVM2 writes. Prints as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A binary structure contradicts the format.
    #[error("{structure} at byte {offset:#x}: {why}")]
    Structure {
        /// The structure: `label`, `physical volume header`, `metadata area header`.
        structure: &'static str,
        /// Where it lies, in bytes from the start of the physical volume.
        offset: u64,
        /// What was found and what was wanted.
        why: String,
    },
    /// The metadata text cannot be read, or describes volumes that cannot be.
    #[error("metadata text, line {line} (byte {offset}): {why}")]
    Text {
        /// The line, from 1.
        line: u32,
        /// The byte in the text, from 0.
        offset: usize,
        /// What was found and what was wanted.
        why: String,
    },
}
