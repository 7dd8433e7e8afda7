use std::io::Read;

use super::*;
use crate::channel::CHUNK;
use crate::digest::Algorithm;
use crate::unpack::stream::peek;

fn of(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// Reads `read` of `content` through the tap and judges it.
fn judge(content: &[u8], promised: Digest, read: impl FnOnce(Box<dyn Stream + '_>)) -> Result<(), Failure> {
    let diff_id = DiffId { promised, layer: of(b"the layer as it was fetched") };
    let (stream, hashing) = diff_id.hash(Box::new(Decoded::new(content))).unwrap();
    read(stream);
    hashing.finish()
}

fn to_the_end(mut stream: Box<dyn Stream + '_>) {
    while !stream.batch(u64::MAX).unwrap().is_empty() {}
    // Whoever asks again at the end is told the same.
    assert!(stream.batch(u64::MAX).unwrap().is_empty());
}

#[test]
fn every_byte_is_hashed_once_however_it_is_read() {
    let content: Vec<u8> = (0..3 * CHUNK + 77).map(|index| u8::try_from(index % 251).unwrap()).collect();
    judge(&content, of(&content), to_the_end).unwrap();
    judge(&content, of(&content), |mut stream| {
        let mut copy = Vec::new();
        stream.read_to_end(&mut copy).unwrap();
        assert!(copy == content);
    })
    .unwrap();
    // As an archive reads it: a look ahead, a few bytes, a batch of some, and the rest.
    judge(&content, of(&content), |stream| {
        let (_, mut stream) = peek(stream, 512).unwrap();
        stream.read_exact(&mut [0; 700]).unwrap();
        stream.batch(1000).unwrap();
        to_the_end(stream);
    })
    .unwrap();
    judge(b"", of(b""), to_the_end).unwrap();
}

#[test]
fn other_content_is_told_with_both_digests() {
    let failure = judge(b"content", of(b"other"), to_the_end).unwrap_err();
    assert_eq!(failure.reason, Reason::DigestMismatch);
    for part in [of(b"content"), of(b"other"), of(b"the layer as it was fetched")] {
        assert!(failure.message.contains(&part.to_string()), "{failure}");
    }
}

#[test]
fn a_layer_that_is_not_compressed_is_its_content() {
    let sha512 = Digest::of(Algorithm::Sha512, b"layer");
    for (promised, layer, fits) in [
        (of(b"layer"), of(b"layer"), true),
        (of(b"other"), of(b"layer"), false),
        (of(b"layer"), sha512.clone(), true),
        (sha512, of(b"other"), true),
    ] {
        assert_eq!(DiffId { promised, layer }.check_plain().is_ok(), fits);
    }
}
