//! What is looked for in free space.

/// A file that wants its clusters.
pub struct Wanted {
    /// Where its entry lies, in bytes.
    pub at: u64,
    pub first: u32,
    pub clusters: u32,
    /// When it was created, and when it was certainly still there.
    pub created: u32,
    pub last: u32,
}
