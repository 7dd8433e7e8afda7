use super::*;

#[test]
fn the_best_checksum_of_the_whole_object_is_promised() {
    // Those of "123456789".
    let sha256 = ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
    let crc64 = ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=");
    let crc32 = ("x-amz-checksum-crc32", "y/Q5Jg==");
    let whole = ("x-amz-checksum-type", "FULL_OBJECT");
    let parts = ("x-amz-checksum-type", "COMPOSITE");
    let composite = ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=-3");
    let endless = format!("y/Q5Jg==-{}", "1".repeat(LONGEST_COMPOSITE));
    let shown = "sha256-composite:FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=-3";
    for (headers, expected, promised) in [
        (&[][..], None, None),
        (&[crc64, whole], Some("crc64nvme:ae8b14860a799888"), Some(Algorithm::Crc64Nvme)),
        (&[crc32], Some("crc32:cbf43926"), Some(Algorithm::Crc32)),
        (&[crc32, crc64], Some("crc64nvme:ae8b14860a799888"), Some(Algorithm::Crc64Nvme)),
        (
            &[crc64, sha256],
            Some("sha256:15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            Some(Algorithm::Sha256),
        ),
        (&[composite], Some(shown), None),
        (&[composite, parts], Some(shown), None),
        // No checksum that S3 would write: it must not get into a report.
        (
            &[("x-amz-checksum-sha256", "not base 64-3"), crc64],
            Some("crc64nvme:ae8b14860a799888"),
            Some(Algorithm::Crc64Nvme),
        ),
        (&[("x-amz-checksum-crc32", endless.as_str()), parts], None, None),
        (&[("x-amz-checksum-crc32", "?")], None, None),
        (&[("x-amz-checksum-crc32", "AAAA")], None, None),
        (&[("x-amz-checksum-sha1", "98O8HYCOBHMqm32ddYmZAaKz+3c=")], None, None),
    ] {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let checksum = Checksum::of(&headers);
        let expectation = checksum.as_ref().and_then(Checksum::expectation);
        assert_eq!(expectation.map(|expectation| expectation.digest.algorithm()), promised, "{headers:?}");
        assert_eq!(checksum.map(|checksum| checksum.to_string()).as_deref(), expected, "{headers:?}");
    }
}
