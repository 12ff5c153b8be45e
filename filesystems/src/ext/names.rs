//! How the names of encrypted directories are shown: they are ciphertext, and may hold any byte.
//!
//! A `/`, a NUL and a `%` are written as `%2F`, `%00` and `%25`, and so is the first byte of a name that would be `.`
//! or `..`. So the bytes on the disk can be told from what is shown. A name that becomes longer than 255 bytes is cut
//! and ends in `%~` and 16 hexadecimal digits of a hash of the whole.

use std::borrow::Cow;

use super::layout::NAME_LEN;

/// `%~` and 16 digits.
const CUT_MARK: usize = 18;

/// A raw encrypted name as it is shown.
pub fn shown(raw: &[u8]) -> Cow<'_, [u8]> {
    let dots = raw == b"." || raw == b"..";
    if !dots && !raw.iter().any(|byte| matches!(byte, 0 | b'/' | b'%')) {
        return Cow::Borrowed(raw);
    }
    let mut name = Vec::with_capacity(raw.len() + 8);
    for (index, byte) in raw.iter().enumerate() {
        match byte {
            0 | b'/' | b'%' => name.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            b'.' if dots && index == 0 => name.extend_from_slice(b"%2E"),
            _ => name.push(*byte),
        }
    }
    if name.len() > NAME_LEN {
        name.truncate(NAME_LEN - CUT_MARK);
        name.extend_from_slice(format!("%~{:016x}", fnv1a(raw)).as_bytes());
    }
    Cow::Owned(name)
}

/// The raw name that is shown so; `None` if it was cut, or if no name is shown so.
pub fn raw(shown: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !shown.contains(&b'%') {
        return Some(Cow::Borrowed(shown));
    }
    let mut name = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            name.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        name.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(Cow::Owned(name))
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_told_apart() {
        assert_eq!(shown(b"plain\xff"), b"plain\xff".as_slice());
        assert_eq!(shown(b"a/b\0c%d"), b"a%2Fb%00c%25d".as_slice());
        for name in [b"a/b\0c%d".as_slice(), b"..", b"plain", b"%"] {
            assert_eq!(raw(&shown(name)).unwrap(), name);
        }
        assert_eq!(raw(b"x%~0123456789abcdef"), None);
        assert_eq!(raw(b"x%2"), None);
        assert_eq!(shown(b".."), b"%2E.".as_slice());
        let (one, mut two) = ([b'/'; 255], [b'/'; 255]);
        two[254] = 0;
        let (one, two) = (shown(&one), shown(&two));
        assert!(one.len() == 255 && two.len() == 255 && one != two);
        assert!(!one.contains(&b'/') && !one.contains(&0));
    }
}
