//! Reading single values: durations, numbers, sizes, lists, YAML.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use populator_crd::quantity;
use serde::de::DeserializeOwned;

/// Why a value cannot be read: what was found, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(super) String);

type Result<T> = std::result::Result<T, ValueError>;

/// What was found, as a message has room for it: the beginning, with an ellipsis where more follows.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 100;
    let cut = &text[..text.floor_char_boundary(MOST)];
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(ValueError(message.into()))
}

/// A whole number within bounds.
pub(super) fn number(text: &str, at_most: u32) -> Result<u32> {
    match text.trim().parse() {
        Ok(number) if number <= at_most => Ok(number),
        _ => error(format!("{}: expected a whole number from 0 to {at_most}", shown(text))),
    }
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool> {
    text.trim().parse().or_else(|_| error(format!("{}: expected true or false", shown(text))))
}

/// A duration above zero, as Go and Kubernetes write them: numbers with `ms`, `s`, `m`, `h`, and days with `d`.
pub(super) fn duration(text: &str) -> Result<Duration> {
    const LONGEST: Duration = Duration::from_hours(366 * 24);
    let expected = || {
        ValueError(format!(
            "{}: expected a duration above zero and up to a year, for example 90s, 5m, 1h30m or 7d",
            shown(text)
        ))
    };
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let number: u64 = rest[..digits].parse().map_err(|_| expected())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_millis: u64 = match &rest[..unit_end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return Err(expected()),
        };
        let part = number.checked_mul(unit_millis).ok_or_else(expected)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(expected)?;
        rest = &rest[unit_end..];
    }
    if total.is_zero() || total > LONGEST {
        return Err(expected());
    }
    Ok(total)
}

/// A size in bytes, as a Kubernetes quantity above zero.
pub(super) fn size(text: &str) -> Result<u64> {
    match quantity::bytes(&Quantity(text.trim().to_owned())) {
        Ok(bytes) if bytes > 0 => {
            u64::try_from(bytes).or_else(|_| error(format!("{}: expected a size above zero", shown(text))))
        }
        Ok(_) => error(format!("{}: expected a size above zero, for example 64Gi", shown(text))),
        Err(problem) => error(problem.to_string()),
    }
}

/// A share between 0 and 1 as parts per thousand: `0.06`, or `6%`.
pub(super) fn per_mille(text: &str) -> Result<u32> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 10.0),
        None => (text.trim(), 1000.0),
    };
    match number.parse::<f64>() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the product is between 0 and 1000 and rounded"
        )]
        Ok(share) if (0.0..1000.0).contains(&(share * scale)) => Ok((share * scale).round() as u32),
        _ => error(format!("{}: expected a share from 0 to below 1, for example 0.06 or 6%", shown(text))),
    }
}

/// Entries separated by commas or white space.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty())
}

/// A network in CIDR form.
pub(super) fn network(text: &str) -> Result<String> {
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let address: std::net::IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(())
    });
    match parsed {
        Some(()) => Ok(text.to_owned()),
        None => error(format!("{}: expected a network, for example 10.0.0.0/8", shown(text))),
    }
}

/// YAML (or JSON, which is YAML) of a Kubernetes type.
pub(super) fn yaml<T: DeserializeOwned>(text: &str, expected: &str) -> Result<T> {
    serde_saphyr::from_str(text)
        .map_err(|problem| ValueError(format!("not the YAML of {expected}: {}", first_line(&problem.to_string()))))
}

/// Parsers draw the place of an error in several lines; an event has room for one.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A name, or nothing.
#[expect(clippy::unnecessary_wraps, reason = "one shape with the other readers")]
pub(super) fn optional(text: &str) -> Result<Option<String>> {
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
