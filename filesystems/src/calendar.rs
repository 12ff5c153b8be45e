//! Times as people and other programs write them: RFC 3339, always in UTC.

use std::fmt;

use crate::Time;

const DAY: i64 = 86_400;
/// The days of 400 years of the Gregorian calendar, after which it repeats.
const ERA: i64 = 146_097;
/// The days from 0000-03-01, where an era begins, to 1970-01-01.
const EPOCH: i64 = 719_468;

impl Time {
    /// Reads `2026-11-21`, `2026-11-21T08:00:00.5Z` (a space for the `T`, and no `Z`, are allowed), or `@` and the
    /// seconds since 1970. All in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(seconds) = text.strip_prefix('@') {
            return Some(Self { seconds: seconds.parse().ok()?, nanoseconds: 0 });
        }
        let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
        let (date, clock) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(if clock.len() == 5 { format!("{clock}:00") } else { clock.into() }, ':')?;
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let fits = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60 && year < 10_000;
        if !fits || fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
        let seconds = days_from(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        Some(Self { seconds, nanoseconds })
    }
}

fn numbers(text: impl AsRef<str>, separator: char) -> Option<[i64; 3]> {
    let text = text.as_ref();
    let number = |part: &str| part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse().ok()).flatten();
    let parts: Vec<i64> = text.split(separator).map(number).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// The days from 1970-01-01 to this date; years begin in March, so that the leap day is the last of its year.
fn days_from(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// The date that is so many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanoseconds > 0 {
            write!(f, ".{:09}", self.nanoseconds)?;
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (-62_135_596_800, "0001-01-01T00:00:00Z"),
            (15_032_385_535, "2446-05-10T22:38:55Z"),
        ] {
            assert_eq!(Time { seconds, nanoseconds: 0 }.to_string(), text);
            assert_eq!(Time::parse(text), Some(Time { seconds, nanoseconds: 0 }));
        }
        assert_eq!(Time::parse("2023-11-14 22:13").unwrap().seconds, 1_699_999_980);
        assert_eq!(Time::parse("2023-11-14").unwrap().seconds, 1_699_920_000);
        assert_eq!(Time::parse("@-5").unwrap().seconds, -5);
        let exact = Time::parse("1970-01-01T00:00:00.5Z").unwrap();
        assert_eq!((exact.nanoseconds, exact.to_string().as_str()), (500_000_000, "1970-01-01T00:00:00.500000000Z"));
    }

    #[test]
    fn every_day_is_its_own_date() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_from(year, month, day), days);
        }
        // The ends of what a disk can hold.
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!Time { seconds, nanoseconds: 0 }.to_string().is_empty());
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "x",
            "@",
            "2023",
            "2023-13-01",
            "2023-02-29",
            "2023-00-10",
            "2023-01-01T24:00:00",
            "2023-01-01T1",
            "+2023-01-01",
            "99999999-01-01",
        ] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
