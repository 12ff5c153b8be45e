//! Deleted files on their way to the host: which, where they may go, how they are written, and the report of it.

pub mod destination;
pub mod origin;
pub mod report;
mod wanted;
mod writer;

use std::path::Path;

use images::Result;

use self::destination::Destination;
use self::report::{Report, Totals};
use self::wanted::each;
use self::writer::Writer;
use crate::deleted::Filter;
use crate::place::Place;
use crate::terminal;

/// What is recovered, and how.
pub struct Options<'a> {
    /// The directory of the host.
    pub to: &'a Path,
    /// Also what only a part is left of.
    pub partial: bool,
    /// Also the attributes that the host acts on.
    pub all_xattrs: bool,
    /// Which files.
    pub filter: Filter,
    /// Also earlier versions of files that still exist. Finding those of one file is a search of its own.
    pub living: bool,
}

/// What came of a recovery.
pub struct Recovered {
    /// How many files, and how many bytes.
    pub totals: Totals,
    /// The name of the report in the directory.
    pub report: String,
    /// How many file systems could not be searched, which was said.
    pub not_searched: usize,
}

/// Recovers from these file systems, and writes a report that names the images. `None`, and nothing is made, if there is
/// no such file. What cannot be had is said as it comes, and in the report.
pub fn recover(places: &[Place], images: &[&Path], options: &Options<'_>) -> Result<Option<Recovered>> {
    let (mut searched, mut count, mut bytes) = (Vec::new(), 0u64, 0u64);
    for place in places {
        let counted = each(place, options, log::Level::Warn, &mut |wanted| {
            (count, bytes) = (count + 1, bytes.saturating_add(wanted.stat.size));
            Ok(())
        });
        match counted {
            Ok(()) => searched.push(place),
            Err(error) => terminal::complain(&error.to_string()),
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let bar = terminal::progress_bar(bytes);
    let destination = Destination::open(options.to, options.all_xattrs)?;
    let mut report = Report::begin(&destination, images)?;
    for place in &searched {
        let mut writer = Writer::new(place, &destination, options.partial, &bar);
        each(place, options, log::Level::Debug, &mut |file| {
            let item = writer.item(&file, &mut report.totals.bytes);
            if let Some(why) = &item.why {
                bar.suspend(|| {
                    let path = terminal::clean(&file.path);
                    terminal::complain(&format!("{}:/{path}: {why}", place.name));
                });
            }
            report.add(&item)
        })?;
        writer.finish_directories();
    }
    bar.finish_and_clear();
    let name = report.name.clone();
    let (totals, not_searched) = (report.finish()?, places.len() - searched.len());
    Ok(Some(Recovered { totals, report: name, not_searched }))
}
