//! Images that the API server accepts and refuses, and changes that it does and does not let through.

use crate::table::{Change, Creation, Expect::Accepted, refused};

const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `(what, spec, expectation)`
pub(crate) fn creations() -> Vec<Creation> {
    let mut table = sources();
    table.extend(urls());
    table.extend(fields());
    table
}

fn sources() -> Vec<Creation> {
    vec![
        // The least that is an image.
        ("registry", "{url: 'docker://quay.io/containerdisks/fedora:42'}".into(), Accepted),
        ("s3", "{url: 's3://bucket/path/to/disk.qcow2'}".into(), Accepted),
        ("https", "{url: 'https://example.org/disk.qcow2'}".into(), Accepted),
        ("http", "{url: 'http://example.org/disk.qcow2'}".into(), Accepted),
        ("blank", "{sourceType: blank, diskSize: 24Gi}".into(), Accepted),
        ("nothing", "{}".into(), refused("url is required; set it, or set sourceType: blank")),
        ("a null url is no url", "{url: null}".into(), refused("url is required")),
        ("a type without a url", "{sourceType: s3}".into(), refused("url is required")),
        // Blank is bare.
        (
            "blank with a url",
            "{sourceType: blank, diskSize: 1Gi, url: 'https://h/x'}".into(),
            refused("sourceType blank is an empty disk and fetches nothing"),
        ),
        (
            "blank with a checksum",
            format!("{{sourceType: blank, diskSize: 1Gi, checksum: '{SHA256}'}}"),
            refused("sourceType blank is an empty disk and fetches nothing"),
        ),
        (
            "blank with a Secret",
            "{sourceType: blank, diskSize: 1Gi, secretRef: s}".into(),
            refused("sourceType blank is an empty disk and fetches nothing"),
        ),
        ("blank of no size", "{sourceType: blank}".into(), refused("diskSize is required with sourceType blank")),
        // Type and scheme.
        ("registry, said", "{sourceType: registry, url: 'oci://ghcr.io/org/disk:1'}".into(), Accepted),
        ("s3 by https", "{sourceType: s3, url: 'https://s3.example.org/bucket/key'}".into(), Accepted),
        ("s3 by http", "{sourceType: s3, url: 'http://minio:9000/bucket/key'}".into(), Accepted),
        ("http, said", "{sourceType: http, url: 'https://example.org/x'}".into(), Accepted),
        (
            "http by s3",
            "{sourceType: http, url: 's3://bucket/key'}".into(),
            refused("sourceType and url contradict each other"),
        ),
        (
            "registry by https",
            "{sourceType: registry, url: 'https://quay.io/containerdisks/fedora'}".into(),
            refused("sourceType and url contradict each other"),
        ),
        (
            "s3 by docker",
            "{sourceType: s3, url: 'docker://quay.io/containerdisks/fedora'}".into(),
            refused("sourceType and url contradict each other"),
        ),
        (
            "an unknown type",
            "{sourceType: ftp, url: 'https://h/x'}".into(),
            refused(r#"supported values: "registry", "s3", "http", "blank""#),
        ),
        // S3.
        (
            "s3 by https without a key",
            "{sourceType: s3, url: 'https://bucket.s3.example.org/'}".into(),
            refused("url names no S3 object"),
        ),
        ("s3 with a directory", "{url: 's3://bucket/directory/'}".into(), refused("url names no S3 object")),
        ("a region", "{url: 's3://bucket/key', region: us-gov-west-1}".into(), Accepted),
        ("a region by https", "{sourceType: s3, url: 'https://h/bucket/key', region: eu-west-1}".into(), Accepted),
        (
            "a region without S3",
            "{url: 'https://h/bucket/key', region: eu-west-1}".into(),
            refused("region belongs to S3 alone; add sourceType: s3"),
        ),
        (
            "a malformed region",
            "{url: 's3://bucket/key', region: 'EU West'}".into(),
            refused("region must be a region's name in lower case"),
        ),
    ]
}

fn urls() -> Vec<Creation> {
    const MALFORMED: &str = "url is malformed; write docker://HOST/REPOSITORY:TAG";
    let table: [(&str, String, Option<&str>); 34] = [
        ("registry with a port", "docker://localhost:5000/a/b/c:v1".into(), None),
        ("registry without a tag", "docker://quay.io/containerdisks/fedora".into(), None),
        ("registry by digest", format!("oci://quay.io/containerdisks/fedora@{SHA256}"), None),
        ("registry by tag and digest", format!("oci://quay.io/c/fedora:42@{SHA256}"), None),
        ("repository with separators", "docker://h/a_b/c.d/e--f__g:T_1.0-x".into(), None),
        ("registry without a repository", "docker://quay.io".into(), Some(MALFORMED)),
        ("registry without a host", "docker:///containerdisks/fedora".into(), Some(MALFORMED)),
        ("repository in capitals", "docker://quay.io/Containerdisks/fedora".into(), Some(MALFORMED)),
        ("registry with a short digest", "docker://h/r@sha256:abc".into(), Some(MALFORMED)),
        (
            "registry with an unknown digest",
            "docker://h/r@md5:d41d8cd98f00b204e9800998ecf8427e".into(),
            Some(MALFORMED),
        ),
        ("registry with an empty tag", "docker://h/r:".into(), Some(MALFORMED)),
        ("registry with a query", "docker://h/r?x=1".into(), Some(MALFORMED)),
        ("registry with userinfo", "docker://user:secret@h/r".into(), Some(MALFORMED)),
        ("bucket with dots", "s3://my.bucket.example/key".into(), None),
        ("bucket in capitals", "s3://Bucket/key".into(), Some(MALFORMED)),
        ("bucket of two letters", "s3://ab/key".into(), Some(MALFORMED)),
        ("s3 without a key", "s3://bucket".into(), Some(MALFORMED)),
        ("s3 with an empty key", "s3://bucket/".into(), Some(MALFORMED)),
        ("https with a port", "https://example.org:8443/a/b.qcow2".into(), None),
        ("https with a query", "https://example.org/a?signature=x%2Fy&b=1".into(), None),
        ("https to an IPv4 address", "https://192.0.2.1/a".into(), None),
        ("https to an IPv6 address", "https://[2001:db8::1]:8443/a".into(), None),
        ("https with an escaped space", "https://example.org/a%20b".into(), None),
        ("https with a space", "https://example.org/a b".into(), Some(MALFORMED)),
        ("https with a fragment", "https://example.org/a#b".into(), Some(MALFORMED)),
        ("https without a host", "https:///a".into(), Some(MALFORMED)),
        ("https with a port that is none", "https://example.org:http/a".into(), Some(MALFORMED)),
        ("https with a line break", r"https://example.org/a\nb".into(), Some(MALFORMED)),
        ("no scheme", "quay.io/containerdisks/fedora".into(), Some(MALFORMED)),
        ("an unknown scheme", "ftp://example.org/a".into(), Some(MALFORMED)),
        ("a scheme in capitals", "HTTPS://example.org/a".into(), Some(MALFORMED)),
        ("a file of the node", "file:///etc/shadow".into(), Some(MALFORMED)),
        ("credentials", "https://user:secret@example.org/a".into(), Some("url carries credentials")),
        ("a user alone", "https://user@example.org/a".into(), Some("url carries credentials")),
    ];
    let mut cases: Vec<Creation> = table
        .into_iter()
        .map(|(what, url, refusal)| (what, format!("{{url: \"{url}\"}}"), refusal.map_or(Accepted, refused)))
        .collect();
    let long = |length: usize| format!("{{url: 'https://example.org/{}'}}", "a".repeat(length - 20));
    cases.push(("a url of 2048 characters", long(2048), Accepted));
    cases.push(("a url of 2049 characters", long(2049), refused("may not be more than 2048")));
    cases
}

fn fields() -> Vec<Creation> {
    const QUANTITY: &str = "diskSize must be a quantity of bytes greater than 0, for example 24Gi";
    const NAME: &str = "must be the name of an object: lower-case letters";
    const PATH: &str = "path must be relative to the root of the container image or archive";
    const CHECKSUM: &str = "checksum must be sha256: with 64 or sha512: with 128 lower-case hexadecimal digits";
    let table: [(&str, String, Option<&str>); 42] = [
        ("size in Gi", "diskSize: 24Gi".into(), None),
        ("size in G", "diskSize: 1.5G".into(), None),
        ("size as a number", "diskSize: 1073741824".into(), None),
        ("size of nothing", "diskSize: 0".into(), Some(QUANTITY)),
        ("size below nothing", "diskSize: -1Gi".into(), Some(QUANTITY)),
        ("size in GB", "diskSize: 24GB".into(), Some(QUANTITY)),
        ("size in words", "diskSize: large".into(), Some(QUANTITY)),
        ("an empty size", "diskSize: ''".into(), Some(QUANTITY)),
        ("a preload", "storageClass: gp3, diskSize: 1Gi".into(), None),
        ("a preload without a size", "storageClass: gp3".into(), Some("diskSize is required with storageClass")),
        ("a snapshot", "storageClass: gp3, diskSize: 1Gi, snapshotClass: ebs".into(), None),
        ("a snapshot without a preload", "snapshotClass: ebs".into(), Some("snapshotClass needs storageClass")),
        ("a class in capitals", "storageClass: GP3, diskSize: 1Gi".into(), Some(NAME)),
        ("a snapshot class with a space", "storageClass: a, diskSize: 1Gi, snapshotClass: 'a b'".into(), Some(NAME)),
        ("a golden name", "name: harrison-vm.v2".into(), None),
        ("a golden name with an underscore", "name: harrison_vm".into(), Some(NAME)),
        ("an empty golden name", "name: ''".into(), Some("should be at least 1 chars long")),
        ("a golden name of 253", format!("name: {}", "n".repeat(253)), None),
        ("a golden name of 254", format!("name: {}", "n".repeat(254)), Some("may not be more than 253")),
        ("a Secret", "secretRef: foo-bar".into(), None),
        ("a Secret by path", "secretRef: '../other/secret'".into(), Some(NAME)),
        ("a ConfigMap", "certConfigMap: lab-ca".into(), None),
        ("a ConfigMap with a dash at the end", "certConfigMap: lab-".into(), Some(NAME)),
        ("an account", "serviceAccountName: images-reader".into(), None),
        ("an account in capitals", "serviceAccountName: Reader".into(), Some(NAME)),
        ("a format", "format: qcow2".into(), None),
        ("an unknown format", "format: iso".into(), Some(r#"supported values: "auto", "raw", "qcow2", "vmdk""#)),
        ("a pull policy", "pullPolicy: Never".into(), None),
        (
            "an unknown pull policy",
            "pullPolicy: Sometimes".into(),
            Some(r#"supported values: "IfNotPresent", "Always", "Never""#),
        ),
        ("a path", "path: disk/fedora.v1..qcow2".into(), None),
        ("a hidden file", "path: .disk/..fedora".into(), None),
        ("an absolute path", "path: /disk/fedora.qcow2".into(), Some(PATH)),
        ("a path upwards", "path: disk/../../etc/passwd".into(), Some(PATH)),
        ("a path that is upwards", "path: '..'".into(), Some(PATH)),
        ("a path with a dot", "path: ./fedora.qcow2".into(), Some(PATH)),
        ("a path to a directory", "path: disk/".into(), Some(PATH)),
        ("a path with an empty segment", "path: disk//fedora.qcow2".into(), Some(PATH)),
        ("a checksum", format!("checksum: '{SHA256}'"), None),
        ("a long checksum", format!("checksum: 'sha512:{}'", "0f".repeat(64)), None),
        ("a checksum without its algorithm", format!("checksum: '{}'", &SHA256[7..]), Some(CHECKSUM)),
        ("a checksum in capitals", format!("checksum: 'sha256:{}'", "AB".repeat(32)), Some(CHECKSUM)),
        ("a checksum of the wrong length", format!("checksum: 'sha512:{}'", "ab".repeat(32)), Some(CHECKSUM)),
    ];
    table
        .into_iter()
        .map(|(what, field, refusal)| {
            (what, format!("{{url: 'https://example.org/a', {field}}}"), refusal.map_or(Accepted, refused))
        })
        .collect()
}

/// `(what, spec before, spec after, expectation)`
pub(crate) fn changes() -> Vec<Change> {
    const SHRINKS: &str = "diskSize never shrinks and is never removed";
    const CLASS: &str = "storageClass does not change: the golden claim exists in the old class";
    const NAME: &str = "name is immutable";
    let image = |fields: &str| format!("{{url: 'https://example.org/a', {fields}}}");
    let case = |what, before: &str, after: &str, refusal: Option<&'static str>| -> Change {
        (what, image(before), image(after), refusal.map_or(Accepted, refused))
    };
    vec![
        (
            "another source",
            "{url: 's3://bucket/v1.qcow2'}".into(),
            "{url: 'docker://h/r:v2', format: raw, pullPolicy: Always, secretRef: s}".into(),
            Accepted,
        ),
        case("a larger disk", "diskSize: 24Gi", "diskSize: 25Gi", None),
        case("the same disk in other words", "diskSize: 24Gi", "diskSize: 25769803776", None),
        case("a disk, later", "format: raw", "diskSize: 1Gi", None),
        case("a smaller disk", "diskSize: 24Gi", "diskSize: 24G", Some(SHRINKS)),
        case("a disk removed", "diskSize: 24Gi", "format: raw", Some(SHRINKS)),
        case("a preload, later", "diskSize: 1Gi", "diskSize: 1Gi, storageClass: a", None),
        case("no preload any more", "diskSize: 1Gi, storageClass: a", "diskSize: 1Gi", None),
        case("another class", "diskSize: 1Gi, storageClass: a", "diskSize: 1Gi, storageClass: b", Some(CLASS)),
        case(
            "another snapshot class",
            "diskSize: 1Gi, storageClass: a, snapshotClass: one",
            "diskSize: 1Gi, storageClass: a, snapshotClass: two",
            None,
        ),
        case("the same name", "name: golden", "name: golden, format: raw", None),
        case("another name", "name: golden", "name: silver", Some(NAME)),
        case("a name removed", "name: golden", "format: raw", Some(NAME)),
        case("a name, later", "format: raw", "name: golden", Some(NAME)),
        case("rules hold on changes too", "format: raw", "path: /absolute", Some("path must be relative")),
    ]
}
