use std::time::Duration;

use url::Url;

use super::*;

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn read(pairs: &[(&str, &str)]) -> (Policy, Vec<Problem>) {
    parse(&data(pairs), &Policy::default())
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

#[test]
fn every_key_has_its_effect() {
    let second = Duration::from_secs;
    let expected = Policy {
        disruption_limit: 10,
        concurrency: 7,
        retry_limit: 0,
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
    let pairs = [
        ("concurrency", "7"),
        ("retryLimit", "0"),
        ("retryBackoffDuration", "1s500ms"),
        ("retryBackoffMax", "1h30m"),
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
    assert_eq!(pairs.len(), KEYS.len(), "each key stands in this table");
    assert_eq!(read(&pairs), (expected, vec![]));
}

#[test]
fn a_bad_value_keeps_the_last_good_one_and_is_named() {
    for (key, value, expected) in [
        ("concurrency", "many", "expected a whole number from 0 to 10000"),
        ("concurrency", "-1", "expected a whole number"),
        ("retryLimit", "2.5", "expected a whole number"),
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
        ("allowedSources", "https://user@example.org", "has more than scheme, host, port and path"),
        ("refusedNetworks", "10.0.0.0", "expected a network"),
        ("refusedNetworks", "10.0.0.0/33", "expected a network"),
        ("filesystemOverhead", "1.5", "expected a share"),
        ("filesystemOverhead", "-6%", "expected a share"),
        ("keepFailedWorkers", "yes", "expected true or false"),
        ("workerResources", "requests: [1]", "not the YAML of ResourceRequirements"),
        ("workerTolerations", "{", "not the YAML of a list of tolerations"),
    ] {
        let last = Policy {
            concurrency: 9,
            keep_failed_workers: true,
            retry_backoff: Duration::from_secs(77),
            ..Policy::default()
        };
        let (policy, problems) = parse(
            &data(&[(key, value), ("retryLimit", "2")].map(|pair| if pair.0 == key { (key, value) } else { pair })),
            &last,
        );
        assert_eq!(problems.len(), 1, "{key}={value}");
        assert_eq!(problems[0].key, key);
        assert!(problems[0].message.contains(expected), "{key}={value}: {}", problems[0].message);
        let mut kept = Policy::default();
        match key {
            "concurrency" => kept.concurrency = 9,
            "keepFailedWorkers" => kept.keep_failed_workers = true,
            "retryBackoffDuration" => kept.retry_backoff = Duration::from_secs(77),
            _ => {}
        }
        assert_eq!(policy, kept, "{key}={value}");
    }
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
