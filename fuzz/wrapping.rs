//! Unpacking.

use bytes::Bytes;
use vmdisk_corpus::Target;
use vmdisk_worker::channel::{ChunkReader, Waits, channel};
use vmdisk_worker::unpack::{Compression, Length, Piece, Rules, Unpacked, unpack};

use crate::PATIENCE;

/// Unpacks a blob in pieces of two sizes: no panic, and the same outcome.
///
/// # Panics
///
/// When that does not hold.
pub fn wrapping(target: Target, input: &[u8]) {
    let blob = target.expand(input);
    if target != Target::Tar && Compression::detect(&blob).is_none_or(|found| found.name() != target.name()) {
        return;
    }
    let small = feed(&blob, 1 + input.len() % 700);
    let large = feed(&blob, 100_000);
    // Patience ends at a piece's end, so that one of them may have had enough before the other.
    if let (Some((one, found)), Some((other, also))) = (small, large) {
        assert_eq!(found.is_ok(), also.is_ok(), "{found:?} in small pieces, {also:?} in large ones");
        if found.is_ok() {
            assert_eq!(found, also);
            assert!(one == other, "another image");
        }
    }
}

/// What the decoder would get for `blob` in pieces of `size`; `None` when it is too much.
fn feed(blob: &[u8], size: usize) -> Option<(Vec<u8>, Result<Unpacked, String>)> {
    let waits = Waits::default();
    let (sender, receiver) = channel(&waits, &waits);
    let (to_decode, pieces) = channel(&waits, &waits);
    let rules = &Rules::default();
    let length = Length::Exactly(blob.len() as u64);
    std::thread::scope(move |scope| {
        // Gone when this thread has had enough, so that the others notice.
        let mut pieces = pieces;
        scope.spawn(move || {
            // A stage that failed receives no more: that is its neighbours' affair.
            let sent = blob.chunks(size).try_for_each(|chunk| sender.send(vec![Bytes::copy_from_slice(chunk)]));
            let _ = sent.and_then(|()| sender.end());
        });
        let unpacked = scope.spawn(move || unpack(ChunkReader::new(receiver), length, rules, to_decode));
        let mut image = Vec::new();
        while let Ok(Some(piece)) = pieces.receive() {
            if let Piece::Data(batch) = piece {
                image.extend(batch.concat());
            }
            if image.len() > PATIENCE {
                return None;
            }
        }
        let outcome = unpacked.join().expect("no panic").map_err(|error| error.to_string());
        Some((image, outcome))
    })
}
