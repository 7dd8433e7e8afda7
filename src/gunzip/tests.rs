use std::io::Write;

use flate2::{Compression, GzBuilder};
use proptest::prelude::*;

use super::*;

fn gzip(data: &[u8], level: u32, name: Option<Vec<u8>>) -> Vec<u8> {
    let mut builder = GzBuilder::new();
    if let Some(name) = name {
        builder = builder.filename(name);
    }
    let mut encoder = builder.write(Vec::new(), Compression::new(level));
    encoder.write_all(data).expect("compressed");
    encoder.finish().expect("compressed")
}

/// The content of the first member of `stream`, given in pieces of these sizes, and how long the member is.
fn inflate(stream: &[u8], input: usize, output: usize) -> Result<Option<(Vec<u8>, usize)>, Error> {
    let mut member = Member::new();
    let (mut content, mut at) = (Vec::new(), 0);
    let mut buffer = vec![0xa5; output];
    loop {
        let piece = &stream[at..stream.len().min(at + input)];
        let step = member.step(piece, &mut buffer)?;
        at += step.consumed;
        content.extend_from_slice(&buffer[..step.produced]);
        if step.done {
            return Ok(Some((content, at)));
        }
        if piece.is_empty() && step.produced == 0 {
            return Ok(None);
        }
    }
}

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * at / 97 % 251).to_le_bytes()[0]).collect()
}

#[test]
fn a_member_ends_where_it_ends() {
    let content = data(300_000);
    for level in [0, 1, 6, 9] {
        let member = gzip(&content, level, None);
        let followed = [&member[..], b"what follows"].concat();
        for (input, output) in [(usize::MAX / 2, 1 << 20), (4096, 65536), (1, 100_000), (7, 3)] {
            assert_eq!(inflate(&followed, input, output), Ok(Some((content.clone(), member.len()))), "{level} {input}");
        }
    }
}

#[test]
fn headers_of_any_length_and_empty_members() {
    let long = gzip(b"content", 6, Some(vec![b'n'; 70_000]));
    assert_eq!(inflate(&long, 100, 100), Ok(Some((b"content".to_vec(), long.len()))));
    let empty = gzip(b"", 6, None);
    assert_eq!(inflate(&empty, 1, 1), Ok(Some((Vec::new(), empty.len()))));
}

#[test]
fn a_second_member_begins_afresh() {
    let (first, second) = (gzip(&data(5000), 6, None), gzip(b"second", 6, None));
    let mut member = Member::new();
    let mut buffer = vec![0; 10_000];
    assert!(member.step(&first, &mut buffer).expect("inflated").done);
    member.restart();
    let step = member.step(&second, &mut buffer).expect("inflated");
    assert_eq!(step, Step { consumed: second.len(), produced: 6, done: true });
    assert_eq!(&buffer[..6], b"second");
}

#[test]
fn what_is_wrong_is_told() {
    let member = gzip(&data(5000), 6, None);
    assert_eq!(inflate(b"no gzip at all, not even a little", 100, 100), Err(Error::Header));
    let with = |at: usize, byte: u8| {
        let mut damaged = member.clone();
        damaged[at] = byte;
        damaged
    };
    assert_eq!(inflate(&with(2, 7), 100, 100), Err(Error::Header), "another method");
    assert_eq!(inflate(&with(member.len() - 8, !member[member.len() - 8]), 100, 9999), Err(Error::Checksum), "CRC");
    assert_eq!(inflate(&with(member.len() - 1, 9), 100, 9999), Err(Error::Checksum), "length");
    assert_eq!(inflate(&with(10, 0xff), 100, 9999), Err(Error::Data), "block type 3");
}

proptest! {
    #[test]
    fn any_pieces_give_the_same(length in 0..200_000_usize, input in 1..70_000_usize, output in 1..70_000_usize) {
        let content = data(length);
        let member = gzip(&content, 6, None);
        prop_assert_eq!(inflate(&member, input, output), Ok(Some((content, member.len()))));
    }

    #[test]
    fn a_cut_or_a_flip_is_never_taken_for_the_whole(cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
        let content = data(20_000);
        let member = gzip(&content, 6, None);
        let cut = cut.index(member.len());
        prop_assert!(matches!(inflate(&member[..cut], 4096, 4096), Ok(None)), "cut at {}", cut);
        let mut damaged = member.clone();
        let at = 10 * 8 + flip.index((member.len() - 10) * 8);
        damaged[at / 8] ^= 1 << (at % 8);
        if let Ok(Some((found, _))) = inflate(&damaged, 4096, 4096) {
            prop_assert!(found == content, "flipped bit {}", at);
        }
    }
}
