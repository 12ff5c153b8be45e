//! The golden images, made anew by the scripts beside them.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::command::{command, pass_through};
use crate::packages::{self, Purpose};
use crate::workspace;

/// Runs `make.sh` of this folder with the programs that are listed for golden images, and no others.
pub fn make(folder: &Path, arguments: &[String]) -> Result<()> {
    let script = workspace::root().join(folder).join("make.sh");
    ensure!(script.is_file(), "there is no {}", script.display());
    packages::ensure(Purpose::Golden)?;
    let mut script = command(script, arguments);
    // That of the demo writes down what the kernel shows of it, as a walk does.
    pass_through(script.env("PATH", toolbox::search_path()).env("XTASK", std::env::current_exe()?))
}
