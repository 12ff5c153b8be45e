//! The file systems of a mount that are written: made durable in time, and closed at the end.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use filesystems::FileSystem;
use images::{Error, Result};

/// How long a change may wait until it is made durable without anybody asking for it: the kernel's `commit=5` of ext4.
pub const COMMIT: Duration = Duration::from_secs(5);

/// What the pipe of a mount says when no more requests come.
pub const ENDED: &str = "ended\n";

/// What it says then when everything is durable; else it says the error.
pub const DURABLE: &str = "durable\n";

/// The file systems, and whether one of them was changed since it was last made durable.
#[derive(Default)]
pub struct Written {
    file_systems: Vec<Arc<dyn FileSystem>>,
    changed: AtomicBool,
}

impl Written {
    pub fn new(file_systems: Vec<Arc<dyn FileSystem>>) -> Self {
        Self { file_systems, changed: AtomicBool::new(false) }
    }

    /// Whether there is none: the mount is read-only.
    pub fn is_empty(&self) -> bool {
        self.file_systems.is_empty()
    }

    /// Notes that something is about to change.
    pub fn will_change(&self) {
        // Only a hint for the timer; whoever needs to know asks for a sync.
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Makes durable what was changed since the last time. That it fails is said in the log, and to all who sync.
    pub fn commit(&self) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        for fs in &self.file_systems {
            if let Err(error) = fs.writer(fs.root()).and_then(|writer| writer.sync(None, false)) {
                log::error!("not everything that was written is durable: {error}");
            }
        }
    }

    /// Closes all of them; the error is the first one's, the others are in the log.
    pub fn close(&self) -> Result<()> {
        let mut result = Ok(());
        for fs in &self.file_systems {
            if let Err(error) = fs.writer(fs.root()).and_then(|writer| writer.close()) {
                match result {
                    Ok(()) => result = Err(error),
                    Err(_) => log::error!("not everything that was written is durable: {error}"),
                }
            }
        }
        result
    }
}

/// How `imgmount unmount` learns what came of the last writes: a pipe of this process, which the kernel lets those open who may
/// look into it (`/proc/PID/fd/N`): its user and root. It ends with the process, whatever ends that.
pub struct Report {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Report {
    pub fn new() -> Result<Self> {
        let (reader, writer) = io::pipe().map_err(|error| Error::io("cannot make a pipe", error))?;
        Ok(Self { reader, writer })
    }

    /// The number of the end that is read, as the mount's root tells it.
    pub fn number(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Says that no more requests come.
    pub fn ended(&mut self) {
        self.say(ENDED);
    }

    /// Says what came of closing.
    pub fn closed(&mut self, result: &Result<()>) {
        match result {
            Ok(()) => self.say(DURABLE),
            Err(error) => self.say(&format!("{error}\n")),
        }
    }

    fn say(&mut self, text: &str) {
        // It cannot fail: this process has the other end. Nor wait: what is said is short.
        let short: String = text.chars().take(1000).collect();
        let _ = self.writer.write_all(short.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use filesystems::Memory;

    use super::*;

    #[test]
    fn all_are_closed_and_the_first_error_counts() {
        let memory = || Arc::new(Memory::new(1 << 20));
        let (one, other) = (memory(), memory());
        let written = Written::new(vec![one.clone(), other.clone()]);
        written.will_change();
        written.commit();
        written.close().unwrap();
        assert!(one.is_closed() && other.is_closed() && !written.is_empty());
    }
}
