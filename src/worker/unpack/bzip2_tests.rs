use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::unpack::stream::Decoded;

fn compress(data: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::new(level));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn content(file: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    Decoded::of(Blocks::new(io::BufReader::with_capacity(1000, file))).read_to_end(&mut content)?;
    Ok(content)
}

/// Bytes that compress a little, so that blocks end at any bit.
fn data(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3] & 0x3f
        })
        .collect()
}

#[test]
fn blocks_and_streams_come_in_order() {
    for (level, length) in [(1, 0), (1, 1), (1, 950_000), (9, 2_000_000)] {
        let plain = data(length, 7);
        let one = compress(&plain, level);
        assert!(content(&one).unwrap() == plain, "{level} {length}");
        let twice = [&one[..], &compress(b"tail", 5), &compress(b"", 1), &one].concat();
        assert!(content(&twice).unwrap() == [&plain[..], b"tail", &plain].concat(), "{level} {length}, four streams");
    }
}

#[test]
fn a_block_that_holds_much_is_decoded_as_it_is_read() {
    // One block of level 9 holds more than 40 MB of zeros.
    let zeros = vec![0; 50 << 20];
    let file = [compress(&zeros, 9), compress(b"behind", 9)].concat();
    let found = content(&file).unwrap();
    assert_eq!(found.len(), zeros.len() + 6);
    assert!(found[..zeros.len()].iter().all(|byte| *byte == 0) && found.ends_with(b"behind"));
}

#[test]
fn a_magic_number_within_a_block_is_no_block() {
    // What is cut at a false magic number is put together again, as a piece and the next one.
    let plain = data(300_000, 3);
    let file = compress(&plain, 9);
    let mut pieces = Pieces::new(&file[..]);
    let whole = pieces.next().unwrap().unwrap();
    assert!(whole.is_block);
    let middle = whole.bits / 2 + 3;
    let half = |from, to, is_block| Piece {
        is_block,
        bytes: Bits::slice(&whole.bytes, from, to),
        bits: to - from,
        end: whole.end - (whole.bits - to) as u64,
    };
    for second_is_block in [true, false] {
        let mut blocks = Blocks::new(&[][..]);
        blocks.pieces.start = Some(0);
        blocks.pieces.ended = true;
        for piece in [half(0, middle, true), half(middle, whole.bits, second_is_block)] {
            if piece.is_block {
                blocks.decoded.give(piece.as_stream(), 1);
            }
            blocks.given.push_back(piece);
        }
        assert!(blocks.next().unwrap() == plain, "{second_is_block}");
        assert_eq!(blocks.combined, whole.crc());
    }
}

#[test]
fn what_is_behind_the_end_is_refused() {
    let file = compress(b"content", 9);
    for behind in [&b"garbage"[..], b"BZh", b"BZh0", b"\0\0\0\0"] {
        assert!(content(&[&file[..], behind].concat()).is_err(), "{behind:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_cut_or_a_flip_is_never_taken_for_the_whole(at in any::<prop::sample::Index>(), length in 1..400_000_usize) {
        let plain = data(length, 5);
        let file = compress(&plain, 1);
        let cut = at.index(file.len() - 1);
        prop_assert!(content(&file[..cut]).is_err(), "cut at {}", cut);
        let mut damaged = file.clone();
        let bit = 32 + at.index((file.len() - 4) * 8);
        damaged[bit / 8] ^= 0x80 >> (bit % 8);
        // The bits that fill the last byte say nothing.
        if let Ok(found) = content(&damaged) {
            prop_assert!(found == plain, "flipped bit {}", bit);
        }
    }

    #[test]
    fn bits_are_cut_and_joined(bytes in prop::collection::vec(any::<u8>(), 1..50), cuts in any::<[prop::sample::Index; 2]>()) {
        let bits = bytes.len() * 8;
        let (one, two) = (cuts[0].index(bits + 1), cuts[1].index(bits + 1));
        let (first, second) = (one.min(two), one.max(two));
        let mut joined = Bits { bytes: Vec::new(), count: 0 };
        for (from, to) in [(0, first), (first, second), (second, bits)] {
            joined.append(&Bits::slice(&bytes, from, to), to - from);
        }
        prop_assert_eq!((joined.bytes, joined.count), (bytes, bits));
    }
}
