//! Images under gzip, xz, zstd or bzip2: what is decompressed is a disk, in which an image of any format lies.
//!
//! A file that says how long its independent parts are (the blocks of xz, the frames of zstd, the members of BGZF) is
//! opened without decompression and read part by part (`Parts`). One that does not say how long its content is must
//! be decompressed to know its size, and that is done once (`whole`). Nothing large is kept in memory: what is dear
//! to decompress again goes to a `Spool`.

mod bzip2;
mod gzip;
mod index;
mod input;
mod parts;
mod spool;
mod whole;
mod xz;
mod zstd;

use std::sync::Arc;

use crate::format::{Open, Probe};
use crate::{Budget, Disk, Format, Request, Result};
use index::Part;

/// The line of gzip in [`FORMATS`](crate::FORMATS).
pub const GZIP: Format = wrapper("gzip", &["gz", "bgz"], gzip::probe, gzip::open);
/// The line of xz in [`FORMATS`](crate::FORMATS).
pub const XZ: Format = wrapper("xz", &["xz"], xz::probe, xz::open);
/// The line of zstd in [`FORMATS`](crate::FORMATS).
pub const ZSTD: Format = wrapper("zstd", &["zst", "zstd"], zstd::probe, zstd::open);
/// The line of bzip2 in [`FORMATS`](crate::FORMATS).
pub const BZIP2: Format = wrapper("bzip2", &["bz2"], bzip2::probe, bzip2::open);

const fn wrapper(name: &'static str, endings: &'static [&'static str], probe: Probe, open: Open) -> Format {
    Format { endings, wraps: true, ..Format::new(name, probe, open) }
}

/// What comes out of compressed bytes, in order.
trait Decoder: Send {
    /// Fills the start of `out` and says how much that is. 0 is the end, which is reached only if the checksums that
    /// the format has are right.
    fn decode(&mut self, out: &mut [u8]) -> Result<usize>;

    /// Where the next compressed byte lies in the file.
    fn position(&self) -> u64;
}

/// A format of which parts can be decompressed alone.
trait Codec: Send + Sync {
    /// Begins with the part of `file`, which ends where the part does: what comes after is an error. The decoder owns
    /// what it takes of `budget`.
    fn begin(&self, file: &Arc<dyn Disk>, part: Part, budget: &Budget) -> Result<Box<dyn Decoder>>;
}

/// What messages call the content of `file`; its offsets are not those of the file.
fn content_of(file: &dyn Disk) -> String {
    format!("decompressed {file}")
}

/// Opens the image that lies in the content of a compressed file.
fn open_content(content: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.opener.open_inside(content, None, request.snapshot)
}

/// Says that something follows the compressed content of `file`, which ends at `end`.
fn warn_of_garbage(file: &dyn Disk, end: u64) {
    log::warn!("{file}: {} bytes after its end at byte {end:#x} are no part of it, and ignored", file.size() - end);
}
