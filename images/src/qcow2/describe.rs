//! What a qcow2 file says of itself; no key and no other file is needed for that.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::header::{Compression, Header};
use super::layout::*;
use super::snapshot;
use crate::description::{Description, Named, Snapshot};
use crate::disk::Cached;
use crate::{Disk, Result};

/// The granularity in which headers and snapshots are read, in bytes.
const PAGE: usize = 4096;
/// Our bound of the pages kept while headers and snapshots are read, in bytes.
const CACHE_BYTES: u64 = 1 << 20;

/// The longest id and name of a snapshot that are kept, in bytes; QEMU's, which shows longer ones cut too.
const MAX_ID: usize = 127;
const MAX_NAME: usize = 255;

/// The header and the table of snapshots, with the field names of `qemu-img info`.
pub fn describe(file: &Arc<dyn Disk>) -> Result<Description> {
    let cached = Cached::new(file.clone(), PAGE, CACHE_BYTES);
    let header = Header::read(&cached)?;
    let mut snapshots = Vec::new();
    snapshot::for_each(&cached, &header, |found| {
        snapshots.push(Snapshot {
            id: cut(found.id, MAX_ID),
            name: cut(found.name, MAX_NAME),
            size: found.size,
            date: found.date,
            vm_clock: found.vm_clock,
            vm_state_size: found.vm_state_size,
            icount: found.icount,
        });
        true
    })?;
    let data_file = header.data_file.as_ref();
    Ok(Description {
        virtual_size: Some(header.size),
        cluster_size: Some(1 << header.cluster_bits),
        encryption: match header.crypt_method {
            CRYPT_NONE => None,
            CRYPT_AES => Some("aes".to_owned()),
            CRYPT_LUKS => Some("luks".to_owned()),
            method => Some(format!("method {method}")),
        },
        dirty: header.dirty,
        specific: specific(&header),
        files: data_file.map(|name| Named { name: name.clone(), format: Some("raw".to_owned()) }).into_iter().collect(),
        backing: header.backing.map(|backing| Named { name: backing.name, format: backing.format }),
        snapshots,
        ..Description::default()
    })
}

/// The start of `text`, at most so many bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.shrink_to_fit();
    }
    text
}

fn specific(header: &Header) -> Map<String, Value> {
    let mut data = Map::new();
    let mut add = |name: &str, value: Value| data.insert(name.to_owned(), value);
    add("compat", if header.version == 2 { "0.10" } else { "1.1" }.into());
    let compression = match header.compression {
        Compression::Deflate => "zlib",
        Compression::Zstd => "zstd",
    };
    add("compression-type", compression.into());
    add("refcount-bits", header.refcount_bits.into());
    match header.crypt_method {
        CRYPT_NONE => None,
        CRYPT_AES => add("encrypt", json!({ "format": "aes" })),
        CRYPT_LUKS => add("encrypt", json!({ "format": "luks" })),
        method => add("encrypt", json!({ "format": format!("method {method}") })),
    };
    if header.version >= 3 {
        add("lazy-refcounts", header.lazy_refcounts.into());
        add("corrupt", header.corrupt.into());
        add("extended-l2", header.extended_l2.into());
    }
    if let Some(name) = &header.data_file {
        add("data-file", String::from_utf8_lossy(name).into_owned().into());
        add("data-file-raw", header.raw_data_file.into());
    }
    data
}
