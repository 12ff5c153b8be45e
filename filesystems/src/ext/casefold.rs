//! Names without regard to case: not folded yet.

/// The folded form of a name, or `None` if it is not valid UTF-8.
pub fn fold(_name: &[u8]) -> Option<Vec<u8>> {
    None
}
