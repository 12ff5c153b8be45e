//! What people and other programs see: standard output, messages, sizes. No other module writes to either, which clippy
//! checks; what is for people goes out escaped, see [`Page`] and [`Line`].
//!
//! What is for programs is exact: JSON by its own escapes, a body file as it is but where standard output is a terminal.

#![allow(clippy::disallowed_methods, reason = "this is the door")]

mod escape;
mod page;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use images::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use escape::{Line, clean, is_harmful};
pub use page::Page;

/// Prints a page. A reader that went away has seen what it wanted: that is no error.
pub fn print(page: &Page) -> Result<()> {
    let mut out = Output::open();
    out.write(page.text().as_bytes())?;
    out.finish()
}

/// Whether standard error is a terminal.
pub fn is_shown() -> bool {
    io::stderr().is_terminal()
}

/// A bar for so many bytes on standard error, if that is a terminal.
pub fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Prints a value as indented JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Error::io("cannot write JSON", io::Error::other(error)))?;
    let mut out = Output::open();
    out.write(escape::json(&text).as_bytes())?;
    out.write(b"\n")?;
    out.finish()
}

/// A value as JSON in one line.
pub fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::io("cannot write JSON", io::Error::other(error)))?;
    Ok(escape::json(&text))
}

/// Standard output for many lines: what comes after the reader went away is not written.
pub struct Output {
    out: io::BufWriter<io::StdoutLock<'static>>,
    is_terminal: bool,
    gone: bool,
}

impl Output {
    /// Takes standard output.
    pub fn open() -> Self {
        let out = io::stdout().lock();
        Self { is_terminal: out.is_terminal(), out: io::BufWriter::new(out), gone: false }
    }

    /// Writes a line for people.
    pub fn line(&mut self, text: impl Display) -> Result<()> {
        self.write(format!("{}\n", Line(text)).as_bytes())
    }

    /// Writes a line for programs, without its end: exactly these bytes; to a terminal, as for people.
    pub fn record(&mut self, line: &[u8]) -> Result<()> {
        if self.is_terminal {
            return self.line(clean(line));
        }
        self.write(line)?;
        self.write(b"\n")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.gone {
            let written = self.out.write_all(bytes);
            self.check(written)?;
        }
        Ok(())
    }

    /// Whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Writes what is still to be written.
    pub fn finish(mut self) -> Result<()> {
        let flushed = if self.gone { Ok(()) } else { self.out.flush() };
        self.check(flushed)
    }

    fn check(&mut self, written: io::Result<()>) -> Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.gone = true,
            Err(error) => return Err(Error::io("cannot write to standard output", error)),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// A JSON array on standard output, one value after the other.
pub struct JsonArray {
    out: Output,
    empty: bool,
}

impl JsonArray {
    /// Begins the array.
    pub fn open() -> Result<Self> {
        let mut out = Output::open();
        out.write(b"[")?;
        Ok(Self { out, empty: true })
    }

    /// Adds a value, on a line of its own.
    pub fn push(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let json = json(value)?;
        self.out.write(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        self.out.write(json.as_bytes())
    }

    /// Whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        self.out.is_gone()
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<()> {
        self.out.write(if self.empty { b"]\n" } else { b"\n]\n" })?;
        self.out.finish()
    }
}

/// Says an error on standard error, in one line under the program's name.
pub fn complain(error: &impl Display) {
    say("imgmount: ", error);
}

/// Says something on standard error, in one line that begins so.
pub fn say(begin: &str, text: &impl Display) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{begin}{}", Line(text));
}

/// Says what is wrong with the command line, which clap explains in several lines. The words may be names of files that
/// somebody else chose.
pub fn explain(usage: &clap::Error) {
    usage.render().to_string().lines().for_each(|line| say("", &line));
}

/// Messages of all crates go to standard error; `verbose` counts `-v`, `trace` is `-x`.
pub fn start_log(verbose: u8, trace: bool) {
    let level = match (verbose, trace) {
        (_, true) => log::LevelFilter::Trace,
        (0, _) => log::LevelFilter::Warn,
        (1, _) => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).format(|out, record| {
        let text = Line(record.args());
        match record.level() {
            log::Level::Error | log::Level::Info => writeln!(out, "imgmount: {text}"),
            log::Level::Warn => writeln!(out, "imgmount: warning: {text}"),
            _ => writeln!(out, "imgmount: {}: {text}", record.target()),
        }
    });
    // A second start keeps the first: only tests do that.
    let _ = builder.try_init();
}

/// A size for people: `512 B`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: &[&str] = &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 && value.fract() >= 0.05 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_or_more() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
