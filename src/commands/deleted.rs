//! `imgmount deleted`: what was deleted, when, and how much of it is left.

use filesystems::Kind;
use images::Result;

use crate::cli::{Deleted, Request};
use crate::deleted::Record;
use crate::place::Place;
use crate::terminal::{self, JsonArray, Output};

/// Prints the table, or JSON with the evidence. The value is the exit status: 1 if a file system could not be searched,
/// which is said.
pub fn run(request: &Request, options: &Deleted) -> Result<u8> {
    let stack = request.session.open()?;
    let places = options.places.selection()?.file_systems(&stack)?;
    let filter = options.filters.filter();
    let mut failed = false;
    let mut listing = if options.json { Listing::Json(JsonArray::open()?) } else { Listing::table(&places)? };
    for place in &places {
        let found = match place.deleted.found() {
            Ok(found) => found,
            Err(error) => {
                terminal::complain(&error.to_string());
                failed = true;
                continue;
            }
        };
        for found in found {
            let path = place.deleted.path(found.node)?;
            let stat = place.tree.stat(found.deleted.node).ok();
            if !filter.wants(&found, &path, stat.as_ref()) {
                continue;
            }
            match &mut listing {
                Listing::Json(array) => {
                    array.push(&Record::of(&place.device, &*place.tree, found.deleted, &path, stat.as_ref()))?
                }
                Listing::Table(out, width) => {
                    let deleted = found.deleted.deleted.map(|time| time.to_string()).unwrap_or_default();
                    let time = deleted.get(..19).unwrap_or(&deleted);
                    let size = stat.map(|stat| stat.size.to_string()).unwrap_or_default();
                    let end = if stat.is_some_and(|stat| stat.kind == Kind::Directory) { "/" } else { "" };
                    let (state, inode, device) = (found.deleted.state, found.deleted.number, &place.name);
                    let path = terminal::clean(&path);
                    out.line(format_args!(
                        "{state:13}  {inode:>8}  {size:>12}  {time:19}  {device:width$}  /{path}{end}"
                    ))?;
                    if out.is_gone() {
                        return Ok(0);
                    }
                }
            }
        }
    }
    listing.finish()?;
    Ok(failed.into())
}

/// Where the answer goes, file by file: there may be very many.
enum Listing {
    Json(JsonArray),
    /// With the width of the column of devices.
    Table(Output, usize),
}

impl Listing {
    fn table(places: &[Place]) -> Result<Self> {
        let width = places.iter().map(|place| place.name.len()).max().unwrap_or(0).max(6);
        let mut out = Output::open();
        let [state, inode, size, time, device] = ["STATE", "INODE", "SIZE", "DELETED (UTC)", "DEVICE"];
        out.line(format_args!("{state:13}  {inode:>8}  {size:>12}  {time:19}  {device:width$}  PATH"))?;
        Ok(Self::Table(out, width))
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Json(array) => array.finish(),
            Self::Table(out, _) => out.finish(),
        }
    }
}
