use std::io;

use super::*;

#[derive(Default)]
struct Deliveries(Vec<(u64, Vec<u8>)>);

impl Sink for Deliveries {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.push((offset, data.to_vec()));
        Ok(())
    }
}

#[test]
fn zeros_are_skipped_and_granules_kept_whole() {
    let mut disk = vec![0; 5 * GRANULE + 700];
    disk[GRANULE + 5] = 1;
    disk[5 * GRANULE + 699] = 2;
    for chunk in [1, 600, GRANULE, disk.len()] {
        let mut decoder = RawDecoder::new(None);
        let mut sink = Deliveries::default();
        for piece in disk.chunks(chunk) {
            decoder.push(piece, &mut sink).expect("taken");
        }
        assert_eq!(decoder.consumed(), disk.len() as u64);
        let summary = Box::new(decoder).finish(&mut sink).expect("whole");
        assert_eq!((summary.format, summary.virtual_size), (Format::Raw, disk.len() as u64));
        assert_eq!(
            sink.0,
            [(GRANULE as u64, disk[GRANULE..2 * GRANULE].to_vec()), (5 * GRANULE as u64, disk[5 * GRANULE..].to_vec()),],
            "chunks of {chunk}"
        );
    }
}

#[test]
fn nothing_is_no_disk() {
    let error = Box::new(RawDecoder::new(None)).finish(&mut Deliveries::default()).expect_err("empty");
    assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::Empty));
}

#[test]
fn a_failing_sink_is_named() {
    struct Full;
    impl Sink for Full {
        fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let error = RawDecoder::new(None).push(&[1; 9000], &mut Full).expect_err("full");
    assert_eq!(error.to_string(), "failed to write 8192 bytes at offset 0 of the disk");
}
