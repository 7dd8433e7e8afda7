use bytes::Bytes;

use super::compression::tests::{ALL, compress};
use super::tar::tests::file;
use super::*;
use crate::channel::{Batch, CHUNK, Waits, channel};

/// What the decoder would get for `blob`, and what was found.
fn feed(blob: Vec<u8>, container: Container) -> (Vec<u8>, Option<Length>, Result<Unpacked, StageError>) {
    let waits = Waits::default();
    let (sender, receiver) = channel(&waits, &waits);
    let (to_decode, mut pieces) = channel(&waits, &waits);
    let rules = Rules { container, ..Rules::default() };
    let length = Length::Exactly(blob.len() as u64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A stage that failed receives no more: that is its neighbours' affair.
            let sent = blob.chunks(1000).try_for_each(|chunk| sender.send(vec![Bytes::copy_from_slice(chunk)]));
            let _ = sent.and_then(|()| sender.end());
        });
        let unpacked = scope.spawn(move || unpack(ChunkReader::new(receiver), length, &rules, to_decode));
        let (mut image, mut begin) = (Vec::new(), None);
        while let Ok(Some(piece)) = pieces.receive() {
            match piece {
                Piece::Begin(beginning) => begin = Some(beginning.length),
                Piece::Data(batch) => batch.iter().for_each(|piece| image.extend_from_slice(piece)),
            }
        }
        (image, begin, unpacked.join().unwrap())
    })
}

#[test]
fn plain_bytes_pass_with_their_length() {
    for size in [1, 511, 512, CHUNK, 3 * CHUNK + 7] {
        let data = vec![7; size];
        let (image, begin, unpacked) = feed(data.clone(), Container::Plain);
        assert!(image == data);
        assert_eq!(begin, Some(Length::Exactly(size as u64)));
        assert_eq!(unpacked.unwrap(), Unpacked::Disk);
    }
}

#[test]
fn a_compressed_image_has_the_length_that_its_frame_says() {
    let data = vec![7; 100_000];
    let known = ::zstd::bulk::compress(&data, 1).unwrap();
    let (image, begin, _) = feed(known, Container::Plain);
    assert!(image == data);
    assert_eq!(begin, Some(Length::AtLeast(100_000)));
    let mut streamed = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::Write::write_all(&mut streamed, &data).unwrap();
    let (_, begin, _) = feed(streamed.finish().unwrap(), Container::Plain);
    assert_eq!(begin, Some(Length::Unknown));
}

#[test]
fn wrappings_have_a_bound() {
    let mut data = vec![7; 1000];
    for depth in 1..=MAX_DEPTH + 1 {
        data = ::zstd::bulk::compress(&data, 1).unwrap();
        let (image, _, unpacked) = feed(data.clone(), Container::Plain);
        if depth <= MAX_DEPTH {
            assert_eq!(image, vec![7; 1000]);
        } else {
            assert!(unpacked.unwrap_err().to_string().contains("wrapped more than"));
        }
    }
}

#[test]
fn an_empty_layer_holds_nothing_and_an_empty_disk_is_a_disk() {
    for size in [1024, 10_240] {
        let (_, begin, unpacked) = feed(vec![0; size], Container::Layer);
        assert_eq!(begin, None);
        assert_eq!(unpacked.unwrap(), Unpacked::Nothing(Hidden::default(), Sightings::default()));
        let (image, ..) = feed(vec![0; size], Container::Plain);
        assert_eq!(image, vec![0; size]);
    }
}

#[test]
fn a_failure_before_is_not_reported_twice() {
    let waits = Waits::default();
    let (sender, receiver) = channel::<Batch>(&waits, &waits);
    let (to_decode, _pieces) = channel(&waits, &waits);
    sender.send(vec![::zstd::bulk::compress(&[7; 5000], 1).unwrap()[..9].to_vec().into()]).unwrap();
    drop(sender);
    let rules = Rules::default();
    let unpacked = unpack(ChunkReader::new(receiver), Length::Unknown, &rules, to_decode);
    assert!(matches!(unpacked, Err(StageError::Neighbour(_))), "{unpacked:?}");
}

#[test]
fn a_damaged_stream_is_named_by_its_own_compression() {
    let data: Vec<u8> = (0..50_000_u32).flat_map(|number| (number % 1000).to_le_bytes()).collect();
    for (inner, outer) in ALL.iter().flat_map(|inner| ALL.map(|outer| (*inner, outer))) {
        let whole = compress(inner, &data);
        let mut flipped = whole.clone();
        let middle = whole.len() / 2;
        flipped[middle..middle + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
        for (what, damaged) in [("flipped", &flipped[..]), ("cut", &whole[..whole.len() - 5])] {
            for (place, content) in [("alone", damaged.to_vec()), ("in an archive", file("disk", b'0', damaged))] {
                let (.., unpacked) = feed(compress(outer, &content), Container::Plain);
                let message = unpacked.unwrap_err().to_string();
                let expected = format!("the {} stream is damaged: ", inner.name());
                assert!(message.starts_with(&expected), "{what}, {place}, in {}: {message}", outer.name());
            }
        }
        // The archive, and not what is in it.
        let cut = &file("disk", b'0', &whole)[..tar::BLOCK + whole.len() - 5];
        let (.., unpacked) = feed(compress(outer, cut), Container::Plain);
        let message = unpacked.unwrap_err().to_string();
        assert!(message.starts_with("the tar archive is damaged: it ends in the middle of an entry;"), "{message}");
        // The outer one, and not what is in it.
        let mut cut = compress(outer, &file("disk", b'0', &whole));
        cut.truncate(cut.len() - 5);
        let (.., unpacked) = feed(cut, Container::Plain);
        let message = unpacked.unwrap_err().to_string();
        assert!(message.starts_with(&format!("the {} stream is damaged: ", outer.name())), "{message}");
    }
}
