use super::*;

#[test]
fn references_are_read_as_docker_reads_them() {
    for (url, host, repository, tag) in [
        ("docker://quay.io/kubevirt/fedora:40", "quay.io", "kubevirt/fedora", "40"),
        ("oci://localhost:5000/a/b/c", "localhost:5000", "a/b/c", "latest"),
        ("docker://localhost/a", "localhost", "a", "latest"),
        ("docker://10.0.0.1:5000/a:v1", "10.0.0.1:5000", "a", "v1"),
        ("docker://ubuntu", "docker.io", "library/ubuntu", "latest"),
        ("docker://kubevirt/cirros:1", "docker.io", "kubevirt/cirros", "1"),
        ("docker://index.docker.io/busybox", "docker.io", "library/busybox", "latest"),
        ("docker://h.test/a__b/c-d.e:T_1.x", "h.test", "a__b/c-d.e", "T_1.x"),
    ] {
        let reference = Reference::parse(url).unwrap();
        assert_eq!(
            (reference.host.as_str(), reference.repository.as_str(), reference.tag.as_str()),
            (host, repository, tag)
        );
        assert_eq!(reference.digest, None);
    }
    let digest = format!("sha256:{}", "a".repeat(64));
    let reference = Reference::parse(&format!("docker://h.test/r:1@{digest}")).unwrap();
    assert_eq!(reference.digest.unwrap().to_string(), digest);
    assert_eq!(reference.tag, "1");
}

#[test]
fn apis_and_policies_have_their_urls() {
    let reference = Reference::parse("docker://ubuntu").unwrap();
    assert_eq!(reference.api(false).unwrap().as_str(), "https://registry-1.docker.io/v2/library/ubuntu/");
    assert_eq!(reference.policy_url().unwrap().as_str(), "docker://docker.io/library/ubuntu");
    let reference = Reference::parse("oci://localhost:5000/r").unwrap();
    assert_eq!(reference.api(true).unwrap().as_str(), "http://localhost:5000/v2/r/");
}

#[test]
fn what_is_no_reference_is_refused() {
    for url in [
        "https://h.test/r",
        "docker://",
        "docker://h.test/",
        "docker://h.test/UPPER",
        "docker://h.test/a//b",
        "docker://h.test/../x",
        "docker://h.test/a/..",
        "docker://h.test/r:",
        "docker://h.test/r:a b",
        "docker://h.test/r?x=1",
        "docker://user:pass@h.test/r",
        "docker://h.test/r@sha256:00",
        "docker://h.test:port/r",
    ] {
        let failure = Reference::parse(url).unwrap_err();
        assert_eq!(failure.reason, Reason::InvalidUrl, "{url}");
        assert!(!failure.message.contains("pass@"), "{failure}");
    }
}
