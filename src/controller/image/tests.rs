use super::*;
use crate::policy::AllowedSource;

fn spec(url: &str) -> VMDiskImageSpec {
    VMDiskImageSpec { url: Some(url.to_owned()), ..VMDiskImageSpec::default() }
}

#[test]
fn what_can_be_told_without_asking_the_source_is_told() {
    let everything = Policy::default();
    let one =
        Policy { allowed_sources: vec![AllowedSource::parse("https://host/images").unwrap()], ..Policy::default() };
    let blank = VMDiskImageSpec { source_type: Some(SourceType::Blank), ..VMDiskImageSpec::default() };
    for (spec, policy, expected) in [
        (spec("https://host/a"), &everything, None),
        (spec("https://host/images/a"), &one, None),
        (blank, &one, None),
        (VMDiskImageSpec::default(), &everything, Some(("InvalidImage", "spec.url is missing"))),
        (spec("https://[half"), &everything, Some(("InvalidImage", "spec.url is no URL"))),
        (spec("s3://bucket/a"), &one, Some(("SourceNotAllowed", "add it to allowedSources"))),
    ] {
        let found = validate(&spec, policy).err();
        assert_eq!(found.as_ref().map(Invalid::event_reason), expected.map(|(reason, _)| reason), "{spec:?}");
        if let (Some(found), Some((_, text))) = (found, expected) {
            assert!(found.to_string().contains(text), "{found}");
        }
    }
}

#[test]
fn a_refused_url_is_shown_without_its_secrets() {
    let one = Policy { allowed_sources: vec![AllowedSource::parse("https://host").unwrap()], ..Policy::default() };
    let refused = validate(&spec("https://user:password@other/a?token=secret"), &one).unwrap_err().to_string();
    assert!(refused.contains("https://other/a;"), "{refused}");
    assert!(!refused.contains("password") && !refused.contains("secret"), "{refused}");
}
