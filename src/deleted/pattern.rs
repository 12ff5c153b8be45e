//! Patterns for paths, as shells have them.

/// A pattern: `*` and `?` match any bytes but `/`, `**` any bytes, `[a-z]` and `[!a-z]` one byte.
///
/// A pattern without `/` is for the last name of a path, others are for the whole path. What lies below a directory
/// that matches, matches.
#[derive(Clone, Debug)]
pub struct Pattern {
    items: Vec<Item>,
    whole: bool,
}

#[derive(Clone, Debug)]
enum Item {
    Byte(u8),
    /// One byte that is not a slash.
    One,
    /// Any number of bytes; of slashes too, if set.
    Many(bool),
    /// One byte, in (or, if set, not in) these ranges.
    Of(bool, Vec<(u8, u8)>),
}

impl Pattern {
    /// Reads a pattern. `\` makes the byte after it stand for itself.
    pub fn new(text: &str) -> Self {
        let whole = text.contains('/');
        let mut rest = text.trim_matches('/').as_bytes();
        let mut items = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            items.push(match byte {
                b'*' if rest.first() == Some(&b'*') => {
                    rest = &rest[1..];
                    // `a/**/b` is also `a/b`.
                    if items.last().is_none_or(|item| matches!(item, Item::Byte(b'/')))
                        && let [b'/', tail @ ..] = rest
                    {
                        rest = tail;
                    }
                    Item::Many(true)
                }
                b'*' => Item::Many(false),
                b'?' => Item::One,
                b'[' => match class(rest) {
                    Some((item, tail)) => {
                        rest = tail;
                        item
                    }
                    None => Item::Byte(b'['),
                },
                b'\\' => match rest.split_first() {
                    Some((&next, tail)) => {
                        rest = tail;
                        Item::Byte(next)
                    }
                    None => Item::Byte(b'\\'),
                },
                byte => Item::Byte(byte),
            });
        }
        Self { items, whole }
    }

    /// Whether a path, without a slash at its start, matches, or a directory above it does.
    pub fn matches(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| {
            let path = &path[..end];
            let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            self.matches_all(if self.whole { path } else { &path[name..] })
        })
    }

    /// All items at once, so that the time is bounded by the product of the two lengths.
    fn matches_all(&self, text: &[u8]) -> bool {
        let mut reached = vec![false; self.items.len() + 1];
        reached[0] = true;
        self.pass_over_empty(&mut reached);
        for &byte in text {
            let mut next = vec![false; reached.len()];
            for (at, item) in self.items.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match item {
                    Item::Byte(wanted) => next[at + 1] |= *wanted == byte,
                    Item::One => next[at + 1] |= byte != b'/',
                    Item::Many(slashes) => next[at] |= *slashes || byte != b'/',
                    Item::Of(not, ranges) => {
                        let inside = ranges.iter().any(|(first, last)| (*first..=*last).contains(&byte));
                        next[at + 1] |= byte != b'/' && inside != *not;
                    }
                }
            }
            self.pass_over_empty(&mut next);
            reached = next;
        }
        reached[self.items.len()]
    }

    fn pass_over_empty(&self, reached: &mut [bool]) {
        for (at, item) in self.items.iter().enumerate() {
            if reached[at] && matches!(item, Item::Many(_)) {
                reached[at + 1] = true;
            }
        }
    }
}

/// What follows `[`, up to the `]`.
fn class(text: &[u8]) -> Option<(Item, &[u8])> {
    let (not, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    loop {
        match rest {
            [b']', tail @ ..] if !ranges.is_empty() => return Some((Item::Of(not, ranges), tail)),
            [first, b'-', last, tail @ ..] if *last != b']' => {
                ranges.push((*first, *last));
                rest = tail;
            }
            [byte, tail @ ..] => {
                ranges.push((*byte, *byte));
                rest = tail;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, want) in [
            ("*.txt", "root/draft.txt", true),
            ("*.txt", "draft.txt", true),
            ("*.txt", "draft.txt.gz", false),
            ("draft", "root/draft.txt", false),
            ("letters", "root/letters/1.txt", true),
            ("/root/*", "root/letters/1.txt", true),
            ("/root/*.txt", "root/letters/1.txt", false),
            ("/root/**.txt", "root/letters/1.txt", true),
            ("root/**/1.txt", "root/letters/old/1.txt", true),
            ("root/**/1.txt", "root/1.txt", true),
            ("**/1.txt", "1.txt", true),
            ("/1.txt", "root/1.txt", false),
            ("/root", "root/1.txt", true),
            ("/root/", "root/1.txt", true),
            ("/roo", "root/1.txt", false),
            ("[0-9].txt", "a/1.txt", true),
            ("[!0-9].txt", "a/1.txt", false),
            ("[!0-9].txt", "a/x.txt", true),
            ("[]x].txt", "a/].txt", true),
            ("a[", "a[", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("?", "\u{e9}", false),
            ("??", "\u{e9}", true),
            ("/", "anything", false),
            ("**", "any/thing", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(path.as_bytes()), want, "{pattern} {path}");
        }
    }

    #[test]
    fn time_is_bounded() {
        let pattern = Pattern::new(&"*a".repeat(200));
        assert!(!pattern.matches(&[b'a'; 199]));
        assert!(!pattern.matches(&[[b'a'; 250].as_slice(), b"b"].concat()));
    }
}
