//! Figures, their goals, and the table of them.

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

const MIB: f64 = 1_048_576.0;

/// What a figure should be: seconds, bytes a second, bytes, or a ratio to the other side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtMost(f64),
    SpeedAtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    BytesPerSecond,
    Bytes,
}

/// Figures that are measured under the same conditions.
pub struct Section {
    pub title: &'static str,
    /// What they are measured under.
    pub conditions: &'static str,
    pub figures: Vec<Figure>,
}

/// One line of the table.
pub struct Figure {
    what: String,
    unit: Unit,
    ours: f64,
    other: Option<f64>,
    goal: Goal,
}

impl Figure {
    pub fn time(what: impl Into<String>, ours: f64, other: Option<f64>, goal: Goal) -> Self {
        Self { what: what.into(), unit: Unit::Seconds, ours, other, goal }
    }

    pub fn speed(what: impl Into<String>, ours: f64, other: f64, goal: Goal) -> Self {
        Self { what: what.into(), unit: Unit::BytesPerSecond, ours, other: Some(other), goal }
    }

    pub fn memory(what: impl Into<String>, ours: f64, most: f64) -> Self {
        Self { what: what.into(), unit: Unit::Bytes, ours, other: None, goal: Goal::AtMost(most) }
    }

    fn ratio(&self) -> Option<f64> {
        self.other.map(|other| self.ours / other)
    }

    fn holds(&self) -> bool {
        let ratio = |holds: fn(f64, f64) -> bool, goal| self.ratio().is_some_and(|ratio| holds(ratio, goal));
        match self.goal {
            Goal::AtMost(goal) => self.ours <= goal,
            Goal::SpeedAtLeast(goal) => self.ours >= goal,
            Goal::RatioAtMost(goal) => ratio(|ratio, goal| ratio <= goal, goal),
            Goal::RatioAtLeast(goal) => ratio(|ratio, goal| ratio >= goal, goal),
        }
    }

    fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Seconds => format!("{:.1} ms", value * 1000.0),
            Unit::BytesPerSecond => format!("{:.2} GiB/s", value / MIB / 1024.0),
            Unit::Bytes => format!("{:.1} MiB", value / MIB),
        }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtMost(goal) => format!("<= {}", self.show(goal)),
            Goal::SpeedAtLeast(goal) => format!(">= {}", self.show(goal)),
            Goal::RatioAtMost(goal) => format!("<= {goal} x"),
            Goal::RatioAtLeast(goal) => format!(">= {goal:.2} x"),
        }
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "goal", "imgmount", "other side", "ratio", ""]);
    for figure in figures {
        table.add_row([
            figure.what.clone(),
            figure.goal(),
            figure.show(figure.ours),
            figure.other.map(|other| figure.show(other)).unwrap_or_default(),
            figure.ratio().map(|ratio| format!("{ratio:.2} x")).unwrap_or_default(),
            if figure.holds() { "pass" } else { "short" }.to_owned(),
        ]);
    }
    table
}

pub fn json(sections: &[Section]) -> Result<String> {
    let section = |section: &Section| {
        let (title, conditions) = (section.title, section.conditions);
        json!({ "title": title, "conditions": conditions, "figures": lines(&section.figures) })
    };
    Ok(serde_json::to_string_pretty(&sections.iter().map(section).collect::<Vec<_>>())?)
}

fn lines(figures: &[Figure]) -> Vec<Value> {
    figures
        .iter()
        .map(|figure| {
            let unit = match figure.unit {
                Unit::Seconds => "seconds",
                Unit::BytesPerSecond => "bytes per second",
                Unit::Bytes => "bytes",
            };
            json!({
                "what": figure.what, "unit": unit, "goal": figure.goal(), "imgmount": figure.ours,
                "other": figure.other, "ratio": figure.ratio(), "pass": figure.holds(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    }

    #[test]
    fn goals_hold_or_do_not() {
        let time = |ours, goal| Figure::time("", ours, Some(1.0), goal).holds();
        assert!(time(3.0, Goal::RatioAtMost(3.0)) && !time(3.1, Goal::RatioAtMost(3.0)));
        assert!(time(0.5, Goal::RatioAtLeast(0.5)) && !time(0.4, Goal::RatioAtLeast(0.5)));
        assert!(time(0.05, Goal::AtMost(0.05)) && !time(0.06, Goal::AtMost(0.05)));
        assert!(!Figure::memory("", 49.0 * MIB, 48.0 * MIB).holds());
    }
}
