use super::*;

const UID: &str = "0b8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11";

/// DNS-1123 subdomain, the rule of object names.
fn is_object_name(name: &str) -> bool {
    let ends_well = |label: &str| {
        label.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && label.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    name.len() <= MAX_NAME
        && name.split('.').all(ends_well)
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
}

#[test]
fn a_sync_is_named_after_its_claim() {
    let long = "a".repeat(253);
    let dotted = format!("{}.{}", "b".repeat(199), "c".repeat(53));
    let dashed = format!("{}--{}", "d".repeat(198), "e".repeat(53));
    for (claim, expected) in [
        ("vm-1", "vm-1-0b8c6a1e".to_owned()),
        ("web.example.org", "web.example.org-0b8c6a1e".to_owned()),
        (&long, format!("{}-0b8c6a1e", "a".repeat(200))),
        (&dotted, format!("{}-0b8c6a1e", "b".repeat(199))),
        (&dashed, format!("{}-0b8c6a1e", "d".repeat(198))),
    ] {
        let name = sync(claim, UID);
        assert_eq!(name, expected);
        assert!(is_object_name(&name), "{name}");
    }
}

#[test]
fn claims_of_one_name_have_syncs_of_their_own() {
    assert_ne!(sync("vm-1", UID), sync("vm-1", "9f8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11"));
}

#[test]
fn prime_and_worker_are_named_as_users_of_the_library_know_them() {
    assert_eq!(prime(UID), "prime-0b8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11");
    assert_eq!(worker(UID), "populate-0b8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11");
    // A pod's name becomes the host name of its container: a DNS label.
    assert!(worker(UID).len() <= 63);
}

#[test]
fn a_master_carries_its_key() {
    let key = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let long = "a".repeat(253);
    let dotted = format!("{}.{}", "b".repeat(243), "c".repeat(9));
    for (name, expected) in [
        ("win10", "win10-e3b0c442".to_owned()),
        (&long, format!("{}-e3b0c442", "a".repeat(244))),
        (&dotted, format!("{}-e3b0c442", "b".repeat(243))),
    ] {
        let master = master(name, key);
        assert_eq!(master, expected);
        assert!(is_object_name(&master), "{master}");
    }
}
