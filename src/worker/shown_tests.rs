use proptest::prelude::*;

use super::*;

#[test]
fn what_is_short_and_printable_stays_as_it_is() {
    for text in ["", "disk.img", "sha256:00", "ünïcode", &"x".repeat(NAME)] {
        assert_eq!(shown(text), *text);
    }
    let ours = "\"a\\b\" is no name; see 'c'".to_owned();
    assert_eq!(message(&ours), ours, "our own quotes are not escaped");
    assert_eq!(shown("a\"b"), "a\\\"b", "a stranger's do not end ours");
}

#[test]
fn what_would_move_the_cursor_is_escaped() {
    assert_eq!(shown("a\n\u{1b}[2Jb"), "a\\n\\u{1b}[2Jb");
    assert_eq!(message("a\n\u{1b}[2J\u{85}\u{202e}b"), "a\\n\\u{1b}[2J\\u{85}\\u{202e}b");
}

#[test]
fn what_is_long_is_cut() {
    assert_eq!(shown(&"x".repeat(NAME + 1)), format!("{}…", "x".repeat(NAME - 3)));
    assert_eq!(sentence(&"\u{1}".repeat(SENTENCE)).len(), SENTENCE);
}

proptest! {
    #[test]
    fn whatever_it_is_it_has_a_bound_and_nothing_that_controls(text in "\\PC{0,400}|(?s).{0,400}", times in 1_usize..20) {
        let text = text.repeat(times);
        for (shown, limit) in [
            (shown(&text), NAME),
            (sentence(&text), SENTENCE),
            (location(&text), LOCATION),
            (message(&text), MESSAGE),
        ] {
            prop_assert!(shown.len() <= limit);
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
        }
    }
}
