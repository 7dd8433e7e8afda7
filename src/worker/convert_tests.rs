use super::*;

#[test]
fn progress_is_read_as_qemu_img_prints_it() {
    for (line, expected) in [
        ("    (0.00/100%)", Some(0)),
        ("    (12.34/100%)", Some(1234)),
        ("    (100.00/100%)", Some(10_000)),
        ("", None),
        ("qemu-img: error", None),
        ("(x.y/100%)", None),
    ] {
        assert_eq!(hundredths(line), expected, "{line}");
    }
    let counters = Counters::default();
    counters.begin(Stage::Converting, Some(PERCENT_SCALE));
    follow(&b"    (1.00/100%)\r    (50.00/100%)\r    (49.00/100%)\r\n"[..], &counters);
    assert_eq!(counters.progress().percent, Some(50), "never backwards");
}

#[test]
fn an_error_is_told_by_its_last_line_and_not_without_bounds() {
    assert_eq!(last_line("a\nb\n"), "b");
    assert_eq!(last_line(""), "it gives no reason");
    assert_eq!(last_line(&"ü".repeat(1000)).len(), 300);
}
