//! Sizes as people type them: `4096`, `512M`, `1.5G`.

/// The units, each 1024 times the one before, as `qemu-img` takes them.
const UNITS: &str = "BKMGTPE";

/// The bytes that `text` says: a number, then one of `B K M G T P E`, also as `KiB` or `KB`; without a unit, bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is no size: a number of bytes, or of units as in 512M or 1.5G", text.escape_debug());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_uppercase();
    let (power, rest) = match unit.chars().next() {
        None => (0, ""),
        Some(letter) => (UNITS.find(letter).ok_or_else(wrong)?, &unit[1..]),
    };
    if !matches!(rest, "" | "B" | "IB") {
        return Err(wrong());
    }
    let scale = 1u64 << (10 * power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut bytes = whole.checked_mul(scale).ok_or_else(wrong)?;
    if !fraction.is_empty() {
        // Thousandths are enough for people, and exact.
        let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
        let thousandths: u64 = digits.parse().map_err(|_| wrong())?;
        let more = u128::from(scale) * u128::from(thousandths) / 1000;
        bytes = u64::try_from(more).ok().and_then(|more| bytes.checked_add(more)).ok_or_else(wrong)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_with_and_without_units() {
        for (text, want) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("64KiB", 64 << 10),
            ("2TB", 2 << 40),
            ("15E", 15 << 60),
        ] {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for text in ["", "M", "1X", "1MM", "-1", "16E", "99999999999999999999", "1.2.3", "1,5G", ".5G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
