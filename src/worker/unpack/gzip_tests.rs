use std::io::{BufReader, Write};

use super::*;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The content of `file`, read in pieces of this size.
fn content(file: &[u8], piece: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    GzipReader::new(BufReader::with_capacity(piece, file)).read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn members_follow_each_other_and_zeros_the_last() {
    let ones = vec![1; 100_000];
    let (one, two) = (gzip(&ones), gzip(b"two"));
    let whole = [&ones[..], b"two"].concat();
    for piece in [1, 7, 4096, 1 << 20] {
        for padding in [0, 1, 511, 100_000] {
            let file = [&one[..], &two, &vec![0; padding]].concat();
            assert!(content(&file, piece).unwrap() == whole, "{piece} {padding}");
        }
        // Blocked gzip (BGZF) ends with an empty member.
        assert!(content(&[&one[..], &two, &gzip(b"")].concat(), piece).unwrap() == whole, "{piece}");
    }
}

#[test]
fn what_is_behind_the_end_is_refused() {
    for behind in [&b"garbage"[..], b"\0\0garbage", b"\x1f", b"\x1f\x8b\x08"] {
        for piece in [1, 4096] {
            assert!(content(&[&gzip(b"content"), behind].concat(), piece).is_err(), "{behind:?}");
        }
    }
    assert!(
        content(&[&gzip(b"content")[..], b"\0", &gzip(b"more")].concat(), 4096).is_err(),
        "a member behind padding"
    );
}
