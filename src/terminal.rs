//! What people and other programs see: standard output, messages, sizes.

use std::io::{self, Write};

use images::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Prints all of `text`. A reader that went away has seen what it wanted: that is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
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
    print(&(text + "\n"))
}

/// Standard output for many lines: what comes after the reader went away is not written.
pub struct Output {
    out: io::BufWriter<io::StdoutLock<'static>>,
    gone: bool,
}

impl Output {
    /// Takes standard output.
    pub fn open() -> Self {
        Self { out: io::BufWriter::new(io::stdout().lock()), gone: false }
    }

    /// Writes these bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
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
        let json =
            serde_json::to_vec(value).map_err(|error| Error::io("cannot write JSON", io::Error::other(error)))?;
        self.out.write(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        self.out.write(&json)
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<()> {
        self.out.write(if self.empty { b"]\n" } else { b"\n]\n" })?;
        self.out.finish()
    }
}

/// Says an error on standard error, in one line under the program's name.
pub fn complain(error: &impl std::fmt::Display) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "imgmount: {error}");
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
    builder.filter_level(level).format(|out, record| match record.level() {
        log::Level::Error => writeln!(out, "imgmount: {}", record.args()),
        log::Level::Warn => writeln!(out, "imgmount: warning: {}", record.args()),
        log::Level::Info => writeln!(out, "imgmount: {}", record.args()),
        _ => writeln!(out, "imgmount: {}: {}", record.target(), record.args()),
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

/// Bytes of an image as text that does no harm to a terminal or a table: one line, no control characters.
pub fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// A table of left-aligned columns without lines; a head is just its first row.
pub fn table(rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
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

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean(b"a\x1b[31m\nb\xff"), "a\u{fffd}[31m\u{fffd}b\u{fffd}");
    }

    #[test]
    fn tables_are_aligned_and_not_padded_at_the_end() {
        let text = table(vec![vec!["A".into(), "B".into()], vec!["long".into(), "x".into()]]);
        assert_eq!(text, "A     B\nlong  x\n");
    }
}
