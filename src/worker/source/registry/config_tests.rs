use serde_json::json;

use super::*;

#[test]
fn a_configuration_has_one_digest_for_each_layer_or_says_nothing() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let of = |ids: &[String]| json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}).to_string();
    let two = of(&[digest("a"), digest("B")]);
    let read: Vec<String> =
        diff_ids(two.as_bytes(), 2).unwrap().into_iter().map(|id| id.unwrap().to_string()).collect();
    assert_eq!(read, [digest("a"), digest("b")]);
    for text in [&two, "", "{}", "[]", r#"{"rootfs": {}}"#, r#"{"rootfs": null}"#, r#"{"rootfs": {"diff_ids": [1]}}"#] {
        assert_eq!(diff_ids(text.as_bytes(), 3).unwrap(), vec![None; 3], "{text}");
    }
}

#[test]
fn what_is_no_digest_is_malformed() {
    let failure = diff_ids(br#"{"rootfs": {"diff_ids": ["sha256:12"]}}"#, 1).unwrap_err();
    assert_eq!(failure.reason, Reason::MalformedManifest);
    assert!(failure.message.contains("rootfs.diff_ids: \"sha256:12\""), "{failure}");
}
