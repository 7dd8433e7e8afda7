//! Sizes as Kubernetes writes them, and as a human reads them: text alone, so that whoever compares two sizes compares
//! them in the same way, with a Kubernetes client at hand or without one.
//!
//! The grammar is apimachinery's (`pkg/api/resource/quantity.go`): a signed decimal number and a suffix, which is
//! binary (`Ki` to `Ei`), decimal (`n`, `u`, `m`, none, `k` to `E`) or an exponent (`e3`, `E3`).

/// Why a quantity is no number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the grammar.
    #[error("{0:?} is not a quantity; write a number and a unit, for example 24Gi, 500M or 1073741824")]
    Syntax(String),
    /// Below zero.
    #[error("{0:?} is negative; a size is 0 or more")]
    Negative(String),
    /// More than an `i64` holds (Kubernetes' own bound).
    #[error("{0:?} is more than 2^63 - 1 bytes")]
    TooLarge(String),
}

/// The number of bytes that a quantity stands for, never less than 0; a fraction of a byte counts as one, as in Kubernetes.
///
/// # Errors
///
/// [`QuantityError`] when the text is not a quantity, is negative, or exceeds `i64`.
pub fn parse(text: &str) -> Result<i64, QuantityError> {
    let syntax = || QuantityError::Syntax(text.to_owned());
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(syntax());
    }
    let scale = Scale::parse(suffix).ok_or_else(syntax)?;
    let value = scale.apply(whole, fraction).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))?;
    if negative && value > 0 {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    Ok(value)
}

/// A number of bytes with the largest binary unit that loses nothing, otherwise in bytes.
#[must_use]
pub fn human(bytes: u64) -> String {
    for (unit, name) in [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    /// A power of two.
    Binary(u32),
    /// A power of ten.
    Decimal(i32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "" => Self::Decimal(0),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            _ => Self::Decimal(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
        })
    }

    /// The number `whole.fraction` in this scale, rounded up; `None` beyond `i64`.
    fn apply(self, whole: &str, fraction: &str) -> Option<i64> {
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(0);
        }
        let mantissa: i128 = digits.parse().ok()?;
        let fraction_digits = i32::try_from(fraction.len()).ok()?;
        let (mantissa, exponent) = match self {
            Self::Binary(power) => (mantissa.checked_mul(1_i128 << power)?, -fraction_digits),
            Self::Decimal(power) => (mantissa, power.checked_sub(fraction_digits)?),
        };
        let power = 10_i128.checked_pow(exponent.unsigned_abs());
        let value = match (exponent < 0, power) {
            (false, power) => mantissa.checked_mul(power?)?,
            (true, Some(power)) => mantissa / power + i128::from(mantissa % power != 0),
            // Divided by more than an i128 holds: a fraction of a byte.
            (true, None) => 1,
        };
        i64::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests;
