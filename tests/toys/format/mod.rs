//! A toy format: `toy`, a line with the name of another file, and what that file holds is the disk, backwards.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use images::disk::check_range;
use images::info::{Description, Named};
use images::{Data, Disk, Error, Extent, Format, Properties, Request, Result, Writer};

pub const FORMAT: Format =
    Format { endings: &["backwards"], describe: Some(describe), ..Format::new("toy", probe, open) };

const MAGIC: &[u8] = b"toy\n";

fn probe(file: &dyn Disk) -> Result<bool> {
    let mut start = [0; MAGIC.len()];
    if file.size() < start.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut start, 0)?;
    Ok(start == MAGIC)
}

/// The name on the second line.
fn name(file: &dyn Disk) -> Result<String> {
    let mut text = vec![0; file.size().min(4096) as usize];
    file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().nth(1).map(str::to_owned).ok_or_else(|| Error::Unsupported("a toy without a name".into()))
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let name = name(&*file)?;
    let format = if name.ends_with(".backwards") { "toy" } else { "raw" };
    Ok(Arc::new(Backwards(request.opener.open(Path::new(&name), Some(format))?)))
}

fn describe(file: &Arc<dyn Disk>, _: &Request<'_>) -> Result<Description> {
    let backing = Named { name: name(&**file)?.into_bytes(), format: Some("raw".into()) };
    Ok(Description { cluster_size: Some(1), backing: Some(backing), ..Description::default() })
}

struct Backwards(Arc<dyn Disk>);

impl fmt::Display for Backwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} backwards", self.0)
    }
}

impl Disk for Backwards {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        self.0.read_at(buf, self.size() - offset - buf.len() as u64)?;
        buf.reverse();
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(Extent { len: self.size() - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        self.0.properties()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(Error::ReadOnly(format!("{self} is read from its end")))
    }
}
