//! The options of the commands that look for what was deleted.

use std::path::PathBuf;

use clap::Args;
use filesystems::{State, Time};

use super::Places;
use super::size::bytes;
use crate::deleted::{Filter, Pattern};

/// Which of the deleted files.
#[derive(Args, Debug, Default)]
pub struct Filters {
    /// Only what was deleted at or after this time: 2026-11-21, 2026-11-21T08:00:00Z or @SECONDS, in UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    deleted_after: Option<Time>,
    /// Only what was deleted before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    deleted_before: Option<Time>,
    /// Only files of at least this size, in bytes or as 10K, 5M, 1G
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    min_size: Option<u64>,
    /// Only files of at most this size
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_size: Option<u64>,
    /// Only files in this state: intact, unproven, partial, overwritten, metadata-only; may be repeated
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<State>,
    /// Older versions of the files too, as name#inode@N
    #[arg(long)]
    versions: bool,
    /// Only these paths. A pattern without / is for the name, others for the whole path and all below it; * and ?
    /// do not match /, ** does
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Filters {
    /// What they ask for.
    pub fn filter(&self) -> Filter {
        Filter {
            patterns: self.patterns.iter().map(|text| Pattern::new(text)).collect(),
            after: self.deleted_after,
            before: self.deleted_before,
            sizes: self.min_size.unwrap_or(0)..=self.max_size.unwrap_or(u64::MAX),
            states: self.state.clone(),
            versions: self.versions,
        }
    }
}

/// The options of `deleted`.
#[derive(Args, Debug)]
pub struct Deleted {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub places: Places,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub filters: Filters,
    /// Print JSON with all evidence instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The options of `recover`.
#[derive(Args, Debug)]
pub struct Recover {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub places: Places,
    /// Write the files to this directory, which is made if it is not there; no file in it is ever overwritten
    #[arg(long, value_name = "DIRECTORY")]
    pub to: PathBuf,
    /// Also files of which only a part is left: what is gone is a hole in them, and named in the report
    #[arg(long)]
    pub partial: bool,
    /// Also earlier versions of files that still exist, as name#inode@N with the N of `history`. Wants a PATTERN: every
    /// file that matches is a search of its own
    #[arg(long, requires = "patterns")]
    pub living: bool,
    /// Also set the attributes security.* and trusted.* of the files: the kernel of this host acts on them, as on labels
    /// of SELinux. Capabilities and set-user-id bits are never set
    #[arg(long)]
    pub all_xattrs: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub filters: Filters,
}

/// The options of `timeline`.
#[derive(Args, Debug)]
pub struct Timeline {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub places: Places,
    /// Print JSON instead of a body file
    #[arg(long)]
    pub json: bool,
}

/// The options of `history`.
#[derive(Args, Debug)]
pub struct History {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub places: Places,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// The file, as it is called now or was called when it was deleted
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| "want 2026-11-21, 2026-11-21T08:00:00Z or @SECONDS, in UTC".to_owned())
}

fn state(text: &str) -> Result<State, String> {
    let all = [State::Intact, State::Unproven, State::Partial, State::Overwritten, State::MetadataOnly];
    let named = |state: &State| state.to_string().replace(' ', "-") == text.replace(' ', "-");
    all.into_iter().find(named).ok_or_else(|| "want intact, unproven, partial, overwritten or metadata-only".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        assert_eq!(state("metadata-only"), Ok(State::MetadataOnly));
        assert!(state("whole").is_err());
        assert!(time("yesterday").is_err());
    }
}
