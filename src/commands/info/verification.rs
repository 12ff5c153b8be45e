//! `--verify`: the hashes that an image stores, compared with what is there.

use std::path::Path;

use images::Result;
use images::verify::{self, Outcome, Stored, hex};
use serde_json::{Value, json};

use crate::terminal;

/// What came of the hashes of one image.
pub struct Verification(Vec<(Stored, Outcome)>);

impl Verification {
    /// Reads all that the image has hashes of, with a bar on a terminal.
    pub fn of(path: &Path, options: &images::Options) -> Result<Self> {
        let stored = verify::stored(path, options)?;
        let bar = terminal::progress_bar(verify::size(&stored));
        let outcomes = verify::check(&stored, &mut |bytes| bar.inc(bytes));
        bar.finish_and_clear();
        Ok(Self(stored.into_iter().zip(outcomes).collect()))
    }

    /// Whether a hash is not right, or what it is of cannot be read.
    pub fn has_failed(&self) -> bool {
        self.0.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Same))
    }

    /// The rows of the table: one for each hash.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let row = |text: String| vec!["verified".to_owned(), text];
        if self.0.is_empty() {
            return vec![row("nothing: the image stores no hashes".to_owned())];
        }
        let of = |stored: &Stored| match &stored.file {
            Some(file) => format!("{} of {}", stored.algorithm.name(), file),
            None => stored.algorithm.name().to_owned(),
        };
        let text = |(stored, outcome): &(Stored, Outcome)| match outcome {
            Outcome::Same => format!("{}: right ({})", of(stored), hex(&stored.value)),
            Outcome::Differs(found) => {
                format!("{}: WRONG, stored is {}, computed {}", of(stored), hex(&stored.value), hex(found))
            }
            Outcome::Unreadable(error) => {
                format!("{}: NOT READ, {}", of(stored), error)
            }
        };
        self.0.iter().map(|one| row(text(one))).collect()
    }

    /// A list with an object for each hash; empty if the image stores none.
    pub fn json(&self) -> Value {
        let object = |(stored, outcome): &(Stored, Outcome)| {
            let (result, computed, problem) = match outcome {
                Outcome::Same => ("same", Some(hex(&stored.value)), None),
                Outcome::Differs(found) => ("differs", Some(hex(found)), None),
                Outcome::Unreadable(error) => ("unreadable", None, Some(error.to_string())),
            };
            json!({
                "file": stored.file,
                "algorithm": stored.algorithm.name().to_ascii_lowercase(),
                "stored": hex(&stored.value),
                "computed": computed,
                "result": result,
                "problem": problem,
            })
        };
        self.0.iter().map(object).collect()
    }
}
