//! Recovered files on their way to the host: where they may go, how they are written, and the report of it.

pub mod destination;
pub mod origin;
pub mod report;
