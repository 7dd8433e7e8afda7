//! Numbers of bytes as Kubernetes writes them (apimachinery, `pkg/api/resource/quantity.go`).

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];

/// Reads digits and a unit or none: `24Gi`, `500M`, `1073741824`. `None` for anything else, fractions and exponents
/// included, and for more than there is.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power =
        |units: [&str; 6]| units.iter().position(|known| *known == unit).and_then(|at| u32::try_from(at + 1).ok());
    let factor = match (unit, power(BINARY), power(DECIMAL)) {
        ("", ..) => 1,
        (_, Some(power), _) => 1024_u64.checked_pow(power)?,
        (_, None, Some(power)) => 1000_u64.checked_pow(power)?,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// With the largest binary unit that loses nothing, otherwise in bytes.
pub(crate) fn human(bytes: u64) -> String {
    for (unit, name) in [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_a_whole_number_of_bytes() {
        for (text, bytes) in [
            ("10Gi", Some(10 << 30)),
            ("0", Some(0)),
            ("1073741825", Some((1 << 30) + 1)),
            ("3Ki", Some(3072)),
            ("7k", Some(7000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("16Ei", None),
            ("99999999999Ti", None),
            ("1.5Gi", None),
            ("1e3", None),
            ("-1", None),
            ("Gi", None),
            ("10GiB", None),
            ("1 Gi", None),
            ("", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for (bytes, expected) in
            [(1024, "1Ki"), (24 << 30, "24Gi"), ((1 << 30) + (1 << 20), "1025Mi"), (2048 << 30, "2Ti")]
        {
            assert_eq!(human(bytes), expected);
            assert_eq!(parse(expected), Some(bytes));
        }
        assert_eq!(human(0), "0 bytes");
        assert_eq!(human(1000), "1000 bytes");
    }
}
