//! Which leg of an array holds what in each row of chunks: the data in an order, and the parities.
//!
//! The names are MD's: <https://man7.org/linux/man-pages/man4/md.4.html>, `mdadm --layout`, and those of LVM's segment types.

use images::length::remainder;

/// How the parity of RAID 5 moves from row to row, and where the data begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The parity goes from the last leg to the first; the data goes from the first leg to the last.
    LeftAsymmetric,
    /// The parity goes from the first leg to the last; the data too.
    RightAsymmetric,
    /// The parity goes from the last leg to the first; the data begins behind it. The usual one.
    LeftSymmetric,
    /// The parity goes from the first leg to the last; the data begins behind it.
    RightSymmetric,
    /// The parity is always on the first leg. What LVM calls `raid4`.
    First,
    /// The parity is always on the last leg: what MD calls RAID 4, and LVM `raid5_n`.
    Last,
}

/// How both parities of RAID 6 move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation6 {
    /// As the parity of RAID 5, and Q behind P.
    Alike(Rotation),
    /// DDF's RAID-6 rotating parity 0 with data restart; LVM's `raid6_zr`.
    ZeroRestart,
    /// DDF's RAID-6 rotating parity N with data restart; LVM's `raid6_nr`.
    NRestart,
    /// DDF's RAID-6 rotating parity N with data continuation; LVM's `raid6_nc`.
    NContinue,
    /// A RAID 5 to which a last leg was added for Q.
    QLast(Rotation),
}

/// The roles of the legs in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// How many legs there are.
    legs: usize,
    /// The leg with the parity.
    pub p: usize,
    /// The leg with the second parity of RAID 6.
    pub q: Option<usize>,
    /// Where the data begins and how many legs it goes round in; or on the first leg that holds no parity.
    cycle: Option<(usize, usize)>,
    /// Whether the factors of Q count all legs and not only those with data.
    counts_all: bool,
}

impl Rotation {
    /// The leg of `legs` that has the parity in row `row`.
    fn parity(self, legs: usize, row: u64) -> usize {
        let turn = remainder(row, legs);
        match self {
            Self::LeftAsymmetric | Self::LeftSymmetric => legs - 1 - turn,
            Self::RightAsymmetric | Self::RightSymmetric => turn,
            Self::First => 0,
            Self::Last => legs - 1,
        }
    }

    fn is_symmetric(self) -> bool {
        matches!(self, Self::LeftSymmetric | Self::RightSymmetric)
    }

    /// The roles in a row of a RAID 5 of `legs`, at least 2.
    pub fn row(self, legs: usize, row: u64) -> Row {
        let p = self.parity(legs, row);
        Row { legs, p, q: None, cycle: self.is_symmetric().then_some((p + 1, legs)), counts_all: false }
    }
}

impl Rotation6 {
    /// The roles in a row of a RAID 6 of `legs`, at least 3.
    pub fn row(self, legs: usize, row: u64) -> Row {
        let left = |row| Rotation::LeftSymmetric.parity(legs, row);
        let (p, q, cycle) = match self {
            Self::Alike(Rotation::Last) => (legs - 2, legs - 1, None),
            Self::Alike(rotation) => {
                let p = rotation.parity(legs, row);
                (p, (p + 1) % legs, rotation.is_symmetric().then_some((p + 2, legs)))
            }
            Self::ZeroRestart => {
                let p = Rotation::RightSymmetric.parity(legs, row);
                (p, (p + 1) % legs, None)
            }
            // As if there were a row before the first one. No disk has 2^64 rows.
            Self::NRestart => (left(row.wrapping_add(1)), (left(row.wrapping_add(1)) + 1) % legs, None),
            Self::NContinue => (left(row), (left(row) + legs - 1) % legs, Some((left(row) + 1, legs))),
            Self::QLast(rotation) => {
                let p = rotation.parity(legs - 1, row);
                (p, legs - 1, rotation.is_symmetric().then_some((p + 1, legs - 1)))
            }
        };
        let counts_all = matches!(self, Self::ZeroRestart | Self::NRestart | Self::NContinue);
        Row { legs, p, q: Some(q), cycle, counts_all }
    }
}

impl Row {
    /// The leg with the chunk of this index among those with data.
    pub fn data(&self, index: usize) -> usize {
        if let Some((first, round)) = self.cycle {
            return (first + index) % round;
        }
        let q = self.q.unwrap_or(self.legs);
        let (low, high) = (self.p.min(q), self.p.max(q));
        let behind_low = index + usize::from(index >= low);
        behind_low + usize::from(behind_low >= high)
    }

    /// The legs with data, each with the power of the generator that is its factor in Q.
    pub fn factors(&self) -> impl Iterator<Item = (usize, usize)> {
        let first = match self.q {
            Some(q) if !self.counts_all => (q + 1) % self.legs,
            _ => 0,
        };
        let (row, legs) = (*self, self.legs);
        let with_data = (first..first + legs).map(move |leg| leg % legs).filter(move |&leg| row.has_data(leg));
        with_data.enumerate().map(move |(nth, leg)| (leg, if row.counts_all { leg } else { nth }))
    }

    fn has_data(&self, leg: usize) -> bool {
        leg != self.p && Some(leg) != self.q
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row as the manual page of md draws it: the index of the data, or P and Q.
    fn drawn(row: Row) -> String {
        let data = row.legs - 1 - usize::from(row.q.is_some());
        let mut legs = vec![String::new(); row.legs];
        for index in 0..data {
            legs[row.data(index)] += &index.to_string();
        }
        legs[row.p] += "P";
        if let Some(q) = row.q {
            legs[q] += "Q";
        }
        legs.join(" ")
    }

    #[test]
    fn rows_of_raid5() {
        let rows = |rotation: Rotation| [0, 1, 2, 3].map(|row| drawn(rotation.row(3, row)));
        assert_eq!(rows(Rotation::LeftAsymmetric), ["0 1 P", "0 P 1", "P 0 1", "0 1 P"]);
        assert_eq!(rows(Rotation::RightAsymmetric), ["P 0 1", "0 P 1", "0 1 P", "P 0 1"]);
        assert_eq!(rows(Rotation::LeftSymmetric), ["0 1 P", "1 P 0", "P 0 1", "0 1 P"]);
        assert_eq!(rows(Rotation::RightSymmetric), ["P 0 1", "1 P 0", "0 1 P", "P 0 1"]);
        assert_eq!(rows(Rotation::First)[2], "P 0 1");
        assert_eq!(rows(Rotation::Last)[2], "0 1 P");
    }

    #[test]
    fn rows_of_raid6() {
        let rows = |rotation: Rotation6| [0, 1, 2, 3].map(|row| drawn(rotation.row(4, row)));
        let alike = Rotation6::Alike;
        assert_eq!(rows(alike(Rotation::LeftAsymmetric)), ["Q 0 1 P", "0 1 P Q", "0 P Q 1", "P Q 0 1"]);
        assert_eq!(rows(alike(Rotation::RightAsymmetric)), ["P Q 0 1", "0 P Q 1", "0 1 P Q", "Q 0 1 P"]);
        assert_eq!(rows(alike(Rotation::LeftSymmetric)), ["Q 0 1 P", "0 1 P Q", "1 P Q 0", "P Q 0 1"]);
        assert_eq!(rows(alike(Rotation::RightSymmetric)), ["P Q 0 1", "1 P Q 0", "0 1 P Q", "Q 0 1 P"]);
        assert_eq!(rows(alike(Rotation::First))[1], "P Q 0 1");
        assert_eq!(rows(alike(Rotation::Last))[1], "0 1 P Q");
        assert_eq!(rows(Rotation6::ZeroRestart), ["P Q 0 1", "0 P Q 1", "0 1 P Q", "Q 0 1 P"]);
        assert_eq!(rows(Rotation6::NRestart), ["0 1 P Q", "0 P Q 1", "P Q 0 1", "Q 0 1 P"]);
        assert_eq!(rows(Rotation6::NContinue), ["0 1 Q P", "1 Q P 0", "Q P 0 1", "P 0 1 Q"]);
        assert_eq!(rows(Rotation6::QLast(Rotation::LeftSymmetric)), ["0 1 P Q", "1 P 0 Q", "P 0 1 Q", "0 1 P Q"]);
        assert_eq!(rows(Rotation6::QLast(Rotation::RightAsymmetric))[1], "0 P 1 Q");
    }

    #[test]
    fn factors_begin_behind_q_or_count_all_legs() {
        let row = Rotation6::Alike(Rotation::LeftSymmetric).row(5, 2);
        assert_eq!((row.p, row.q), (2, Some(3)));
        assert_eq!(row.factors().collect::<Vec<_>>(), [(4, 0), (0, 1), (1, 2)]);
        let row = Rotation6::ZeroRestart.row(5, 2);
        assert_eq!(row.factors().collect::<Vec<_>>(), [(0, 0), (1, 1), (4, 4)]);
    }
}
