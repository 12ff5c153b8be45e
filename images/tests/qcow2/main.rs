//! qcow2 as QEMU's own tools write it, against what they and imago read, and damaged on purpose.

mod content;
mod extents;
mod features;
mod hostile;
mod snapshots;
mod speed;
mod tools;
