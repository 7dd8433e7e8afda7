use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique_and_fit_for_files_and_urls() {
    let mut names = BTreeSet::new();
    for case in cases() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!(case.name.bytes().all(plain), "{}", case.name);
        assert!(names.insert(case.name.clone()), "{} stands twice", case.name);
    }
}

#[test]
fn there_are_enough_small_ones_and_each_differs_from_what_is_accepted() {
    let (disks, hostile): (Vec<_>, Vec<_>) = cases().into_iter().partition(|case| case.expected == Expected::Disk);
    assert!(hostile.len() >= 200, "{}", hostile.len());
    for group in hostile.iter().map(|case| case.group).collect::<BTreeSet<_>>() {
        assert!(disks.iter().any(|case| case.group == group), "{group} has no image that is accepted");
    }
    let accepted: BTreeSet<_> = disks.iter().map(Case::bytes).collect();
    for case in hostile {
        let bytes = case.bytes();
        assert!(bytes.len() <= 8 << 20, "{} has {} bytes", case.name, bytes.len());
        assert!(!accepted.contains(&bytes), "{} is an image that is accepted", case.name);
    }
}

#[test]
fn the_sample_has_every_group() {
    let groups = |cases: Vec<Case>| cases.iter().map(|case| case.group).collect::<BTreeSet<_>>();
    assert_eq!(groups(sample()), groups(cases()));
}
