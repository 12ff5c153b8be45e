//! The address of an image that lies elsewhere than on this host: `https://host/folder/disk.qcow2?token`.
//!
//! The form is that of [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986), section 3; a fragment has no meaning here.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What stands as it is in the name of a file: section 2.3, and what divides folders.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// An address in its parts, none of them decoded. Its `Display` is for messages: it leaves a password and the query out,
/// for what stands there may be a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: String,
    authority: String,
    path: String,
    query: Option<String>,
}

impl Address {
    /// The address that `text` is, if it has the form of one: `SCHEME://…`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !is_scheme || rest.contains(|c: char| c.is_control() || c == ' ') {
            return None;
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some(Self { scheme: scheme.to_ascii_lowercase(), authority: authority.into(), path: path.into(), query })
    }

    /// What stands before `://`, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between `://` and the path: `user:password@host:port`. May be empty.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, which starts with `/` or is empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands behind `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The whole of it, with what may be secret.
    pub fn text(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{}{}{query}", self.scheme, self.authority, self.path)
    }

    /// The decoded name at the end of the path, if one is there.
    pub fn file_name(&self) -> Option<OsString> {
        let name = self.path.rsplit('/').next().filter(|name| !name.is_empty())?;
        Some(OsString::from_vec(percent_decode_str(name).collect()))
    }

    /// The address of the file `name`, a path that is relative to the folder of this one. It keeps to the same authority:
    /// `..` at the top stays there. The query goes with it, as a token for a whole folder does.
    pub fn beside(&self, name: &OsStr) -> Self {
        let mut parts: Vec<String> = self.path.split('/').map(str::to_owned).collect();
        parts.pop();
        let encoded = percent_encode(name.as_bytes(), PLAIN).to_string();
        for part in encoded.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.len() > 1 => drop(parts.pop()),
                ".." => {}
                part => parts.push(part.to_owned()),
            }
        }
        if parts.first().is_none_or(|first| !first.is_empty()) {
            parts.insert(0, String::new());
        }
        Self { path: parts.join("/"), ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = match self.authority.rsplit_once('@') {
            Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
            None => self.authority.clone(),
        };
        write!(f, "{}://{authority}{}{}", self.scheme, self.path, if self.query.is_some() { "?…" } else { "" })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn addresses_have_their_parts() {
        let address = parsed("HTTPS://me:se%40cret@host:8080/a/b%20c.qcow2?sig=1?2");
        assert_eq!(address.scheme(), "https");
        assert_eq!(address.authority(), "me:se%40cret@host:8080");
        assert_eq!((address.path(), address.query()), ("/a/b%20c.qcow2", Some("sig=1?2")));
        assert_eq!(address.file_name().unwrap(), "b c.qcow2");
        assert_eq!(address.to_string(), "https://me@host:8080/a/b%20c.qcow2?…");
        assert_eq!(address.text(), "https://me:se%40cret@host:8080/a/b%20c.qcow2?sig=1?2");
        assert_eq!(parsed("nbd+unix:///export?socket=/s").authority(), "");
        assert_eq!((parsed("nbd://host").path(), parsed("nbd://host").file_name()), ("", None));
        for none in ["", "a", "/a://b", "1a://b", "a b://c", "://b", "a:/b", "http://a b", "http://a\n"] {
            assert_eq!(Address::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn names_lead_to_the_same_server_and_no_further() {
        for (from, name, want) in [
            ("http://h/a/top", "base", "http://h/a/base"),
            ("http://h/a/top?t=1", "./base.img", "http://h/a/base.img?t=1"),
            ("http://h/a/b/top", "../base", "http://h/a/base"),
            ("http://h/top", "../../../base", "http://h/base"),
            ("http://h", "base", "http://h/base"),
            ("http://h/a/", "b//c", "http://h/a/b/c"),
            ("http://h/a/top", "é?#%/x y", "http://h/a/%C3%A9%3F%23%25/x%20y"),
            ("http://h/a/top", "@other/x", "http://h/a/%40other/x"),
        ] {
            assert_eq!(parsed(from).beside(OsStr::new(name)).text(), want, "{name}");
        }
        let name = OsStr::from_bytes(b"\xff.img");
        assert_eq!(parsed("http://h/a").beside(name).file_name().unwrap(), name);
    }
}
