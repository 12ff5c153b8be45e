//! Outside programs: run, with their whole command line and what they said in every error.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// A command with its arguments: an outside program by name, an own one by its path.
pub fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = toolbox::command(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command silently; its output is in the error when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command and returns its standard output as text.
pub fn read(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// Runs a command that may write to the terminal.
pub fn pass_through(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    interrupt::check()?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns all that it gave, whatever its exit code.
pub fn any_output(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| cannot_start(command))?;
    interrupt::check()?;
    Ok(output)
}

fn output(command: &mut Command) -> Result<Output> {
    let output = any_output(command)?;
    if !output.status.success() {
        let said = [&output.stderr[..], &output.stdout[..]].concat();
        bail!("`{}` failed: {}\n{}", line(command), output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(output)
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}` (see `cargo xtask setup`)", line(command))
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_typed_again() {
        assert_eq!(line(&command("ls", ["-l", "a b", "it's", ""])), r"ls -l 'a b' 'it'\''s' ''");
    }

    #[test]
    fn an_error_names_the_command_and_what_it_said() {
        let error = run(&mut command("sh", ["-c", "echo lost >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("lost"), "{error}");
    }
}
