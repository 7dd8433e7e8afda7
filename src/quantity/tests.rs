use super::*;

#[test]
fn quantities_are_bytes() {
    for (text, expected) in [
        ("0", 0),
        ("00", 0),
        ("-0", 0),
        ("1073741824", 1 << 30),
        ("+5", 5),
        ("24Gi", 24 << 30),
        ("1Ki", 1024),
        ("1k", 1000),
        ("1.5Gi", 3 << 29),
        (".5Mi", 1 << 19),
        ("5.", 5),
        ("0.1", 1),
        ("1500m", 2),
        ("1n", 1),
        ("1e3", 1000),
        ("1E3", 1000),
        ("2E", 2_000_000_000_000_000_000),
        ("12e-1", 2),
        ("1e-999", 1),
        ("7Ei", 7 << 60),
        ("9223372036854775807", i64::MAX),
        ("0.000000000000000000000001Ti", 1),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused_by_name() {
    for text in ["", "Gi", ".", "1.2.3", "1 Gi", "24GB", "1K", "0x10", "ten", "1e", "1e1.5", "1ki", "é"] {
        assert_eq!(parse(text), Err(QuantityError::Syntax(text.to_owned())), "{text:?}");
    }
    assert_eq!(parse("-1Gi"), Err(QuantityError::Negative("-1Gi".into())));
    for text in ["8Ei", "9223372036854775808", "1e19", "1e2147483647", "99999999999999999999999999999999999999999"] {
        assert_eq!(parse(text), Err(QuantityError::TooLarge(text.to_owned())), "{text}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    for (bytes, expected) in [(1024, "1Ki"), (24 << 30, "24Gi"), ((1 << 30) + (1 << 20), "1025Mi"), (2048 << 30, "2Ti")]
    {
        assert_eq!(human(bytes), expected);
        assert_eq!(parse(expected).map(i64::unsigned_abs), Ok(bytes));
    }
    assert_eq!(human(0), "0 bytes");
    assert_eq!(human(1000), "1000 bytes");
}
