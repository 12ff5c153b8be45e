//! How far an image is decompressed, as a bar on the terminal while nothing is served yet.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use images::compressed::progress::{Progress, watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// Work that takes no longer is not worth a bar.
const SHORT: Duration = Duration::from_millis(500);

/// The work that goes on, and the bar once there is one.
static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

struct Shown {
    file: String,
    begin: Instant,
    bar: Option<ProgressBar>,
}

/// From now on a bar shows long work, if standard error is a terminal.
pub fn show() {
    if terminal::is_shown() {
        watch(Some(draw));
    }
}

/// No bar from now on: the terminal belongs to others.
pub fn hide() {
    watch(None);
    clear(&mut SHOWN.lock().unwrap_or_else(PoisonError::into_inner));
}

fn clear(shown: &mut Option<Shown>) {
    if let Some(Shown { bar: Some(bar), .. }) = shown.take() {
        bar.finish_and_clear();
    }
}

fn draw(progress: Progress<'_>) {
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if progress.done >= progress.size {
        return clear(&mut shown);
    }
    // A file in a file: the bar is of the one that is at work.
    if shown.as_ref().is_some_and(|shown| shown.file != progress.file) {
        clear(&mut shown);
    }
    let shown = shown.get_or_insert_with(|| Shown { file: progress.file.to_owned(), begin: Instant::now(), bar: None });
    if shown.begin.elapsed() >= SHORT {
        let bar = shown.bar.get_or_insert_with(|| bar(progress.file));
        bar.set_length(progress.size);
        bar.set_position(progress.done);
    }
}

fn bar(file: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("decompressing {msg} {bar:30} {bytes}/{total_bytes} {eta}");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(terminal::Line(file).to_string())
}
