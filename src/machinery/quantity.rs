//! Kubernetes quantities, exactly: enough of them to compare two sizes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The number of bytes, rounded up; `None` when it is no quantity or beyond all volumes.
pub(crate) fn bytes(quantity: &Quantity) -> Option<u128> {
    let text = quantity.0.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = divisor.checked_mul(10u128.checked_pow(fraction.len().try_into().ok()?)?)?;
    Some(mantissa.checked_mul(multiplier)?.div_ceil(divisor))
}

/// A suffix as multiplier and divisor.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const SMALL: [&str; 4] = ["", "m", "u", "n"];
    let power = |table: &[&str]| table.iter().position(|entry| *entry == suffix);
    if let Some(exponent) = power(&DECIMAL) {
        return Some((1000u128.pow(exponent.try_into().ok()?), 1));
    }
    if let Some(exponent) = power(&BINARY) {
        return Some((1024u128.pow(exponent.try_into().ok()?), 1));
    }
    if let Some(exponent) = power(&SMALL) {
        return Some((1, 1000u128.pow(exponent.try_into().ok()?)));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10u128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_that_the_api_server_accepts() {
        for (text, expected) in [
            ("0", Some(0)),
            ("+5", Some(5)),
            ("1k", Some(1_000)),
            ("10Gi", Some(10 << 30)),
            ("1.5Gi", Some(3 << 29)),
            (".5Ki", Some(512)),
            ("1e3", Some(1_000)),
            ("12E2", Some(1_200)),
            ("25e-1", Some(3)),
            ("1500m", Some(2)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("", None),
            ("Gi", None),
            ("-1", None),
            ("1X", None),
            ("1e99", None),
        ] {
            assert_eq!(bytes(&Quantity(text.into())), expected, "{text}");
        }
    }
}
