//! The grammar of LVM2's metadata text, which is that of its configuration files: sections of named values.
//!
//! `NAME = VALUE` and `NAME { … }`, where a value is a string in double quotes (with `\` escapes) or single quotes, an
//! integer, a fraction, or an array of these; `#` starts a comment. A NUL byte ends the text. What LVM2's own parser
//! tolerates but never writes is an error here: names that occur twice, bare words as values, integers beyond 64 bits.

use std::collections::HashSet;

use crate::{Error, MAX_DEPTH, MAX_TEXT_SIZE, MAX_VALUES, Result};

/// Named entries between braces, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// The entries. No two have the same name.
    pub entries: Vec<Entry>,
    /// Where the section starts.
    pub place: Place,
}

/// One entry of a [`Section`].
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name: `seqno`, or a volume group's name.
    pub name: String,
    /// Where the name lies.
    pub place: Place,
    /// What it names.
    pub content: Content,
}

/// What an [`Entry`] names.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// `NAME = VALUE`.
    Value(Value),
    /// `NAME { … }`.
    Section(Section),
}

/// What may stand after `=`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `5`
    Integer(i64),
    /// `0.5`
    Fraction(f64),
    /// `"text"`; bytes that are not UTF-8 are replaced.
    String(String),
    /// `["READ", "WRITE"]`; does not nest.
    Array(Vec<Value>),
}

/// A place in the text, for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The byte, from 0.
    pub offset: usize,
}

impl Place {
    /// An error at this place.
    pub fn error(self, why: impl Into<String>) -> Error {
        Error::Text { line: self.line, offset: self.offset, why: why.into() }
    }
}

impl Section {
    /// Parses a whole text: the section without braces that it is.
    ///
    /// ```
    /// let text = br#"vg { seqno = 3 status = ["READ", "WRITE"] } # comment"#;
    /// let section = lvm2_parser::config::Section::parse(text).unwrap();
    /// let vg = section.section("vg").unwrap();
    /// assert_eq!(vg.integer("seqno"), Ok(3));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self> {
        let place = Place { line: 1, offset: 0 };
        if text.len() as u64 > MAX_TEXT_SIZE {
            return Err(place.error(format!("{} bytes of text, at most {MAX_TEXT_SIZE} are read", text.len())));
        }
        let mut parser = Parser { text, place, token: Token::End, start: place, values: 0 };
        parser.advance()?;
        parser.entries(Token::End, place, 0)
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Content> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| &entry.content)
    }

    /// The value of this name; none if it is missing or a section.
    pub fn value(&self, name: &str) -> Option<&Value> {
        match self.get(name) {
            Some(Content::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// The section of this name; none if it is missing or a value.
    pub fn section(&self, name: &str) -> Option<&Section> {
        match self.get(name) {
            Some(Content::Section(section)) => Some(section),
            _ => None,
        }
    }

    /// The string of this name, or an error if it is missing or something else.
    pub fn string(&self, name: &str) -> Result<&str> {
        match self.value(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(self.place.error(format!("no string \"{name}\" in this section"))),
        }
    }

    /// The integer of this name, or an error if it is missing, something else, or does not fit `T`.
    pub fn integer<T: TryFrom<i64>>(&self, name: &str) -> Result<T> {
        match self.value(name) {
            Some(Value::Integer(number)) => T::try_from(*number)
                .map_err(|_| self.place.error(format!("\"{name} = {number}\" in this section is out of range"))),
            _ => Err(self.place.error(format!("no integer \"{name}\" in this section"))),
        }
    }

    /// The strings of the array of this name; one string counts as an array of one. Empty if it is missing.
    pub fn strings(&self, name: &str) -> Result<Vec<String>> {
        let one = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.place.error(format!("\"{name}\" in this section is not all strings"))),
        };
        match self.value(name) {
            Some(Value::Array(values)) => values.iter().map(one).collect(),
            Some(value) => Ok(vec![one(value)?]),
            None => Ok(Vec::new()),
        }
    }

    /// The sections in this one, with their names.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.entries.iter().filter_map(|entry| match &entry.content {
            Content::Section(section) => Some((entry.name.as_str(), section)),
            Content::Value(_) => None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    OpenArray,
    CloseArray,
    Comma,
    Equals,
    String(String),
    Number(Value),
    Word(String),
    End,
}

impl Token {
    fn describe(&self) -> String {
        match self {
            Self::Open => "'{'".into(),
            Self::Close => "'}'".into(),
            Self::OpenArray => "'['".into(),
            Self::CloseArray => "']'".into(),
            Self::Comma => "','".into(),
            Self::Equals => "'='".into(),
            Self::String(_) => "a string".into(),
            Self::Number(_) => "a number".into(),
            Self::Word(word) => format!("\"{}\"", word.chars().take(40).collect::<String>().escape_debug()),
            Self::End => "the end".into(),
        }
    }
}

struct Parser<'t> {
    text: &'t [u8],
    /// Behind the token.
    place: Place,
    token: Token,
    /// Where the token starts.
    start: Place,
    values: usize,
}

impl Parser<'_> {
    /// Entries up to `end`, which is taken.
    fn entries(&mut self, end: Token, place: Place, depth: usize) -> Result<Section> {
        let mut entries: Vec<Entry> = Vec::new();
        while self.token != end {
            self.count()?;
            let place = self.start;
            let name = match self.take()? {
                Token::Word(name) | Token::String(name) if !name.is_empty() => name,
                other => return Err(place.error(format!("{}, want a name or {}", other.describe(), end.describe()))),
            };
            let at = self.start;
            let content = match self.take()? {
                Token::Equals => Content::Value(self.value()?),
                Token::Open if depth < MAX_DEPTH => Content::Section(self.entries(Token::Close, place, depth + 1)?),
                Token::Open => return Err(at.error(format!("sections nest more than {MAX_DEPTH} deep"))),
                other => return Err(at.error(format!("{}, want '=' or '{{'", other.describe()))),
            };
            entries.push(Entry { name, place, content });
        }
        let mut names = HashSet::new();
        if let Some(entry) = entries.iter().find(|entry| !names.insert(entry.name.as_str())) {
            return Err(entry.place.error(format!("a second \"{}\" in the same section", entry.name.escape_debug())));
        }
        self.take()?;
        Ok(Section { entries, place })
    }

    fn value(&mut self) -> Result<Value> {
        if self.token != Token::OpenArray {
            return self.scalar();
        }
        self.take()?;
        let mut values = Vec::new();
        while self.token != Token::CloseArray {
            self.count()?;
            values.push(self.scalar()?);
            let at = self.start;
            match &self.token {
                Token::Comma => drop(self.take()?),
                Token::CloseArray => {}
                other => return Err(at.error(format!("{}, want ',' or ']'", other.describe()))),
            }
        }
        self.take()?;
        Ok(Value::Array(values))
    }

    fn scalar(&mut self) -> Result<Value> {
        let at = self.start;
        match self.take()? {
            Token::String(text) => Ok(Value::String(text)),
            Token::Number(number) => Ok(number),
            other => Err(at.error(format!("{}, want a value", other.describe()))),
        }
    }

    fn count(&mut self) -> Result<()> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.start.error(format!("more than {MAX_VALUES} values")));
        }
        Ok(())
    }

    /// The token, and goes on to the next.
    fn take(&mut self) -> Result<Token> {
        let token = std::mem::replace(&mut self.token, Token::End);
        // A number is only a number where a value may stand: volumes may be called "1".
        let value = matches!(token, Token::Equals | Token::OpenArray | Token::Comma);
        self.read(value)?;
        Ok(token)
    }

    fn advance(&mut self) -> Result<()> {
        self.read(false)
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.place.offset..]
    }

    fn skip_space(&mut self) {
        let mut comment = false;
        while let Some(byte) = self.rest().first().copied() {
            match byte {
                0 => return,
                b'\n' => {
                    comment = false;
                    self.place.line = self.place.line.saturating_add(1);
                }
                b'#' => comment = true,
                // C's isspace.
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {}
                _ if comment => {}
                _ => return,
            }
            self.place.offset += 1;
        }
    }

    fn read(&mut self, value: bool) -> Result<()> {
        self.skip_space();
        self.start = self.place;
        let one = |token| (token, 1);
        let (token, len) = match self.rest().first() {
            None | Some(0) => (Token::End, 0),
            Some(b'{') => one(Token::Open),
            Some(b'}') => one(Token::Close),
            Some(b'[') => one(Token::OpenArray),
            Some(b']') => one(Token::CloseArray),
            Some(b',') => one(Token::Comma),
            Some(b'=') => one(Token::Equals),
            Some(quote @ (b'"' | b'\'')) => self.read_string(*quote)?,
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') if value => self.read_number()?,
            Some(_) => {
                let ends = |byte: &u8| {
                    matches!(byte, 0 | b'#' | b'=' | b'{' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
                };
                let len = self.rest().iter().position(ends).unwrap_or(self.rest().len());
                (Token::Word(String::from_utf8_lossy(&self.rest()[..len]).into_owned()), len)
            }
        };
        self.token = token;
        self.place.offset += len;
        Ok(())
    }

    fn read_string(&mut self, quote: u8) -> Result<(Token, usize)> {
        let mut bytes = Vec::new();
        let mut lines = 0;
        let mut rest = self.rest().iter().enumerate().skip(1);
        while let Some((index, byte)) = rest.next() {
            let byte = match *byte {
                0 => break,
                byte if byte == quote => {
                    self.place.line = self.place.line.saturating_add(lines);
                    return Ok((Token::String(String::from_utf8_lossy(&bytes).into_owned()), index + 1));
                }
                b'\\' if quote == b'"' => match rest.next() {
                    None | Some((_, 0)) => break,
                    Some((_, escaped)) => *escaped,
                },
                byte => byte,
            };
            lines += u32::from(byte == b'\n');
            bytes.push(byte);
        }
        Err(self.start.error("a string that does not end"))
    }

    fn read_number(&self) -> Result<(Token, usize)> {
        let rest = self.rest();
        let sign = usize::from(matches!(rest[0], b'+' | b'-'));
        let digits = rest[sign..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let len = sign + digits;
        let text = std::str::from_utf8(&rest[..len]).expect("a sign, digits and dots");
        let unsigned = &text[sign..];
        let number = if unsigned.contains('.') {
            text.parse().ok().map(Value::Fraction)
        } else if unsigned.len() > 1 && unsigned.starts_with('0') {
            // LVM2 reads numbers with C's strtoll: a leading zero means octal. It writes none.
            i64::from_str_radix(text, 8).ok().map(Value::Integer)
        } else {
            text.parse().ok().map(Value::Integer)
        };
        match number {
            Some(number) => Ok((Token::Number(number), len)),
            None => {
                let shown: String = text.chars().take(40).collect();
                Err(self.start.error(format!("\"{shown}\" is no number of at most 64 bits")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        Section::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_value() {
        let text =
            "a = 5 # five }\nb=-3\nc = [ ]\nd = [1,\"x\",]\ne = 0.5\n\"f#\" = 'it\\'\n1 { g = \"q\\\"\\\\\" }\nh=010";
        let section = Section::parse(text.as_bytes()).unwrap();
        assert_eq!(section.integer("a"), Ok(5u8));
        assert_eq!(section.integer("b"), Ok(-3i8));
        assert_eq!(section.value("c"), Some(&Value::Array(vec![])));
        assert_eq!(section.value("d"), Some(&Value::Array(vec![Value::Integer(1), Value::String("x".into())])));
        assert_eq!(section.value("e"), Some(&Value::Fraction(0.5)));
        assert_eq!(section.string("f#"), Ok("it\\"));
        assert_eq!(section.section("1").unwrap().string("g"), Ok("q\"\\"));
        assert_eq!(section.integer("h"), Ok(8));
        assert_eq!(section.section("1").unwrap().place, Place { line: 7, offset: text.find("1 {").unwrap() });
        assert!(section.integer::<u8>("b").is_err() && section.integer::<u8>("e").is_err());
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(why("a {\n b = }"), "metadata text, line 2 (byte 9): '}', want a value");
        assert_eq!(why("a"), "metadata text, line 1 (byte 1): the end, want '=' or '{'");
        assert_eq!(why("a {\n\n"), "metadata text, line 3 (byte 5): the end, want a name or '}'");
        assert_eq!(why("}"), "metadata text, line 1 (byte 0): '}', want a name or the end");
        assert_eq!(why("a = \"x\ny"), "metadata text, line 1 (byte 4): a string that does not end");
        assert_eq!(why("a = [1 2]"), "metadata text, line 1 (byte 7): \"2]\", want ',' or ']'");
        assert_eq!(why("a = word"), "metadata text, line 1 (byte 4): \"word\", want a value");
        assert_eq!(why("a=1\na=2"), "metadata text, line 2 (byte 4): a second \"a\" in the same section");
        assert_eq!(
            why("a = 9223372036854775808"),
            "metadata text, line 1 (byte 4): \"9223372036854775808\" is no number of at most 64 bits"
        );
        for text in ["a = 1.2.3", "a = +", "a = 08", "a = .", "= 1", "[", "a = [[1]]", "\"\" = 1", "a = \"\\"] {
            assert!(Section::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        let nested = |depth| "a{".repeat(depth) + &"}".repeat(depth);
        assert!(Section::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(why(&nested(MAX_DEPTH + 1)).contains("nest"));
        assert!(why(&"a{".repeat(1 << 20)).contains("nest"));
        let many = format!("a = [{}]", "1,".repeat(MAX_VALUES));
        assert!(why(&many).contains("values"));
        assert!(why(&" ".repeat(MAX_TEXT_SIZE as usize + 1)).contains("bytes of text"));
        assert!(Section::parse(b"a = 1\0}}}").is_ok(), "a NUL ends the text");
    }
}
