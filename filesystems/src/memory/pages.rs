//! The content of a file: the pages that were written, all others are holes.

use std::collections::BTreeMap;
use std::ops::Range;

/// The size of a page in bytes.
pub const PAGE: usize = 4096;

/// Pages by their number.
#[derive(Clone, Default)]
pub struct Pages(BTreeMap<u64, Box<[u8; PAGE]>>);

impl Pages {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// How many more there would be if all in these bytes were.
    pub fn missing(&self, bytes: &Range<u64>) -> u64 {
        let numbers = numbers(bytes);
        numbers.end - numbers.start - self.0.range(numbers).count() as u64
    }

    /// Whether the byte at `offset` lies in one.
    pub fn is_there(&self, offset: u64) -> bool {
        self.0.contains_key(&(offset / PAGE as u64))
    }

    /// Fills `buf` from `offset` on.
    pub fn read(&self, buf: &mut [u8], offset: u64) {
        for (at, piece) in pieces(offset, buf.len()) {
            let (page, inside) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let out = &mut buf[piece];
            match self.0.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[inside..inside + out.len()]),
                None => out.fill(0),
            }
        }
    }

    /// Writes all of `data` at `offset`.
    pub fn write(&mut self, data: &[u8], offset: u64) {
        for (at, piece) in pieces(offset, data.len()) {
            let (page, inside) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let data = &data[piece];
            self.page(page)[inside..inside + data.len()].copy_from_slice(data);
        }
    }

    /// Makes every page in these bytes, with zeros.
    pub fn fill(&mut self, bytes: &Range<u64>) {
        for number in numbers(bytes) {
            self.page(number);
        }
    }

    /// Zeros in these bytes: whole pages are no more, others are changed.
    pub fn zero(&mut self, bytes: &Range<u64>) {
        let touched: Vec<u64> = self.0.range(numbers(bytes)).map(|(number, _)| *number).collect();
        for number in touched {
            let start = number * PAGE as u64;
            let from = bytes.start.saturating_sub(start).min(PAGE as u64) as usize;
            let to = (bytes.end - start).min(PAGE as u64) as usize;
            if from == 0 && to == PAGE {
                self.0.remove(&number);
            } else {
                self.page(number)[from..to].fill(0);
            }
        }
    }

    /// Moves all pages from `from` on by so many pages.
    pub fn shift(&mut self, from: u64, by: i64) {
        let moved = self.0.split_off(&from);
        self.0.extend(moved.into_iter().map(|(number, page)| (number.saturating_add_signed(by), page)));
    }

    fn page(&mut self, number: u64) -> &mut [u8; PAGE] {
        self.0.entry(number).or_insert_with(|| Box::new([0; PAGE]))
    }
}

/// The pages that these bytes touch.
fn numbers(bytes: &Range<u64>) -> Range<u64> {
    if bytes.is_empty() { 0..0 } else { bytes.start / PAGE as u64..bytes.end.div_ceil(PAGE as u64) }
}

/// A range of bytes, cut where pages begin: where each piece lies, and which part of the whole it is.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let piece = done..len.min(done + PAGE - (at % PAGE as u64) as usize);
        done = piece.end;
        (!piece.is_empty()).then_some((at, piece))
    })
}
