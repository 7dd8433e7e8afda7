use super::*;

#[test]
fn a_mounted_secret_is_read_as_the_kubelet_lays_it_out() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("..2026_11_21");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("token"), "t\n").unwrap();
    std::fs::write(data.join(".dockerconfigjson"), "{}").unwrap();
    std::os::unix::fs::symlink("..2026_11_21", directory.path().join("..data")).unwrap();
    for key in ["token", ".dockerconfigjson"] {
        std::os::unix::fs::symlink(format!("..data/{key}"), directory.path().join(key)).unwrap();
    }
    let secret = Secret::read(directory.path()).unwrap();
    assert_eq!(secret.get(&["other", "token"]), Some("t"));
    assert_eq!(secret.get(&[".dockerconfigjson"]), Some("{}"));
    assert!(!secret.is_empty());
    assert!(Secret::read(&directory.path().join("nothing")).unwrap().is_empty());
}

#[test]
fn what_cannot_be_a_credential_is_named_by_its_key() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), [0xff, 0xfe]).unwrap();
    let failure = Secret::read(directory.path()).err().unwrap();
    assert_eq!(failure.reason, Reason::InvalidSecret);
    assert!(failure.message.contains("key token"), "{failure}");
}

#[test]
fn pairs_are_whole_or_absent() {
    assert!(Secret::default().basic().unwrap().is_none());
    assert_eq!(Secret::from([("username", "u"), ("password", "p")]).basic().unwrap(), Some(("u", "p")));
    let failure = Secret::from([("password", "p")]).basic().unwrap_err();
    assert_eq!(failure.message, "the Secret has the key password but not username; add it");
}
