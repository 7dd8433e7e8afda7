use serde_json::{from_value, json};

use super::*;

fn grant(namespace: &str, name: &str, from: &str) -> ReferenceGrant {
    from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": from}],
                 "to": [{"group": "example.com", "kind": "Source"}]},
    }))
    .unwrap()
}

#[test]
fn nothing_is_known_before_the_first_list_and_each_namespace_grants_for_itself() {
    let grants = Grants::default();
    let from = |claim_namespace| Reference { claim_namespace, group: "example.com", kind: "Source", name: "image" };
    assert_eq!(grants.allow("images", from("labs")), None);
    for event in [Event::Init, Event::InitApply(grant("images", "a", "labs")), Event::InitDone] {
        grants.apply(event);
    }
    assert_eq!(grants.allow("images", from("labs")), Some(true));
    assert_eq!(grants.allow("images", from("other")), Some(false));
    assert_eq!(grants.allow("image", from("labs")), Some(false));
    assert_eq!(grants.allow("images-2", from("labs")), Some(false));
    grants.apply(Event::Apply(grant("images-2", "b", "labs")));
    assert_eq!(grants.allow("images-2", from("labs")), Some(true));
    grants.apply(Event::Delete(grant("images", "a", "labs")));
    assert_eq!(grants.allow("images", from("labs")), Some(false));
    for event in [Event::Init, Event::InitDone] {
        grants.apply(event);
    }
    assert_eq!(grants.allow("images-2", from("labs")), Some(false), "what a list does not tell is gone");
}
