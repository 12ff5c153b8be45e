//! `imgmount recover`: writes deleted files to a directory, as whole as they are, and a report.

use std::path::Path;

use images::Result;

use crate::cli;
use crate::place::Place;
use crate::recover::{Options, origin, recover};
use crate::terminal;

/// The exit status where not everything that was asked for was written.
const INCOMPLETE: u8 = 2;

/// Recovers what the command line asks for. The value is the exit status.
pub fn run(request: &cli::Request, options: &cli::Recover) -> Result<u8> {
    let stack = request.session.open()?;
    let places = options.places.selection()?.file_systems(&stack)?;
    origin::check(&options.to)?;
    let images: Vec<_> = request.session.images()?.iter().map(|image| image.path.as_path()).collect();
    run_on(&places, &images, options)
}

/// The same with these file systems.
fn run_on(places: &[Place], images: &[&Path], options: &cli::Recover) -> Result<u8> {
    let cli::Recover { to, partial, living, all_xattrs, filters, .. } = options;
    let (partial, living, all_xattrs) = (*partial, *living, *all_xattrs);
    let asked = Options { to, partial, living, all_xattrs, filter: filters.filter() };
    let Some(recovered) = recover(places, images, &asked)? else {
        terminal::complain(&"no deleted file was found that is asked for; `imgmount deleted` lists them");
        return Ok(INCOMPLETE);
    };
    let totals = recovered.totals;
    let mut text = format!("{} recovered", totals.recovered);
    for (count, what) in [
        (totals.unproven, "unproven"),
        (totals.partial, "in part"),
        (totals.skipped, "skipped"),
        (totals.failed, "failed"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    let written = terminal::size(totals.bytes);
    let mut page = terminal::Page::default();
    page.line(format_args!("{text}, {written} written; see {}", to.join(recovered.report).display()));
    terminal::print(&page)?;
    let incomplete = recovered.not_searched > 0 || totals.partial + totals.skipped + totals.failed > 0;
    Ok(if incomplete { INCOMPLETE } else { 0 })
}

#[cfg(test)]
mod tests;
