//! `imgmount IMAGE`: what is in an image, and how to mount it.

use images::Result;

use super::{filesystems, inspect};
use crate::cli::Request;
use crate::inspect::Inspection;
use crate::session::Input;
use crate::stack::Stack;
use crate::terminal;

/// How many systems or file systems are named as what could be mounted; ours.
const MOST_NAMED: usize = 8;

/// Prints the systems, every device, and the words that mount them.
pub fn run(request: &Request) -> Result<()> {
    let stack = request.session.open_asking(|_, _| true)?;
    let inspection = crate::inspect::inspect(&stack)?;
    for warning in inspection.guests.iter().flat_map(|guest| &guest.warnings) {
        log::warn!("{warning}");
    }
    let mut page = terminal::Page::default();
    inspect::show_systems(&mut page, &stack, &inspection.guests);
    page.table(filesystems::rows(&stack));
    page.line("");
    // The program's name, and the image.
    if request.words.as_slice().len() > 2 {
        page.line("With the same options:");
    }
    page.table(how_to_mount(request, &stack, &inspection));
    terminal::print(&page)
}

fn how_to_mount(request: &Request, stack: &Stack, inspection: &Inspection) -> Vec<Vec<String>> {
    let image = request.session.inputs().iter().find_map(|input| match input {
        Input::Image(image) => Some(quoted(&image.path.display().to_string())),
        Input::Guest(_) => None,
    });
    let image = image.unwrap_or_default();
    let row = |what: &str, words: String| vec![what.to_owned(), format!("imgmount {words}")];
    let name = |at: usize| quoted(&stack.devices[at].name);
    let mut rows = Vec::new();
    match &inspection.guests[..] {
        [] => {
            let readable = inspection.volumes.iter().filter(|volume| volume.used.is_ok());
            for volume in readable.take(MOST_NAMED) {
                rows.push(row("mount this file system:", format!("{image} -m {} DIRECTORY", name(volume.at))));
            }
        }
        [_] => rows.push(row("mount it:", format!("{image} DIRECTORY"))),
        several => {
            for guest in several.iter().take(MOST_NAMED) {
                rows.push(row("mount this system:", format!("{image} -i --root {} DIRECTORY", name(guest.root))));
            }
        }
    }
    if rows.is_empty() {
        rows.push(row("mount its disks as files:", format!("{image} --blocks DIRECTORY")));
    }
    rows.push(row("unmount:", "unmount DIRECTORY".to_owned()));
    rows
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+:=@%,".contains(c);
    let word = if word.starts_with('-') { format!("./{word}") } else { word.to_owned() };
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        for (word, want) in [
            ("vm.qcow2", "vm.qcow2"),
            ("my disk.img", "'my disk.img'"),
            ("it's", "'it'\\''s'"),
            ("-a", "./-a"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), want);
        }
    }
}
