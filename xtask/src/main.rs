//! Everything that needs root or outside tools.

fn main() {}
