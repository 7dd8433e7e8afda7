use serde_json::{from_value, json};

use super::*;

fn claim(name: &str) -> PersistentVolumeClaim {
    from_value(json!({"metadata": {"name": name, "namespace": "labs", "uid": "c1"}})).unwrap()
}

fn notice(message: &str) -> Notice {
    Notice { warning: true, reason: "Why", message: message.into() }
}

#[test]
fn an_event_is_about_the_claim() {
    let event = event(&claim("disk"), &notice("Because."), "vmdisk", "vmdisk-0", Timestamp::UNIX_EPOCH);
    let regarding = event.regarding.unwrap();
    assert_eq!(
        (regarding.kind.as_deref(), regarding.name.as_deref(), regarding.uid.as_deref()),
        (Some("PersistentVolumeClaim"), Some("disk"), Some("c1"))
    );
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("Why")));
    assert_eq!(event.metadata.namespace.as_deref(), Some("labs"));
}

#[test]
fn an_event_of_a_claim_with_the_longest_name_has_a_name_that_is_allowed() {
    // Cut in the middle of "..", it would end in a character that no name may have before a dot.
    let long = format!("{}.{}", "a".repeat(199), "b".repeat(53));
    let event = event(&claim(&long), &notice("x"), "vmdisk", "vmdisk-0", Timestamp::now());
    let name = event.metadata.name.unwrap();
    assert!(name.len() <= 253, "{name}");
    assert!(
        name.split('.').all(|part| part.starts_with(char::is_alphanumeric) && part.ends_with(char::is_alphanumeric))
    );
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let event = event(&claim("disk"), &notice(&"ä".repeat(600)), "vmdisk", "vmdisk-0", Timestamp::UNIX_EPOCH);
    assert_eq!(event.note.map(|note| note.chars().count()), Some(512));
}

#[test]
fn knows_a_namespace_that_goes_from_a_right_that_is_missing() {
    let refusal = |cause: Option<&str>| {
        let details = cause.map(|cause| json!({"causes": [{"reason": cause, "message": "", "field": ""}]}));
        let status = json!({"code": 403, "reason": "Forbidden", "details": details});
        from_value::<Status>(status).unwrap()
    };
    assert!(is_terminating(&refusal(Some("NamespaceTerminating"))));
    assert!(!is_terminating(&refusal(Some("FieldValueInvalid"))));
    assert!(!is_terminating(&refusal(None)));
}
