//! File systems made from other file systems.
