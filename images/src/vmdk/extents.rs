//! The extents of a disk, one after the other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::descriptor::{Descriptor, ExtentLine, Kind};
use super::header::Header;
use super::layout::SECTOR;
use super::mapping::Tables;
use crate::block_map::Mapped;
use crate::disk::{Concat, Piece, View};
use crate::format::{RAW, Request};
use crate::{Disk, Result, ResultExt, corrupt};

/// What is kept of an extent: its open file, its header, its names.
const EXTENT_MEMORY: u64 = 4096;

/// What the extents of one image have in common.
pub struct Extents<'a> {
    /// The file with the descriptor.
    file: Arc<dyn Disk>,
    descriptor: &'a Descriptor,
    parent: Option<Arc<dyn Disk>>,
    request: &'a Request<'a>,
    /// The files that are open: partitions of a device have a line each.
    files: HashMap<PathBuf, Arc<dyn Disk>>,
}

impl<'a> Extents<'a> {
    /// The extents of the image in `file`.
    pub fn new(
        file: Arc<dyn Disk>,
        descriptor: &'a Descriptor,
        parent: Option<Arc<dyn Disk>>,
        request: &'a Request<'a>,
    ) -> Self {
        Self { file, descriptor, parent, request, files: HashMap::new() }
    }

    /// The disk of all extents; `embedding` is the header of the extent that the descriptor is embedded in.
    pub fn open(mut self, embedding: Option<Header>) -> Result<Arc<dyn Disk>> {
        let name = self.file.to_string();
        let lines = &self.descriptor.extents;
        let mut embedding = match embedding {
            // Of a single extent the line says nothing that the header does not: the file may have been renamed.
            Some(header) if lines.len() <= 1 => {
                if let Some(line) = lines.first().filter(|line| line.sectors * SECTOR != header.capacity) {
                    let (line, capacity) = (line.sectors, header.capacity / SECTOR);
                    log::warn!("{name}: {line} sectors by its descriptor, {capacity} by its header, which holds");
                }
                return Ok(Arc::new(self.extent(self.file.clone(), header, 0)?));
            }
            embedding => embedding,
        };
        if lines.is_empty() {
            return Err(corrupt!("descriptor", 0u64, "it has no extents"));
        }
        // Each may name its own file.
        let memory = self.request.budget.take(lines.len() as u64 * EXTENT_MEMORY, "the extents of a VMDK image")?;
        let mut pieces = Vec::with_capacity(lines.len());
        let mut start = 0u64;
        for line in lines {
            // What a descriptor is embedded in is the first extent.
            let piece = match embedding.take() {
                Some(header) => self.sparse(line, self.file.clone(), header, start)?,
                None => self.piece(line, start)?,
            };
            pieces.push(piece);
            start = match start.checked_add(line.sectors * SECTOR) {
                Some(end) if end <= i64::MAX as u64 => end,
                _ => return Err(corrupt!("extent line", line.at, "the disk is larger than 2^63 bytes")),
            };
        }
        Ok(Arc::new(Concat::new(name, pieces)?.holding(memory)))
    }

    /// The extent of `line`, which starts at byte `start` of the disk.
    fn piece(&mut self, line: &ExtentLine, start: u64) -> Result<Piece> {
        let size = line.sectors * SECTOR;
        if size == 0 {
            return Ok(Piece::Hole(0));
        }
        match line.kind {
            Kind::Zero => Ok(Piece::Hole(size)),
            Kind::NoAccess => Ok(Piece::Missing(size, "the descriptor says that it may not be accessed".into())),
            Kind::Flat(offset) => {
                let file = self.file_of(line)?;
                Ok(Piece::View(View::new(file.to_string(), file, offset * SECTOR, size)?))
            }
            Kind::Sparse => {
                let file = self.file_of(line)?;
                let header = Header::read(&*file).within(&file)?;
                self.sparse(line, file, header, start)
            }
            Kind::SpaceEfficient => {
                let file = self.file_of(line)?;
                let header = Header::space_efficient(&*file).within(&file)?;
                self.sparse(line, file, header, start)
            }
        }
    }

    fn sparse(&self, line: &ExtentLine, file: Arc<dyn Disk>, header: Header, start: u64) -> Result<Piece> {
        let size = line.sectors * SECTOR;
        if header.capacity != size {
            let (line_says, header_says) = (line.sectors, header.capacity / SECTOR);
            return Err(corrupt!(
                "extent line",
                line.at,
                "{line_says} sectors, but the header of {file} has {header_says}"
            ));
        }
        let extent = self.extent(file, header, start)?;
        Ok(Piece::View(View::new(extent.to_string(), Arc::new(extent), 0, size)?))
    }

    /// The sparse extent in `file`, which starts at byte `start` of the disk; grains that it does not have are the parent's.
    fn extent(&self, file: Arc<dyn Disk>, header: Header, start: u64) -> Result<Mapped<Tables>> {
        if header.unclean {
            log::warn!("{file}: was not closed by its writer; what was written last may be missing");
        }
        let parent: Option<Arc<dyn Disk>> = match &self.parent {
            Some(parent) if start > 0 => {
                let size = header.capacity.min(parent.size().saturating_sub(start));
                Some(Arc::new(View::new(parent.to_string(), parent.clone(), start.min(parent.size()), size)?))
            }
            parent => parent.clone(),
        };
        let size = header.capacity;
        let tables = Tables::new(&file, header, self.request.budget);
        Ok(Mapped { parent, ..Mapped::new(file, size, tables) })
    }

    /// The file that `line` names, through the gate.
    fn file_of(&mut self, line: &ExtentLine) -> Result<Arc<dyn Disk>> {
        let path = as_file(self.descriptor.path(&line.name)?);
        if let Some(file) = self.files.get(&path) {
            return Ok(file.clone());
        }
        let file = self.request.opener.open(&path, Some(RAW))?;
        self.files.insert(path, file.clone());
        Ok(file)
    }
}

/// The path as the gate must have it: the name of an extent is a file's, whatever colons are in it, unless it has the
/// form of an address, which the gate refuses by its protocol.
fn as_file(path: PathBuf) -> PathBuf {
    let bytes = path.as_os_str().as_encoded_bytes();
    let first = bytes.split(|byte| *byte == b'/').next().unwrap_or_default();
    if first.contains(&b':') && !bytes.windows(3).any(|three| three == b"://") {
        return Path::new(".").join(path);
    }
    path
}
