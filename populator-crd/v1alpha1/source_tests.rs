use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::*;

fn spec(url: &str, source_type: Option<SourceType>) -> VMDiskImageSpec {
    VMDiskImageSpec { url: (!url.is_empty()).then(|| url.to_owned()), source_type, ..VMDiskImageSpec::default() }
}

#[test]
fn the_scheme_says_the_protocol_unless_the_spec_does() {
    use SourceType::{Blank, Http, Registry, S3};
    for (url, said, expected) in [
        ("docker://quay.io/containerdisks/fedora:42", None, Registry),
        ("oci://localhost:5000/disk@sha256:00", None, Registry),
        ("oci://localhost:5000/disk", Some(Registry), Registry),
        ("s3://bucket/key", None, S3),
        ("s3://bucket/key", Some(S3), S3),
        ("https://s3.us-gov-west-1.amazonaws.com/bucket/key", Some(S3), S3),
        ("http://minio:9000/bucket/key", Some(S3), S3),
        ("https://example.org/a.qcow2", None, Http),
        ("http://example.org/a.qcow2", Some(Http), Http),
        ("", Some(Blank), Blank),
    ] {
        assert_eq!(spec(url, said).source_type(), Ok(expected), "{url} {said:?}");
    }
}

#[test]
fn a_contradiction_is_refused_with_both_sides() {
    for (url, said, expected) in [
        ("", None, "spec.url is missing"),
        ("", Some(SourceType::S3), "spec.url is missing"),
        ("ftp://host/file", None, "the scheme \"ftp\""),
        ("no-scheme", None, "the scheme \"\""),
        ("s3://bucket/key", Some(SourceType::Http), "sourceType is Http and spec.url has the scheme \"s3\""),
        ("docker://host/repository", Some(SourceType::S3), "sourceType is S3 and spec.url has the scheme \"docker\""),
    ] {
        let message = spec(url, said).source_type().unwrap_err().to_string();
        assert!(message.contains(expected), "{url} {said:?}: {message}");
    }
}

#[test]
fn the_disk_size_is_bytes() {
    let sized =
        |text: &str| VMDiskImageSpec { disk_size: Some(Quantity(text.to_owned())), ..VMDiskImageSpec::default() };
    assert_eq!(VMDiskImageSpec::default().disk_size_bytes(), Ok(None));
    assert_eq!(sized("24Gi").disk_size_bytes(), Ok(Some(24 << 30)));
    assert!(sized("24GB").disk_size_bytes().is_err());
}
