//! The commands, one file each: the words of the command line in, a page or records out.

mod deleted;
mod filesystems;
mod history;
mod info;
mod inspect;
mod mount;
mod overview;
mod recover;
mod timeline;
mod unmount;

use images::Result;

use crate::cli::{Cli, Command, Request};
use crate::terminal;

/// Carries a request out and returns the exit status.
pub fn run(request: &Request) -> Result<u8> {
    // A mount begins its own, in the process that serves.
    if request.cli.command.is_some() || request.cli.is_overview() {
        let images = request.images();
        terminal::start_log(images.verbose, images.trace);
    }
    match &request.cli.command {
        None if request.cli.is_overview() => overview::run(request).map(|()| 0),
        None => mount::run(request),
        Some(Command::Filesystems(list)) => filesystems::run(request, list).map(|()| 0),
        Some(Command::Inspect(list)) => inspect::run(request, list).map(|()| 0),
        Some(Command::Info(options)) => info::run(options),
        Some(Command::Deleted(options)) => deleted::run(request, options),
        Some(Command::Recover(options)) => recover::run(request, options),
        Some(Command::Timeline(options)) => timeline::run(request, options),
        Some(Command::History(options)) => history::run(request, options).map(|()| 0),
        Some(Command::Unmount(options)) => Ok(unmount::run(options)),
        Some(Command::Man) => print(&Cli::manual()?),
        Some(Command::Completions { shell }) => print(&Cli::completions(*shell)),
    }
}

/// Prints text of the program itself.
fn print(text: &str) -> Result<u8> {
    let mut page = terminal::Page::default();
    page.lines(text);
    terminal::print(&page).map(|()| 0)
}
