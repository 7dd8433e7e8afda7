use std::io::Write;

use zstd::zstd_safe::CParameter;

use super::super::stream::Decoded;
use super::*;

fn noise(length: u32) -> Vec<u8> {
    (0..length).flat_map(|number| (number.wrapping_mul(number) >> 7).to_le_bytes()).collect()
}

/// A frame with a checksum; it declares its size only when `sized`.
fn frame(data: &[u8], sized: bool) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
    if sized {
        encoder.set_pledged_src_size(Some(data.len() as u64)).unwrap();
    }
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn skippable(length: u32) -> Vec<u8> {
    [&[0x5a, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), &vec![9; length as usize]].concat()
}

fn decode_all(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    // A piece at a time, as from the network.
    let compressed = io::BufReader::with_capacity(1000, bytes);
    Decoded::of(Frames::new(compressed)).read_to_end(&mut all)?;
    Ok(all)
}

#[test]
fn small_and_large_frames_come_in_order() {
    let (small, large) = (noise(30_000), vec![5; MAX_SMALL + MAX_BLOCK]);
    let mut bytes = skippable(0);
    let mut expected = Vec::new();
    for round in 0..20_u32 {
        let tail = round.to_le_bytes();
        bytes.extend(
            [frame(&small, round % 2 == 0), frame(&tail, true), frame(b"", round % 3 == 0), skippable(round)].concat(),
        );
        expected.extend([&small[..], &tail].concat());
        if round % 7 == 3 {
            bytes.extend(frame(&large, round % 2 == 0));
            expected.extend(&large);
        }
    }
    assert!(decode_all(&bytes).unwrap() == expected);
    assert_eq!(decode_all(&skippable(100)).unwrap(), b"");
}

#[test]
fn the_end_of_a_frame_is_found_whatever_its_blocks_are() {
    let random: Vec<u8> = noise(50_000)
        .iter()
        .scan(7_u32, |state, byte| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(u32::from(*byte) + 1_013_904_223);
            Some((*state >> 24) as u8)
        })
        .collect();
    for data in [vec![], vec![1], vec![7; 1 << 20], noise(100_000), random] {
        for sized in [false, true] {
            let bytes = frame(&data, sized);
            let mut compressed = &[&bytes[..], b"rest"].concat()[..];
            let Some(Frame::Small(found, content)) = next_frame(&mut compressed).unwrap() else {
                panic!("{} bytes are small", data.len());
            };
            assert!(found == bytes && compressed == b"rest");
            assert!(content >= data.len());
        }
    }
    assert_eq!([declared(&[5]), declared(&[5, 1]), declared(&[0, 0, 1, 0])], [5, 5 + 256 + 256, 1 << 16]);
    assert_eq!([window(0), window(0x88), window(0x8a)], [1 << 10, 1 << 27, (1 << 27) + (1 << 25)]);
}

#[test]
fn cuts_and_damage_are_noticed() {
    let bytes = [frame(&noise(3000), true), skippable(40), frame(&noise(2000), false)].concat();
    let whole = decode_all(&bytes).unwrap();
    let ends = [0, frame(&noise(3000), true).len(), frame(&noise(3000), true).len() + 48];
    for at in (0..bytes.len()).step_by(53).chain(bytes.len() - 9..bytes.len()) {
        if !ends.contains(&at) {
            assert!(decode_all(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        // The content of a skippable frame does not matter; all else is under a checksum.
        assert!(decode_all(&flipped).is_err_and(|_| true) || (ends[1]..ends[2]).contains(&at), "flipped at {at}");
        let skipped = decode_all(&flipped).map_or(true, |plain| plain == whole);
        assert!(skipped, "flipped at {at}");
    }
    for garbage in [&b"x"[..], b"more than eight bytes", &[0; 40]] {
        assert!(decode_all(&[&bytes[..], garbage].concat()).is_err());
    }
}

#[test]
fn a_window_beyond_the_limit_is_refused_with_advice() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(&[1; 1000]).unwrap();
    let message = decode_all(&encoder.finish().unwrap()).unwrap_err().to_string();
    assert!(message.contains("beyond 128 MiB") && message.contains("--long=27"), "{message}");
}
