use super::Range::{self, Part, Unsatisfiable, Whole};

#[test]
fn ranges_of_a_file_of_ten_bytes() {
    let table = [
        ("bytes=0-", Part { first: 0, last: 9 }),
        ("bytes=3-5", Part { first: 3, last: 5 }),
        ("bytes=3-99", Part { first: 3, last: 9 }),
        ("bytes=-4", Part { first: 6, last: 9 }),
        ("bytes=-99", Part { first: 0, last: 9 }),
        ("bytes=-0", Unsatisfiable),
        ("bytes=10-", Unsatisfiable),
        ("bytes=5-3", Whole),
        ("bytes=0-1,3-4", Whole),
        ("items=0-1", Whole),
        ("bytes=x-", Whole),
    ];
    for (value, expected) in table {
        assert_eq!(Range::parse(value, 10), expected, "{value}");
    }
}

#[test]
fn an_empty_file_has_no_part() {
    assert_eq!(Range::parse("bytes=0-", 0), Unsatisfiable);
    assert_eq!(Range::parse("bytes=-1", 0), Unsatisfiable);
}
