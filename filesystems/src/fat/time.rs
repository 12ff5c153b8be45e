//! Dates and times of FAT: local time of the machine that wrote them, in a zone that nothing records.

use crate::Time;

/// Days from 1970-01-01 to 1980-01-01, where the dates begin.
const DAYS_TO_1980: i64 = 3652;
/// Days before each month of a year that is no leap year.
const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// A date, a time of day in units of 2 s, and so many units of 10 ms to add. Read as UTC, since no zone is known.
///
/// Fields that are out of range do not fail: a month or day of 0 counts as 1, a month above 12 as 12.
pub fn time(date: u16, time: u16, hundredths: u8) -> Time {
    let field = |from: u16, shift: u32, bits: u32| i64::from(from >> shift & ((1 << bits) - 1));
    let year = field(date, 9, 7);
    let month = field(date, 5, 4).clamp(1, 12);
    let day = field(date, 0, 5).max(1);
    // The years are 1980 to 2107; of those that 4 divides, only 2100 (year 120) is no leap year.
    let leap = year % 4 == 0 && year != 120;
    let leap_days = (year + 3) / 4 - i64::from(year > 120) + i64::from(leap && month > 2);
    let days = DAYS_TO_1980 + year * 365 + leap_days + DAYS_BEFORE[month as usize - 1] + day - 1;
    let seconds = field(time, 11, 5) * 3600 + field(time, 5, 6) * 60 + field(time, 0, 5) * 2;
    let hundredths = u32::from(hundredths);
    Time { seconds: days * 86400 + seconds + i64::from(hundredths / 100), nanoseconds: hundredths % 100 * 10_000_000 }
}

/// A time as date, time of day and units of 10 ms, each rounded down; the first or the last that there is for one outside of
/// 1980 to 2107.
pub fn encode(time: Time) -> (u16, u16, u8) {
    /// 1980-01-01, and the last second of 2107.
    const FIRST: i64 = DAYS_TO_1980 * 86400;
    const LAST: i64 = 4_354_819_199;
    let seconds = time.seconds.clamp(FIRST, LAST);
    let nanoseconds = if seconds == time.seconds { time.nanoseconds } else { 0 };
    let (mut days, second) = (seconds / 86400 - DAYS_TO_1980, seconds % 86400);
    // Every four years from 1980 on have one leap day, but for 2100.
    const FEBRUARY_29_2100: i64 = 43889;
    if days >= FEBRUARY_29_2100 {
        days += 1;
    }
    let (four, mut day) = (days / 1461, days % 1461);
    let year_of_four = if day < 366 { 0 } else { (day - 1) / 365 };
    day -= if year_of_four == 0 { 0 } else { year_of_four * 365 + 1 };
    let leap = i64::from(year_of_four == 0);
    let before = |month: usize| DAYS_BEFORE[month] + if month > 1 { leap } else { 0 };
    let month = (0..12).rev().find(|month| before(*month) <= day).unwrap_or(0);
    let date = ((four * 4 + year_of_four) << 9) | ((month as i64 + 1) << 5) | (day - before(month) + 1);
    let of_day = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    let hundredths = second % 2 * 100 + i64::from(nanoseconds / 10_000_000);
    (date as u16, of_day as u16, hundredths as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: u16, month: u16, day: u16) -> i64 {
        time((year - 1980) << 9 | month << 5 | day, 0, 0).seconds
    }

    #[test]
    fn dates() {
        // Figures of date(1): date -ud 2000-02-29 +%s
        assert_eq!(at(1980, 1, 1), 315_532_800);
        assert_eq!(at(1980, 12, 31), 347_068_800);
        assert_eq!(at(1999, 12, 31), 946_598_400);
        assert_eq!(at(2000, 2, 29), 951_782_400);
        assert_eq!(at(2000, 3, 1), 951_868_800);
        assert_eq!(at(2026, 11, 21), 1_795_219_200);
        assert_eq!(at(2100, 2, 28), 4_107_456_000);
        assert_eq!(at(2100, 3, 1), 4_107_542_400);
        assert_eq!(at(2107, 12, 31), 4_354_732_800);
        let noon = time(0x0021, 12 << 11 | 34 << 5 | 28, 199);
        assert_eq!(noon, Time { seconds: 315_532_800 + 12 * 3600 + 34 * 60 + 57, nanoseconds: 990_000_000 });
    }

    #[test]
    fn every_day_there_and_back() {
        for day in DAYS_TO_1980..50403 {
            let noon = Time { seconds: day * 86400 + day % 86400, nanoseconds: 990_000_000 };
            let (date, of_day, hundredths) = encode(noon);
            assert_eq!(time(date, of_day, hundredths), noon, "{day}");
        }
        let ends = [(i64::MIN, 315_532_800), (i64::MAX, 4_354_819_199)];
        for (seconds, wanted) in ends {
            let (date, of_day, hundredths) = encode(Time { seconds, nanoseconds: 5 });
            assert_eq!(time(date, of_day, hundredths), Time { seconds: wanted, nanoseconds: 0 });
        }
    }

    #[test]
    fn no_field_is_out_of_range() {
        assert_eq!(time(0, 0, 0).seconds, 315_532_800);
        for date in 0..=u16::MAX {
            time(date, !date, date as u8);
        }
    }
}
