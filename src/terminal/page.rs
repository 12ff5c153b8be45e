//! What standard output shows to people: lines and tables, in which every text is escaped.

use std::fmt::Display;

use super::escape::Line;

/// Lines for people. The only way onto it escapes: no text of an image can begin a line of its own, or talk to the
/// terminal.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Adds one line.
    pub fn line(&mut self, text: impl Display) {
        self.0 += &Line(text).to_string();
        self.0.push('\n');
    }

    /// Adds text of this program, which has lines: a manual page, completions.
    pub fn lines(&mut self, text: &str) {
        text.lines().for_each(|line| self.line(line));
    }

    /// Adds a table of left-aligned columns without lines; a head is just its first row.
    pub fn table(&mut self, rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| Line(cell).to_string())));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.0 += line.trim_end();
            self.0.push('\n');
        }
    }

    /// What is on it.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_not_padded_at_the_end() {
        let mut page = Page::default();
        page.table(vec![vec!["A".into(), "B".into()], vec!["long".into(), "x".into()]]);
        assert_eq!(page.text(), "A     B\nlong  x\n");
    }

    #[test]
    fn no_text_begins_a_line_of_its_own() {
        let mut page = Page::default();
        page.line("a\nb\u{85}c\u{2028}");
        page.table([vec!["1\n2".to_owned(), "\u{1b}[2J\t".to_owned()]]);
        page.lines("two\nlines\u{1b}\n");
        assert_eq!(page.text(), "a\\nb\\u{85}c\\u{2028}\n1\\n2  \\u{1b}[2J\\t\ntwo\nlines\\u{1b}\n");
    }
}
