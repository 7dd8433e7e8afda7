use super::*;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn digests_are_read_and_written() {
    assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY);
    assert_eq!(Digest::parse(&EMPTY.to_uppercase().replace("SHA", "sha")).unwrap().to_string(), EMPTY);
    let long = Digest::of(Algorithm::Sha512, b"x");
    assert_eq!(Digest::parse(&long.to_string()).unwrap(), long);
    for text in ["", "sha256", "sha256:", "sha256:e3", "md5:00", &EMPTY.replace('e', "g"), &EMPTY.replace("256", "512")]
    {
        assert!(Digest::parse(text).unwrap_err().contains("expected sha256:"), "{text}");
    }
}

fn expect(promised_by: &'static str, algorithm: Algorithm, bytes: &[u8]) -> Expectation {
    Expectation { promised_by, digest: Digest::of(algorithm, bytes) }
}

#[test]
fn every_expectation_counts() {
    let data = b"some bytes";
    let good = [expect("a", Algorithm::Sha256, data), expect("b", Algorithm::Sha512, data)];
    for (more, expected) in [
        (None, None),
        (Some(expect("c", Algorithm::Sha256, data)), None),
        (Some(expect("c", Algorithm::Sha256, b"other")), Some("c promises")),
        (Some(expect("d", Algorithm::Sha512, b"")), Some("d promises")),
    ] {
        let mut verifier = Verifier::new(good.iter().cloned().chain(more).collect());
        data.chunks(3).for_each(|chunk| verifier.update(chunk));
        match (verifier.finish(), expected) {
            (Ok(()), None) => {}
            (Err(failure), Some(text)) => {
                assert_eq!(failure.reason, Reason::DigestMismatch);
                assert!(failure.message.contains(text), "{failure}");
            }
            (result, expected) => panic!("{result:?}, expected {expected:?}"),
        }
    }
    assert!(Verifier::new(Vec::new()).finish().is_ok(), "nothing promised, nothing broken");
}
