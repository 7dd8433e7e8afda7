use super::*;

fn sample(length: usize) -> Vec<u8> {
    // Data, zeros over several pieces, data.
    (0..length)
        .map(|at| if (50_000..300_000).contains(&at) { 0 } else { u8::try_from(at % 250).unwrap() + 1 })
        .collect()
}

fn kept(chunk: usize) -> (Orphans, Vec<u8>) {
    let data = sample(400_000);
    let mut orphans = Orphans::new(1 << 20);
    for (index, piece) in data.chunks(chunk).enumerate() {
        orphans.keep(1000 + (index * chunk) as u64, piece);
    }
    (orphans, data)
}

#[test]
fn each_byte_can_be_taken_once() {
    for chunk in [1, 777, 65_536, 400_000] {
        let (mut orphans, data) = kept(chunk);
        for range in [40_000..60_000, 0..1, 200_000..399_000, 399_999..400_000] {
            let mut buffer = vec![7; range.len()];
            assert_eq!(orphans.take(1000 + range.start as u64, &mut buffer), Ok(()), "{range:?}");
            assert!(buffer == data[range.clone()], "{range:?}");
            assert_eq!(orphans.take(1000 + range.start as u64, &mut buffer), Err(1000 + range.start as u64));
        }
        let mut buffer = [0; 10];
        assert_eq!(orphans.take(1000 + 399_995, &mut buffer), Err(1000 + 399_999), "one byte in it is gone");
        assert_eq!(orphans.take(0, &mut buffer), Err(0), "before all");
        assert_eq!(orphans.take(1000 + 400_000, &mut buffer), Err(401_000), "behind all");
    }
}

#[test]
fn memory_is_counted() {
    let (mut orphans, _) = kept(65_536);
    assert!((150_000..300_000).contains(&orphans.bytes), "{}: zeros take none", orphans.bytes);
    assert!(!orphans.is_over());
    orphans.limit = 100_000;
    assert!(orphans.is_over());
    orphans.take(1000, &mut vec![0; 400_000]).expect("all of it");
    assert_eq!((orphans.bytes, orphans.pieces.len()), (0, 0));
}
