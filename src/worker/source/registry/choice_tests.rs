use serde_json::{Value, json};

use super::*;

fn manifest(value: &Value) -> Manifest {
    Manifest::parse(value.to_string().as_bytes()).unwrap()
}

fn entry(digest: &str, platform: Option<(&str, &str)>) -> Value {
    let mut entry = json!({"mediaType": "m", "digest": digest, "size": 1});
    if let Some((os, architecture)) = platform {
        entry["platform"] = json!({"os": os, "architecture": architecture});
    }
    entry
}

#[test]
fn an_index_has_one_entry_for_a_platform() {
    let amd = entry("amd", Some(("linux", "amd64")));
    let arm = entry("arm", Some(("linux", "arm64")));
    let windows = entry("win", Some(("windows", "amd64")));
    let attestation = entry("att", Some(("unknown", "unknown")));
    let silent = entry("any", None);
    for (entries, expected) in [
        (vec![&windows, &arm, &amd], Some("amd")),
        (vec![&attestation, &amd], Some("amd")),
        (vec![&silent], Some("any")),
        (vec![&silent, &arm], Some("any")),
        (vec![&silent, &silent], None),
        (vec![&arm, &windows], None),
        (vec![&attestation], None),
    ] {
        let index = manifest(&json!({"manifests": entries}));
        match (index.next("amd64", None), expected) {
            (Ok(Next::Manifest(found)), Some(digest)) => assert_eq!(found.digest, digest),
            (Err(failure), None) => assert_eq!(failure.reason, Reason::NoPlatform),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
    let index = manifest(&json!({"manifests": [arm, windows, attestation]}));
    let message = index.next("amd64", None).unwrap_err().message;
    assert!(message.contains("linux/amd64, only for linux/arm64, windows/amd64;"), "{message}");
}

fn layer(digest: &str, media_type: &str, annotations: &Value) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": 1, "annotations": annotations})
}

/// The digests, what an archive in them is, and the path left to look for.
fn choose(config: &str, layers: &[Value], path: Option<&str>) -> Result<(Vec<String>, Container, Option<String>)> {
    let manifest = manifest(&json!({"config": layer("c", config, &json!({})), "layers": layers}));
    match manifest.next("amd64", path)? {
        Next::Blobs(choice) => {
            Ok((choice.blobs.iter().flatten().map(|blob| blob.digest.clone()).collect(), choice.container, choice.path))
        }
        Next::Manifest(_) => panic!("not an index"),
    }
}

#[test]
fn the_layers_of_an_image_are_read_from_the_top() {
    let layers = [layer("low", "t", &json!({})), layer("high", "t", &json!({}))];
    for config in IMAGE_CONFIGS {
        let (blobs, container, path) = choose(config, &layers, Some("disk/x")).unwrap();
        assert_eq!(
            (blobs, container, path.as_deref()),
            (vec!["high".into(), "low".into()], Container::Layer, Some("disk/x"))
        );
    }
    let foreign = json!({"mediaType": "t", "digest": "d", "size": 1, "urls": ["https://elsewhere"]});
    assert_eq!(choose(IMAGE_CONFIGS[0], &[foreign], None).unwrap_err().reason, Reason::MalformedManifest);
}
