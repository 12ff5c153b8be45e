//! Deflate of blocks whose size is known: unpacked in one go.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use crate::length::in_memory;

/// What is around the deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Nothing, RFC 1951.
    Raw,
    /// The header and the checksum of zlib, RFC 1950.
    Zlib,
}

/// How unpacking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflated {
    /// The stream ended after so many bytes.
    Ended(usize),
    /// The buffer is full, and the stream goes on.
    Full,
}

/// The states of the decoders are tens of kilobytes, as large as a block: every thread keeps them.
struct Decoders {
    raw: Decompress,
    zlib: Decompress,
}

thread_local! {
    static DECODERS: RefCell<Decoders> = RefCell::new(Decoders {
        raw: Decompress::new(false),
        zlib: Decompress::new(true),
    });
}

/// Unpacks the stream that `packed` starts with into `out`. What follows its end is ignored.
pub fn inflate(wrapping: Wrapping, packed: &[u8], out: &mut [u8]) -> Result<Inflated, String> {
    DECODERS.with_borrow_mut(|decoders| {
        let state = match wrapping {
            Wrapping::Raw => &mut decoders.raw,
            Wrapping::Zlib => &mut decoders.zlib,
        };
        state.reset(wrapping == Wrapping::Zlib);
        match state.decompress(packed, out, FlushDecompress::Finish) {
            // No overflow: it is at most the length of `out`.
            Ok(Status::StreamEnd) => Ok(Inflated::Ended(in_memory(state.total_out()))),
            Ok(_) if state.total_out() == out.len() as u64 => Ok(Inflated::Full),
            Ok(_) => Err("the compressed bytes end too early".to_owned()),
            Err(error) => Err(format!("deflate: {error}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(wrapping: Wrapping, bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match wrapping {
            Wrapping::Raw => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Wrapping::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn whole_short_long_and_damaged_streams() {
        let bytes: Vec<u8> = (0..9000u32).map(|i| (i / 7 % 251) as u8).collect();
        for wrapping in [Wrapping::Raw, Wrapping::Zlib] {
            let mut stream = packed(wrapping, &bytes);
            let end = stream.len();
            stream.extend([0xa5; 300]);
            for size in [bytes.len(), bytes.len() + 1, 20_000] {
                let mut out = vec![0; size];
                assert_eq!(inflate(wrapping, &stream, &mut out), Ok(Inflated::Ended(bytes.len())));
                assert_eq!(out[..bytes.len()], bytes);
            }
            let mut out = vec![0; 5000];
            assert_eq!(inflate(wrapping, &stream, &mut out), Ok(Inflated::Full));
            assert_eq!(out, bytes[..5000], "and what fits is there");
            let mut out = vec![0; bytes.len()];
            for cut in [0, 1, 2, 20, end / 2] {
                inflate(wrapping, &stream[..cut], &mut out).unwrap_err();
            }
            assert!(inflate(wrapping, &[0xff; 512], &mut out).unwrap_err().starts_with("deflate: "));
        }
    }
}
