use serde_json::{Value, from_value, json};

use super::*;

fn claim() -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                    "volumeAttributesClassName": "gold"}})
}

fn volume() -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1073741824"},
                    "volumeMode": "Filesystem", "volumeAttributesClassName": "gold"}})
}

type Case = (&'static str, fn(&mut Value, &mut Value), Option<&'static str>);

#[test]
fn says_what_keeps_them_apart() {
    let cases: [Case; 8] = [
        ("the same, written differently", |_, _| (), None),
        ("more than enough", |volume, _| volume["spec"]["capacity"]["storage"] = json!("2Gi"), None),
        ("too small", |volume, _| volume["spec"]["capacity"]["storage"] = json!("1023Mi"), Some("it has 1023Mi")),
        ("no capacity", |volume, _| volume["spec"]["capacity"] = json!({}), Some("no capacity")),
        ("another mode", |_, claim| claim["spec"]["volumeMode"] = json!("Block"), Some("volumeMode is Filesystem")),
        (
            "an access mode too many",
            |_, claim| claim["spec"]["accessModes"] = json!(["ReadWriteOnce", "ReadWriteMany"]),
            Some("ReadWriteMany"),
        ),
        (
            "other attributes",
            |volume, _| volume["spec"]["volumeAttributesClassName"] = json!("silver"),
            Some("\"silver\", the claim's is \"gold\""),
        ),
        (
            "no attributes where some are wanted",
            |volume, _| volume["spec"]["volumeAttributesClassName"] = Value::Null,
            Some("\"\", the claim's is \"gold\""),
        ),
    ];
    for (case, change, expected) in cases {
        let (mut volume, mut claim) = (volume(), claim());
        change(&mut volume, &mut claim);
        let result = check(&from_value(volume).unwrap(), &from_value(claim).unwrap());
        match (expected, result) {
            (None, result) => assert_eq!(result, Ok(()), "{case}"),
            (Some(part), Err(why)) => assert!(why.contains(part), "{case}: {why}"),
            (Some(_), Ok(())) => panic!("{case}: they were found to match"),
        }
    }
}
