//! What a test target says of itself with `--list`: a line for each test, `name: test`, among others.

use anyhow::{Result, ensure};

/// Whether a test of the listing has a name that contains `filter`. Benchmarks are no tests.
pub(super) fn names(listing: &str, filter: &str) -> bool {
    listing.lines().filter_map(|line| line.strip_suffix(": test")).any(|test| test.contains(filter))
}

/// A filter that matches nothing has tested nothing, whatever it was meant to name.
pub(super) fn ensure_some(filter: &str, matches: bool) -> Result<()> {
    ensure!(matches, "no test has a name that contains `{filter}`; nothing was tested");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "sizes::are_exact: test\n\
                           lib.rs - Quantity (line 12): test\n\
                           speed: benchmark\n\
                           \n\
                           2 tests, 1 benchmark\n";

    #[test]
    fn a_filter_matches_any_part_of_a_tests_name() {
        for filter in ["sizes::are_exact", "exact", "Quantity", ""] {
            assert!(names(LISTING, filter), "{filter}");
        }
    }

    #[test]
    fn neither_other_lines_nor_what_the_listing_adds_to_a_name_match() {
        for filter in ["speed", "tests", "benchmark", ": test", "Exact"] {
            assert!(!names(LISTING, filter), "{filter}");
        }
        assert!(!names("0 tests, 0 benchmarks\n", ""));
    }

    #[test]
    fn a_filter_without_a_test_is_named() {
        assert!(ensure_some("typo", true).is_ok());
        let error = ensure_some("typo", false).unwrap_err().to_string();
        assert!(error.contains("`typo`"), "{error}");
    }
}
