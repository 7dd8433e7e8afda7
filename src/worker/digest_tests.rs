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
        data.chunks(3).for_each(|chunk| verifier.update(chunk).unwrap());
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

#[test]
fn every_part_has_a_digest_of_its_own() {
    let part = |bytes: &[u8]| (bytes.len() as u64, vec![expect("the manifest", Algorithm::Sha256, bytes)]);
    let whole = || Verifier::new(vec![expect("checksum", Algorithm::Sha512, b"some bytes")]);
    let feed = |mut verifier: Verifier, chunk: usize| -> Result<()> {
        b"some bytes".chunks(chunk).try_for_each(|bytes| verifier.update(bytes))?;
        verifier.finish()
    };
    for chunk in 1..=10 {
        let parts = [part(b""), part(b"some"), part(b" byte"), part(b""), part(b"s"), part(b"")];
        feed(whole().of_parts(parts), chunk).unwrap();
        for (wrong, reason) in [
            (vec![part(b"Some"), part(b" bytes")], Reason::DigestMismatch),
            (vec![part(b"some"), part(b" bytez")], Reason::DigestMismatch),
            (vec![part(b"som"), part(b"e bytes more")], Reason::SizeMismatch),
            (vec![part(b" bytes"), part(b"some")], Reason::DigestMismatch),
        ] {
            assert_eq!(feed(whole().of_parts(wrong), chunk).unwrap_err().reason, reason);
        }
    }
    // The first part is judged before the others come.
    let mut verifier = whole().of_parts([part(b"SOME"), part(b" bytes")]);
    verifier.update(b"som").unwrap();
    assert!(verifier.update(b"e").is_err());
}

#[test]
fn what_object_stores_record_is_computed() {
    // The check values of the catalogue of parametrised CRC algorithms, for "123456789".
    for (algorithm, expected) in [
        (Algorithm::Crc32, "crc32:cbf43926"),
        (Algorithm::Crc32c, "crc32c:e3069283"),
        (Algorithm::Crc64Nvme, "crc64nvme:ae8b14860a799888"),
    ] {
        assert_eq!(Digest::of(algorithm, b"123456789").to_string(), expected);
        assert_eq!(Digest::from_bytes(algorithm, &[0; 5]), None);
    }
    assert_eq!(Digest::from_bytes(Algorithm::Crc32, &[0, 1, 0xfe, 0xff]).unwrap().to_string(), "crc32:0001feff");
    assert!(Digest::parse("crc32:cbf43926").is_err(), "too weak for a user's promise");
}
