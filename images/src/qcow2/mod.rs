//! qcow2, versions 2 and 3: a disk of clusters that are found through two levels of tables.

mod compressed;
mod describe;
mod encryption;
mod header;
mod layout;
mod mapping;
mod snapshot;

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

pub(crate) use compressed::Compressed;
pub use describe::describe;
use encryption::Encryption;
pub(crate) use header::Compression;
use header::Header;
pub(crate) use mapping::Descriptor;
use mapping::{Mapping, Run, Tables};

use crate::cache::TABLE_PAGE;
use crate::disk::check_range;
use crate::format::Request;
use crate::{Data, Disk, Extent, Format, Properties, Result, ResultExt, Writer, corrupt, read_only, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format { name: "qcow2", probe, open };

/// Whether the file starts with the magic of qcow2, and with another version than qcow, which shares it.
fn probe(file: &dyn Disk) -> Result<bool> {
    let mut start = [0; 8];
    let len = start.len().min(usize::try_from(file.size()).unwrap_or(usize::MAX));
    file.read_at(&mut start[..len], 0)?;
    let (magic, version) = start.split_at(4);
    Ok(magic == layout::MAGIC.to_be_bytes() && version != 1u32.to_be_bytes())
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let cached = request.budget.tables(file.clone(), TABLE_PAGE);
    let header = Header::read(&cached)?;
    if header.corrupt {
        log::warn!(
            "{file}: marked as corrupt by a writer; what is read from it may be wrong (qemu-img check tells more)"
        );
    }
    let (name, l1, size) = match request.snapshot {
        None => (file.to_string(), header.l1, header.size),
        // The specification's: a snapshot could not share the one place that each cluster has.
        Some(_) if header.data_file.is_some() => {
            return Err(unsupported!("an image with an external data file has no usable snapshots"));
        }
        Some(wanted) => {
            let found = snapshot::find(&cached, &header, wanted)?;
            (format!("snapshot {wanted} of {file}"), found.l1, found.size)
        }
    };
    let encryption = Encryption::of(&file, &header, request.opener)?;
    let backing = match &header.backing {
        Some(backing) => {
            Some(request.opener.open(Path::new(OsStr::from_bytes(&backing.name)), backing.format.as_deref())?)
        }
        None => None,
    };
    let data = match &header.data_file {
        Some(name) => request.opener.open(Path::new(OsStr::from_bytes(name)), Some("raw"))?,
        None => file.clone(),
    };
    // An L2 table is a cluster. Where it is small, what surrounds it is data, which would only fill the cache.
    let page_size = TABLE_PAGE.min(1 << header.cluster_bits);
    let tables = Tables::new(request.budget.tables(file.clone(), page_size), &header, l1, size);
    let compressed = Compressed::new(header.compression, 1 << header.cluster_bits, request.budget);
    Ok(Arc::new(Qcow2 { name, size, file, data, backing, encryption, tables, compressed }))
}

/// An open image, or one of its snapshots.
struct Qcow2 {
    name: String,
    size: u64,
    file: Arc<dyn Disk>,
    /// Where uncompressed clusters lie: the external data file, else the image file itself.
    data: Arc<dyn Disk>,
    backing: Option<Arc<dyn Disk>>,
    encryption: Option<Encryption>,
    tables: Tables,
    compressed: Compressed,
}

impl Qcow2 {
    fn run_at(&self, offset: u64, want: u64) -> Result<Run> {
        self.tables.run_at(offset, want).within(self)
    }

    /// Reads what the backing file has at `offset`; past its end, and without one, there are zeros.
    fn read_backing(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Some(backing) = &self.backing else {
            buf.fill(0);
            return Ok(());
        };
        let there = backing.size().saturating_sub(offset).min(buf.len() as u64);
        let (there, past) = buf.split_at_mut(there as usize);
        past.fill(0);
        if there.is_empty() { Ok(()) } else { backing.read_at(there, offset) }
    }

    /// Fails unless `len` bytes at `host` lie inside the data file.
    ///
    /// QEMU reads bytes past the end of the file as zeros (`bdrv_aligned_preadv` in block/io.c), which turns a
    /// truncated image into silent zeros. The specification knows no short clusters, and `qemu-img` (10.0: convert,
    /// create with any preallocation, resize, subclusters) may end a file inside its last cluster but never before
    /// the last byte that the guest's disk has there. So a byte that is needed and is not there is an error.
    fn check_data(&self, host: u64, len: u64) -> Result<()> {
        match host.checked_add(len) {
            Some(end) if end <= self.data.size() => Ok(()),
            _ => {
                let size = self.data.size();
                Err(corrupt!(
                    "cluster",
                    host,
                    "{len} bytes wanted, but {} ends at byte {size:#x}: truncated?",
                    self.data
                ))
                .within(self)
            }
        }
    }
}

impl fmt::Display for Qcow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Qcow2 {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let run = self.run_at(offset, buf.len() as u64)?;
            let (now, rest) = buf.split_at_mut(run.len as usize);
            match run.mapping {
                Mapping::Unallocated => self.read_backing(now, offset)?,
                Mapping::Zero => now.fill(0),
                Mapping::Data(host) => match &self.encryption {
                    None => {
                        self.check_data(host, run.len)?;
                        self.data.read_at(now, host)?;
                    }
                    Some(encryption) => {
                        let inside = host % encryption::SECTOR;
                        self.check_data(host - inside, (inside + run.len).next_multiple_of(encryption::SECTOR))?;
                        encryption.read_at(&*self.data, now, host, offset)?;
                    }
                },
                Mapping::Compressed(at, inside) => {
                    self.compressed.read_at(&*self.file, at, now, inside as usize).within(self)?;
                }
            }
            buf = rest;
            offset += run.len;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let run = self.run_at(offset, u64::MAX)?;
        let extent = match run.mapping {
            Mapping::Unallocated => match &self.backing {
                Some(backing) if offset < backing.size() => backing.extent_at(offset)?,
                _ => Extent { len: run.len, data: Data::Hole },
            },
            Mapping::Zero => Extent { len: run.len, data: Data::Zero },
            Mapping::Data(host) => {
                self.check_data(host, 1)?;
                match self.encryption {
                    None => self.data.extent_at(host)?,
                    // A hole below is ciphertext of zeros, which decrypts to noise.
                    Some(_) => Extent { len: run.len, data: Data::Opaque },
                }
            }
            Mapping::Compressed(..) => Extent { len: run.len, data: Data::Opaque },
        };
        Ok(extent.at_most(run.len))
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is a qcow2 image: those cannot be written yet"))
    }
}
