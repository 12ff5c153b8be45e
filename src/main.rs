//! imgmount: opens disk images and shows the guest's own tree.

use std::process::ExitCode;

use imgmount::cli::Request;
use imgmount::words::Words;
use imgmount::{commands, progress, terminal};
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
    let result = request.and_then(|request| commands::run(&request));
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
