use std::io::Write;

use liblzma::stream::{Check, Filters, LzmaOptions};

use super::*;

fn data() -> Vec<u8> {
    (0..200_000_u32).flat_map(|number| (number.wrapping_mul(number) >> 9).to_le_bytes()).collect()
}

fn encode(data: &[u8], stream: Stream) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// As `xz -T2 --block-size=200000` writes it.
fn blocks(data: &[u8]) -> Vec<u8> {
    encode(data, MtStreamBuilder::new().threads(2).block_size(200_000).preset(0).check(Check::Crc64).encoder().unwrap())
}

fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    // A piece at a time, as from the network.
    let pieces = bytes
        .chunks(100_000)
        .fold(Box::new(io::empty()) as Box<dyn BufRead>, |before, piece| Box::new(before.chain(piece)));
    Reader::new(pieces).unwrap().read_to_end(&mut all)?;
    Ok(all)
}

#[test]
fn many_blocks_streams_and_padding() {
    let data = data();
    let one = blocks(&data);
    assert!(decode(&one).unwrap() == data);
    let plain = encode(&data, Stream::new_easy_encoder(0, Check::Crc32).unwrap());
    let three = [&one[..], &[0; 8], &plain, &one, &[0; 4]].concat();
    assert!(decode(&three).unwrap() == [&data[..], &data, &data].concat());
    for garbage in [&[0; 3][..], &[0; 5], b"x", b"\xfd7zXZ\0"] {
        assert!(decode(&[&one[..], garbage].concat()).is_err(), "{garbage:?}");
    }
}

#[test]
fn every_cut_and_every_kind_of_damage_is_noticed() {
    let data = data();
    let one = blocks(&data);
    for cut in (0..one.len()).step_by(one.len() / 37).chain(one.len() - 40..one.len()) {
        assert!(decode(&one[..cut]).is_err(), "cut at {cut}");
        let mut flipped = one.clone();
        flipped[cut] ^= 4;
        assert!(decode(&flipped).is_err(), "flipped at {cut}");
    }
}

#[test]
fn a_dictionary_beyond_the_limit_is_refused_before_it_is_made() {
    let mut options = LzmaOptions::new_preset(0).unwrap();
    options.dict_size(256 << 20);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let bytes = encode(&[1; 1000], Stream::new_stream_encoder(&filters, Check::Crc32).unwrap());
    let message = decode(&bytes).unwrap_err().to_string();
    assert!(message.contains("more than 80 MiB") && message.contains("xz -9 at most"), "{message}");
}
