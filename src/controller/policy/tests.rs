use std::time::Duration;

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use url::Url;

use super::*;

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn map(pairs: &[(&str, &str)]) -> ConfigMap {
    ConfigMap { data: Some(data(pairs)), ..ConfigMap::default() }
}

/// Without last good values.
fn read(pairs: &[(&str, &str)]) -> (Policy, Vec<Problem>) {
    let Parsed { policy, problems, .. } = parse(&map(pairs), &Raw::new());
    (policy, problems)
}

#[test]
fn no_config_map_means_the_defaults() {
    assert_eq!(read(&[]), (Policy::default(), vec![]));
}

#[test]
fn the_users_manifest_is_read() {
    let (policy, problems) = read(&[("concurrency", "4"), ("retryLimit", "2"), ("retryBackoffDuration", "5m")]);
    assert_eq!(problems, vec![]);
    assert_eq!(policy, Policy::default(), "the manifest of the design spells out the defaults");
}

/// Every key, with a value that is not its default.
const EVERY: &[(&str, &str)] = &[
    ("concurrency", "7"),
    ("retryLimit", "0"),
    ("disruptionLimit", "3"),
    ("retryBackoffDuration", "1s500ms"),
    ("retryBackoffMax", "1h30m"),
    ("restoreConcurrency", "8"),
    ("attemptTimeout", "1h"),
    ("missingRetryInterval", "2s"),
    ("deniedRetryInterval", "3s"),
    ("startTimeout", "4s"),
    ("nodeLostTimeout", "5s"),
    ("bandwidthPerWorker", "10Mi"),
    ("allowedSources", "s3://bucket/images,\n https://host:8443\n"),
    ("refusedNetworks", "10.0.0.0/8 fd00::/8"),
    ("filesystemOverhead", "0.055"),
    ("scratchSize", "1Gi"),
    ("syncHistory", "2d"),
    ("keepFailedWorkers", "true"),
    ("workerResources", "requests: {cpu: 100m}"),
    ("workerNodeSelector", r#"{"disktype": "ssd"}"#),
    ("workerTolerations", "- {key: dedicated, operator: Exists}"),
    ("workerPriorityClass", "low"),
    ("workerImagePullSecrets", "one,two"),
    ("httpProxy", "http://proxy:3128"),
    ("httpsProxy", "http://proxy:3129"),
    ("noProxy", ".svc,10.0.0.0/8"),
];

#[test]
fn every_key_has_its_effect() {
    let second = Duration::from_secs;
    let expected = Policy {
        unread: Vec::new(),
        concurrency: 7,
        restore_concurrency: 8,
        retry_limit: 0,
        disruption_limit: 3,
        retry_backoff: Duration::from_millis(1500),
        retry_backoff_max: second(5400),
        attempt_timeout: second(3600),
        missing_retry_interval: second(2),
        denied_retry_interval: second(3),
        start_timeout: second(4),
        node_lost_timeout: second(5),
        bandwidth_per_worker: Some(10 << 20),
        allowed_sources: vec![
            AllowedSource::parse("s3://bucket/images").unwrap(),
            AllowedSource::parse("https://host:8443").unwrap(),
        ],
        refused_networks: vec!["10.0.0.0/8".into(), "fd00::/8".into()],
        overhead_per_mille: 55,
        scratch_size: 1 << 30,
        sync_history: second(2 * 24 * 3600),
        keep_failed_workers: true,
        worker: WorkerPolicy {
            resources: Some(ResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "cpu".to_owned(),
                    k8s_openapi::apimachinery::pkg::api::resource::Quantity("100m".to_owned()),
                )])),
                ..ResourceRequirements::default()
            }),
            node_selector: data(&[("disktype", "ssd")]),
            tolerations: vec![Toleration {
                key: Some("dedicated".into()),
                operator: Some("Exists".into()),
                ..Toleration::default()
            }],
            priority_class: Some("low".into()),
            image_pull_secrets: vec!["one".into(), "two".into()],
            http_proxy: Some("http://proxy:3128".into()),
            https_proxy: Some("http://proxy:3129".into()),
            no_proxy: Some(".svc,10.0.0.0/8".into()),
        },
    };
    assert_eq!(EVERY.len(), KEYS.len(), "each key stands in this table");
    assert_eq!(read(EVERY), (expected, vec![]));
}

/// Values that cannot be read, and what is said of them.
const BAD: &[(&str, &str, &str)] = &[
    ("concurrency", "many", "expected a whole number from 0 to 10000"),
    ("concurrency", "-1", "expected a whole number"),
    ("retryLimit", "2.5", "expected a whole number"),
    ("disruptionLimit", "1001", "expected a whole number from 0 to 1000"),
    ("retryBackoffDuration", "5", "for example 90s, 5m"),
    ("retryBackoffDuration", "0s", "above zero"),
    ("retryBackoffDuration", "", "above zero"),
    ("retryBackoffDuration", "5 minutes", "for example 90s, 5m"),
    ("retryBackoffDuration", "99999999999999999999h", "up to a year"),
    ("syncHistory", "1000d", "up to a year"),
    ("attemptTimeout", "10ms", "expected at least 1s"),
    ("bandwidthPerWorker", "fast", "is not a quantity"),
    ("bandwidthPerWorker", "0", "above zero"),
    ("allowedSources", "example.org", "is no URL"),
    ("allowedSources", "ftp://example.org", "has the scheme \"ftp\""),
    ("allowedSources", "https://user:word@example.org", "\"example.org\" has more than scheme, host, port and path"),
    ("refusedNetworks", "10.0.0.0", "expected a network"),
    ("refusedNetworks", "10.0.0.0/33", "expected a network"),
    ("filesystemOverhead", "1.5", "expected a share"),
    ("filesystemOverhead", "-6%", "expected a share"),
    ("keepFailedWorkers", "yes", "expected true or false"),
    ("workerResources", "requests: [1]", "not the YAML of ResourceRequirements"),
    ("workerTolerations", "{", "not the YAML of a list of tolerations"),
];

#[test]
fn a_bad_value_keeps_the_last_good_one_of_its_key_and_is_named() {
    for (key, value, expected) in BAD {
        let last = EVERY.iter().find(|pair| pair.0 == *key).unwrap();
        let Parsed { policy, good, problems } = parse(&map(&[(key, value), LABEL]), &data(EVERY));
        assert_eq!(policy, read(&[*last, LABEL]).0, "{key}={value}");
        assert_eq!(good, data(&[*last, LABEL]), "{key}={value}: what the policy is made of is what is kept");
        assert_eq!(problems.len(), 1, "{key}={value}");
        assert_eq!((problems[0].key.as_str(), problems[0].effect), (*key, Effect::KeepsLast));
        assert!(problems[0].message.contains(expected), "{key}={value}: {}", problems[0].message);
        assert!(!problems[0].message.contains("word"), "a password is shown: {}", problems[0].message);
    }
}

/// A good value beside each bad one.
const LABEL: (&str, &str) = ("workerPriorityClass", "low");

#[test]
fn a_bad_value_without_a_last_good_one_closes_the_policy() {
    let broken = data(&BAD.iter().map(|(key, value, _)| (*key, *value)).collect::<Vec<_>>());
    for last in [Raw::new(), data(&[LABEL]), broken] {
        for (key, value, _) in BAD {
            let Parsed { policy, good, problems } = parse(&map(&[(key, value), LABEL]), &last);
            assert_eq!((policy.permits(), &policy.unread), (0, &vec![*key]), "{key}={value}");
            assert!(policy.closed().is_some_and(|why| why.contains(key)), "{key}={value}");
            assert_eq!(good, data(&[LABEL]), "{key}={value}: what cannot be read is not kept as good");
            assert_eq!(problems.len(), 1, "{key}={value}");
            assert_eq!(problems[0].effect, Effect::Closes);
            // The good values beside it hold, for what runs.
            assert_eq!(policy.worker.priority_class.as_deref(), Some("low"));
        }
    }
}

#[test]
fn a_closed_policy_is_open_again_when_it_can_be_read() {
    for (policy, permits) in [
        (read(&[("concurrency", "9")]).0, 9),
        (read(&[]).0, 4),
        (read(&[("concurrency", "9"), ("syncHistory", "long")]).0, 0),
        (read(&[("concurrency", "many")]).0, 0),
        (read(&[("no such key", "x")]).0, 4),
    ] {
        assert_eq!(policy.permits(), permits, "{policy:?}");
        assert_eq!(policy.closed().is_some(), permits == 0);
    }
}

#[test]
fn restrictions_that_cannot_be_read_refuse_every_source() {
    let (policy, _) = read(&[("allowedSources", "example.org")]);
    for url in ["https://example.org/a", "http://localhost", "s3://bucket/a", "oci://quay.io/a"] {
        assert!(!policy.allows(&Url::parse(url).unwrap()), "{url}");
    }
    // What a worker is told of it can be read there.
    let told = policy.allowed_sources[0].to_string();
    assert_eq!(AllowedSource::parse(&told).unwrap(), policy.allowed_sources[0]);
    let (policy, _) = read(&[("refusedNetworks", "10.0.0.0")]);
    assert_eq!(policy.refused_networks, ["0.0.0.0/0", "::/0"]);
}

#[test]
fn what_is_no_text_or_too_long_cannot_be_read() {
    let binary = ConfigMap {
        binary_data: Some([("allowedSources".to_owned(), ByteString(b"https://host\xff".to_vec()))].into()),
        ..map(&[])
    };
    let Parsed { policy, problems, .. } = parse(&binary, &Raw::new());
    assert_eq!(policy.unread, ["allowedSources"]);
    assert!(problems[0].message.contains("expected UTF-8"), "{}", problems[0]);

    let entry = "https://host ";
    for (times, unread) in [(16 * 1024 / entry.len(), 0), (16 * 1024 / entry.len() + 1, 1)] {
        let (policy, problems) = read(&[("allowedSources", &entry.repeat(times))]);
        assert_eq!(policy.unread.len(), unread, "{times}: {problems:?}");
    }
    let all = KEYS.len() * 16 * 1024;
    assert!(all < 1 << 20, "all keys at their longest are {all} bytes: too many for a ConfigMap");
}

#[test]
fn a_message_shows_the_beginning_of_what_was_found_and_all_of_what_is_expected() {
    let (_, problems) = read(&[("allowedSources", &"ü".repeat(5000)), ("syncHistory", &"9".repeat(5000))]);
    for problem in problems {
        assert!(problem.message.len() < 400, "{} bytes", problem.message.len());
        assert!(problem.message.contains("\"…") && problem.message.contains("expected"), "{problem}");
    }
}

#[test]
fn a_key_that_is_gone_has_its_default_and_is_not_remembered() {
    let Parsed { policy, good, problems } = parse(&map(&[]), &data(EVERY));
    assert_eq!((policy, good, problems), (Policy::default(), Raw::new(), vec![]));
}

#[test]
fn what_was_good_for_a_later_release_is_kept_for_it() {
    let last = data(&[("colour", "red"), ("shape", "round")]);
    let Parsed { good, .. } = parse(&map(&[("colour", "gruen"), ("size", "big")]), &last);
    assert_eq!(good, data(&[("colour", "red")]), "neither what is gone nor what nobody has called good");
}

#[test]
fn the_defaults_that_are_documented_are_the_defaults() {
    let written: Vec<(&str, &str)> =
        KEYS.iter().filter(|key| !key.default.is_empty()).map(|key| (key.name, key.default)).collect();
    assert_eq!(read(&written), (Policy::default(), vec![]));
}

#[test]
fn the_readme_has_every_key() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&reference()), "put this into README.md:\n{}", reference());
}

#[test]
fn an_unknown_key_is_named_and_does_no_harm() {
    let (policy, problems) = read(&[("Concurrency", "9"), ("colour", "red")]);
    assert_eq!(policy, Policy::default());
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["Concurrency: no such key; did you mean concurrency?", "colour: no such key; it has no effect"]);
}

#[test]
fn allowed_sources_are_compared_part_by_part() {
    for (entry, url, covered) in [
        ("https://host", "https://host/any/path", true),
        ("https://host", "https://HOST:443/any", true),
        ("https://host", "http://host/any", false),
        ("https://host", "https://host:8443/any", false),
        ("https://host", "https://host.evil.example/any", false),
        ("https://host/images", "https://host/images/a.qcow2", true),
        ("https://host/images/", "https://host/images/a.qcow2", true),
        ("https://host/images", "https://host/images-of-others/a", false),
        ("https://host/images", "https://host/images/../secret", false),
        ("s3://bucket/a", "s3://bucket/a/b", true),
        ("s3://bucket/a", "s3://bucket2/a/b", false),
        ("docker://quay.io/team", "oci://quay.io/team/disk:1", true),
        ("docker://quay.io/team/disk", "docker://quay.io/team/disk:1", true),
        ("docker://quay.io/team/disk", "docker://quay.io/team/disk@sha256:00", true),
        ("docker://quay.io/team/disk", "docker://quay.io/team/disk2:1", false),
        ("oci://localhost:5000", "docker://localhost:5000/disk", true),
        ("oci://localhost:5000", "docker://localhost/disk", false),
    ] {
        let policy = Policy { allowed_sources: vec![AllowedSource::parse(entry).unwrap()], ..Policy::default() };
        assert_eq!(policy.allows(&Url::parse(url).unwrap()), covered, "{entry} {url}");
    }
    assert!(Policy::default().allows(&Url::parse("https://anywhere").unwrap()));
}
