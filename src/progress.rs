//! How far long work is, as a bar on the terminal while nothing is served yet: decompression, key derivation.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use images::progress::{Progress, watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// Work that takes no longer is not worth a bar.
const SHORT: Duration = Duration::from_millis(500);

/// How often the time is drawn where nothing says how far the work is.
const TICK: Duration = Duration::from_millis(200);

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
    if progress.size == 1 {
        shown.bar.get_or_insert_with(|| spinner(progress));
    } else if shown.begin.elapsed() >= SHORT {
        let bar = shown.bar.get_or_insert_with(|| bar(progress));
        bar.set_length(progress.size);
        bar.set_position(progress.done);
    }
}

fn bar(progress: Progress<'_>) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {msg} {bar:30} {bytes}/{total_bytes} {eta}");
    drawn(style.unwrap_or_else(|_| ProgressStyle::default_bar()), progress)
}

/// Of work that does not say how far it is.
fn spinner(progress: Progress<'_>) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {msg} {spinner} {elapsed}");
    let spinner = drawn(style.unwrap_or_else(|_| ProgressStyle::default_spinner()), progress);
    spinner.enable_steady_tick(TICK);
    spinner
}

fn drawn(style: ProgressStyle, progress: Progress<'_>) -> ProgressBar {
    let message = match progress.detail {
        "" => terminal::Line(progress.file).to_string(),
        detail => format!("{} ({detail})", terminal::Line(progress.file)),
    };
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix(progress.what.to_owned())
        .with_message(message)
}
