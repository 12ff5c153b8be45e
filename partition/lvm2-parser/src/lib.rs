//! Parses LVM2 labels and metadata.
