use serde_json::{Value, json};

use super::*;

fn layer(digest: &str, media_type: &str, annotations: &Value) -> Descriptor {
    let layer = json!({"mediaType": media_type, "digest": digest, "size": 1, "annotations": annotations});
    serde_json::from_value(layer).unwrap()
}

fn plain(digest: &str) -> Descriptor {
    layer(digest, "x", &json!({}))
}

/// A part of a disk, as its media type says.
fn part(digest: &str, parameters: &str) -> Descriptor {
    layer(digest, &format!("application/vnd.oci.image.layer.v1.tar;{parameters}"), &json!({TITLE: digest}))
}

/// The digests of the one blob's parts, and the path left to look for in it.
fn chosen(layers: &[Descriptor], path: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
    let (parts, left) = choose(layers, path)?;
    Ok((parts.iter().map(|part| part.digest.clone()).collect(), left.map(str::to_owned)))
}

#[test]
fn an_artifact_has_one_blob_that_is_the_disk() {
    let titled = layer("t", "x", &json!({TITLE: "a.qcow2"}));
    let twin = layer("u", "x", &json!({TITLE: "a.qcow2"}));
    let kubevirt =
        layer("k", "application/vnd.kubevirt.disk.raw+zstd", &json!({KUBEVIRT_NAME: "root", TITLE: "root.raw.zst"}));
    for (layers, path, expected) in [
        (vec![plain("a")], None, Ok(("a", None))),
        (vec![plain("a")], Some("inside"), Ok(("a", Some("inside")))),
        (vec![plain("a"), plain("b")], None, Err("the artifact holds a (x), b (x); name the one")),
        (vec![plain("a"), plain("b")], Some("c"), Err("holds a (x), b (x)")),
        (vec![plain("a"), plain("b")], Some("b"), Ok(("b", None))),
        (vec![plain("a"), titled.clone()], Some("/a.qcow2"), Ok(("t", None))),
        (vec![titled.clone(), titled.clone()], Some("a.qcow2"), Ok(("t", None))),
        (vec![titled.clone(), twin], Some("a.qcow2"), Err("both t and u are called a.qcow2")),
        (vec![plain("a"), kubevirt.clone()], None, Ok(("k", None))),
        (vec![kubevirt.clone(), kubevirt.clone()], None, Err("holds 2 disks: root k, root k; name the one")),
        (vec![plain("a"), titled.clone(), kubevirt.clone()], Some("root"), Ok(("k", None))),
        (vec![plain("a"), titled, kubevirt], Some("root.raw.zst"), Ok(("k", None))),
    ] {
        match (chosen(&layers, path), expected) {
            (Ok((blobs, rest)), Ok((blob, left))) => {
                let expected = (vec![blob.to_owned()], left);
                assert_eq!((blobs, rest.as_deref()), expected);
            }
            (Err(failure), Err(text)) => {
                assert_eq!(failure.reason, Reason::NoDisk);
                assert!(failure.message.contains(text), "{failure}");
            }
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn a_message_names_a_few_of_many() {
    let many: Vec<Descriptor> = (0..1000).map(|number| plain(&format!("{number}{}", "y".repeat(1000)))).collect();
    let message = choose(&many, None).unwrap_err().message;
    assert!(message.contains("7yyy") && message.contains(", 992 more;"), "{message}");
    assert!(message.len() < 2000);
}

#[test]
fn a_disk_that_is_cut_has_all_its_parts_in_order() {
    let annotated = |digest: &str, number: u32| {
        let annotations = json!({"org.trycua.lume.part.number": number.to_string(), TITLE: digest});
        layer(digest, "application/vnd.trycua.lume.disk.v1", &annotations)
    };
    let config = layer("c", "application/vnd.oci.image.config.v1+json", &json!({TITLE: "config.json"}));
    for (layers, expected) in [
        (vec![part("a", "part.number=1;part.total=2"), part("b", "part.number=2;part.total=2")], &["a", "b"][..]),
        (vec![part("b", "part.number=2 ; part.total=2"), config.clone(), part("a", "part.number=1")], &["a", "b"]),
        (vec![part("a", "part.total=1;part.number=0")], &["a"]),
        (
            (0..11).map(|number| annotated(&number.to_string(), number)).rev().collect(),
            &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"],
        ),
        // A part that holds the same as another is the same blob.
        (vec![annotated("z", 1), annotated("d", 2), annotated("z", 3)], &["z", "d", "z"]),
    ] {
        assert_eq!(
            chosen(&layers, Some("inside")).unwrap(),
            (expected.iter().map(|digest| (*digest).to_owned()).collect(), Some("inside".into()))
        );
    }
}

#[test]
fn parts_that_are_not_all_there_are_no_disk() {
    for numbers in [
        &["part.number=1;part.total=3", "part.number=2;part.total=3"][..],
        &["part.number=1", "part.number=3"],
        &["part.number=1", "part.number=1"],
        &["part.number=2", "part.number=3"],
        &["part.number=0;part.total=2", "part.number=1;part.total=3"],
        &["part.number=1;part.total=0"],
        &["part.number=first"],
        &["part.number=-1"],
    ] {
        let layers: Vec<Descriptor> = numbers.iter().map(|numbers| part("a", numbers)).collect();
        let failure = choose(&layers, None).unwrap_err();
        assert_eq!(failure.reason, Reason::MalformedManifest, "{numbers:?}");
        assert!(failure.message.contains("push the image again"), "{failure}");
    }
    let layers = [part("a", "part.number=1"), part("b", "part.number=2")];
    let message = choose(&layers, Some("b")).unwrap_err().message;
    assert!(message.contains("b is one of the 2 parts of a disk; leave path away"), "{message}");
}

#[test]
fn the_size_of_a_disk_is_a_quantity_of_kubernetes() {
    for (text, bytes) in
        [("10Gi", Some(10 << 30)), ("7k", Some(7000)), ("1.5Gi", Some(3 << 29)), ("-1", None), ("", None)]
    {
        let annotations = json!({KUBEVIRT_SIZE: text});
        assert_eq!(layer("k", "application/vnd.kubevirt.disk.raw+zstd", &annotations).disk_size(), bytes, "{text}");
        assert_eq!(layer("k", "application/octet-stream", &annotations).disk_size(), None);
    }
}
