//! The sample that documents the policy: complete, right about the defaults, and every example in it can be read.

use k8s_openapi::api::core::v1::ConfigMap;

use super::*;

const SAMPLE: &str = include_str!("../../../manifests/samples/policy.yaml");

fn map(text: &str) -> ConfigMap {
    let map: ConfigMap = serde_saphyr::from_str(text).unwrap();
    assert_eq!(map.metadata.name.as_deref(), Some(CONFIG_MAP));
    map
}

fn read(map: &ConfigMap) -> (Policy, Vec<Problem>) {
    let Parsed { policy, problems, .. } = parse(map, &Raw::new());
    (policy, problems)
}

#[test]
fn what_it_sets_is_the_default() {
    assert_eq!(read(&map(SAMPLE)), (Policy::default(), vec![]));
}

#[test]
fn every_key_is_in_it_and_every_example_can_be_read() {
    let is_example =
        |line: &str| line.starts_with("  ") || KEYS.iter().any(|key| line.starts_with(&format!("{}:", key.name)));
    let lines: Vec<String> = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix("  # ") {
            Some(comment) if is_example(comment) => format!("  {comment}"),
            _ => line.to_owned(),
        })
        .collect();
    let map = map(&lines.join("\n"));
    for key in KEYS {
        assert!(
            map.data.as_ref().unwrap().contains_key(key.name),
            "manifests/samples/policy.yaml does not explain {}",
            key.name
        );
    }
    assert_eq!(read(&map).1, vec![]);
}
