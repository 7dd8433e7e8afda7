use super::*;
use crate::channel::{Waits, channel};

/// A stream of `data` in batches of three uneven pieces.
fn chunks(data: &[u8]) -> ChunkReader {
    let waits = Waits::default();
    let (sender, receiver) = channel::<Batch>(&waits, &waits);
    let data = data.to_vec();
    std::thread::spawn(move || {
        for batch in data.chunks(1000) {
            let batch = batch.chunks(377).map(Bytes::copy_from_slice).collect();
            if sender.send(batch).is_err() {
                return;
            }
        }
        let _ = sender.end();
    });
    ChunkReader::new(receiver)
}

fn all(mut stream: impl Stream, most: u64) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let batch = stream.batch(most).unwrap();
        if batch.is_empty() {
            return all;
        }
        assert!(batch.iter().map(|piece| piece.len() as u64).sum::<u64>() <= most);
        for piece in &batch {
            all.extend_from_slice(piece);
        }
    }
}

fn counted(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

#[test]
fn a_peek_takes_nothing_away() {
    let data = counted(10_000);
    for count in [0, 1, 512, 10_000, 20_000] {
        let (prefix, mut whole) = peek(Box::new(chunks(&data)), count).unwrap();
        assert_eq!(prefix, data[..count.min(data.len())]);
        let mut read = Vec::new();
        whole.read_to_end(&mut read).unwrap();
        assert_eq!(read, data);
        let (_, whole) = peek(Box::new(chunks(&data)), count).unwrap();
        assert_eq!(all(whole, u64::MAX), data);
    }
}

#[test]
fn batches_have_the_length_asked_for_at_most() {
    let data = counted(5000);
    for most in [1, 7, 377, 1000, 100_000] {
        assert_eq!(all(chunks(&data), most), data);
        assert_eq!(all(Decoded::new(chunks(&data)), most), data);
    }
}

#[test]
fn what_is_there_already_is_not_copied() {
    let data = counted(1000);
    let mut stream = chunks(&data);
    assert_eq!(stream.batch(u64::MAX).unwrap().len(), 3, "the pieces as they came");
}

#[test]
fn buffers_are_used_again_when_nobody_reads_them_any_more() {
    let data = counted(5 * CHUNK + 77);
    let mut stream = Decoded::new(&data[..]);
    let mut seen = std::collections::BTreeSet::new();
    let mut read = Vec::new();
    loop {
        let batch = stream.batch(u64::MAX).unwrap();
        if batch.is_empty() {
            break;
        }
        for piece in &batch {
            read.extend_from_slice(piece);
        }
        seen.insert(batch[0].as_ptr().addr());
    }
    assert!(read == data);
    assert!(seen.len() <= 2, "{} buffers for one reader", seen.len());

    let mut stream = Decoded::new(&data[..]);
    let kept: Vec<Batch> = (0..3).map(|_| stream.batch(u64::MAX).unwrap()).collect();
    assert!(kept.concat().concat() == data[..3 * CHUNK], "what is still read is not overwritten");
}
