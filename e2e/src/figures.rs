//! What a bench measured, against what it must reach: rows, the verdict, and how both are printed. Pure.

use std::fmt::Write as _;

use serde::Serialize;

/// One figure, of which less is better.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name, stable, for machines.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// What was measured.
    pub measured: f64,
    /// `s`, `writes`, `MiB`, …
    pub unit: &'static str,
    /// The most that is good enough; absent: only to know.
    pub target: Option<f64>,
    /// What the reference needs on the same bed, where somebody has measured it.
    pub reference: Option<f64>,
    /// Whether `measured` is good enough.
    pub met: bool,
}

impl Figure {
    /// Judges what was measured.
    #[must_use]
    pub fn new(
        name: &'static str,
        what: &'static str,
        measured: f64,
        unit: &'static str,
        target: Option<f64>,
        reference: Option<f64>,
    ) -> Self {
        let met = target.is_none_or(|target| measured <= target);
        Self { name, what, measured, unit, target, reference, met }
    }
}

/// The middle of some measurements, or the mean of the two in the middle; `None` without any.
#[must_use]
pub fn median(measured: &[f64]) -> Option<f64> {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The figures as a Markdown table.
#[must_use]
pub fn table(figures: &[Figure], reference: &str) -> String {
    let mut text = format!("| figure | measured | target | {reference} |\n|---|---|---|---|\n");
    for figure in figures {
        let missed = if figure.met { "" } else { " (missed)" };
        let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| with_unit(value, figure.unit));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {}{missed} | {} | {} |",
            figure.what,
            with_unit(figure.measured, figure.unit),
            optional(figure.target),
            optional(figure.reference),
        );
    }
    text
}

fn with_unit(value: f64, unit: &str) -> String {
    let value = if value.fract().abs() < 0.005 { format!("{value:.0}") } else { format!("{value:.2}") };
    if unit.is_empty() { value } else { format!("{value} {unit}") }
}

/// The names of the figures that missed their target.
#[must_use]
pub fn missed(figures: &[Figure]) -> Vec<&'static str> {
    figures.iter().filter(|figure| !figure.met).map(|figure| figure.name).collect()
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
