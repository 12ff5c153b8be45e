//! The walk: two trees, written down as manifests and compared path for path.
//!
//! Each tree is written down by the user who can see it; then the manifests meet.

pub mod compare;
mod extents;
pub mod manifest;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

pub use compare::{Field, compare};
pub use manifest::{Entry, Manifest};

/// The manifest of a directory, or the one that a file holds.
pub fn load(path: &Path, extents: bool) -> Result<Manifest> {
    if path.is_dir() {
        return Manifest::of(path, extents);
    }
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no manifest", path.display()))
}
