//! LVM2's own identifiers: 32 characters, not the hexadecimal UUID of everything else.

use std::fmt;
use std::str::FromStr;

/// Where the dashes go: the lengths of the groups of characters.
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// The identifier of a physical volume, volume group or logical volume. `Display` prints it with LVM2's dashes.
///
/// ```
/// let uuid: lvm2_parser::Uuid = "mWJf01-fhfE-CINf-Rzot-Pt91-RKT1-WMCY0V".parse().unwrap();
/// assert_eq!(uuid.compact(), "mWJf01fhfECINfRzotPt91RKT1WMCY0V");
/// assert_eq!(uuid.to_string(), "mWJf01-fhfE-CINf-Rzot-Pt91-RKT1-WMCY0V");
/// assert!("mWJf01".parse::<lvm2_parser::Uuid>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 32]);

/// The text is not an LVM2 identifier: 32 of `0-9a-zA-Z!#`, with or without dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an LVM2 UUID")]
pub struct NotUuid;

impl Uuid {
    /// The identifier of these 32 characters, without dashes, as the physical volume header holds it.
    pub fn new(characters: [u8; 32]) -> Result<Self, NotUuid> {
        let valid = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'!' | b'#');
        if characters.iter().all(valid) { Ok(Self(characters)) } else { Err(NotUuid) }
    }

    /// The 32 characters without dashes, as in device mapper's `LVM-` names.
    pub fn compact(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked to be ASCII when it was made")
    }
}

impl FromStr for Uuid {
    type Err = NotUuid;

    fn from_str(text: &str) -> Result<Self, NotUuid> {
        let mut characters = [0; 32];
        let mut rest = text.bytes().filter(|byte| *byte != b'-');
        for character in &mut characters {
            *character = rest.next().ok_or(NotUuid)?;
        }
        if rest.next().is_some() { Err(NotUuid) } else { Self::new(characters) }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.compact();
        for (index, len) in GROUPS.into_iter().enumerate() {
            let (group, after) = rest.split_at(len);
            rest = after;
            write!(f, "{}{group}", if index == 0 { "" } else { "-" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
