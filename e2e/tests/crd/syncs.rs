//! Syncs: only the controller writes them, so what matters is that a record cannot be rewritten.

use crate::table::{Change, Creation, Expect::Accepted, refused};

const CLAIM: &str = "claim: {namespace: lab, name: vm-1, uid: 0b8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11}";
const IMAGE: &str = "image: {name: fedora, uid: 5b0c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11, generation: 3}";

/// `(what, spec, expectation)`
pub(crate) fn creations() -> Vec<Creation> {
    vec![
        ("a sync", format!("{{{CLAIM}, {IMAGE}}}"), Accepted),
        ("a sync without a claim", format!("{{{IMAGE}}}"), refused("spec.claim: Required value")),
        ("a sync without an image", format!("{{{CLAIM}}}"), refused("spec.image: Required value")),
        (
            "a claim without a UID",
            format!("{{claim: {{namespace: lab, name: vm-1}}, {IMAGE}}}"),
            refused("spec.claim.uid: Required value"),
        ),
    ]
}

/// `(what, spec before, spec after, expectation)`
pub(crate) fn changes() -> Vec<Change> {
    let before = format!("{{{CLAIM}, {IMAGE}}}");
    vec![
        ("nothing", before.clone(), before.clone(), Accepted),
        (
            "another claim",
            before.clone(),
            before.replace("vm-1", "vm-2"),
            refused("the spec of a VMDiskSync is immutable; delete the sync to retry"),
        ),
        (
            "another generation",
            before.clone(),
            before.replace("generation: 3", "generation: 4"),
            refused("the spec of a VMDiskSync is immutable"),
        ),
    ]
}
