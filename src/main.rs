//! imgmount: opens disk images and shows the guest's own tree.

use std::process::ExitCode;

use images::Result;
use imgmount::cli::{Cli, Command, Request};
use imgmount::words::Words;
use imgmount::{commands, progress, terminal, unmount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    allow_many_files();
    let words = match Words::typed() {
        Ok(words) => words,
        Err(error) => {
            terminal::complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let request = match Request::parse(words) {
        Ok(request) => request,
        Err(shown) => {
            if shown.use_stderr() {
                terminal::explain(&shown);
                return ExitCode::FAILURE;
            }
            // --help and --version come this way too, for standard output; a closed one is no failure.
            let _ = shown.print();
            return ExitCode::SUCCESS;
        }
    };
    progress::show();
    let result = request.and_then(run);
    progress::hide();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            terminal::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Raises the limit of open files as far as that is allowed: by default it is often 1024, and an image can consist of more
/// (an E01 of 2 TB has a thousand segments). Where it stays low, opening such an image says so.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        log::debug!("the limit of open files stays as it is: {error}");
    }
}

/// Carries a request out and returns the exit status.
fn run(request: Request) -> Result<u8> {
    match &request.cli.command {
        None => commands::mount::run(&request),
        Some(Command::Filesystems(list)) => commands::filesystems::run(&request, list).map(|()| 0),
        Some(Command::Inspect(list)) => commands::inspect::run(&request, list).map(|()| 0),
        Some(Command::Info(options)) => commands::info::run(options),
        Some(Command::Deleted(options)) => commands::deleted::run(&request, options),
        Some(Command::Recover(options)) => commands::recover::run(&request, options),
        Some(Command::Timeline(options)) => commands::timeline::run(&request, options),
        Some(Command::History(options)) => commands::history::run(&request, options).map(|()| 0),
        Some(Command::Unmount(options)) => {
            let retries = if options.no_retry { 0 } else { options.retry };
            let (directory, fd) = (options.directory.clone(), options.fd);
            let (quiet, verbose) = (options.quiet, options.verbose);
            Ok(unmount::run(&unmount::Request { directory, fd, quiet, verbose, retries }))
        }
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
