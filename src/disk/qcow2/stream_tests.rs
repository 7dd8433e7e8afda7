use std::io;

use super::*;
use crate::Codec;

/// An image of 64 KiB clusters whose L1 table lies at `l1`, behind 1 TiB of disk.
fn stream(l1: u64, options: &Options) -> (Qcow2Stream, Vec<u8>) {
    let mut header = vec![0; 65536];
    header[..4].copy_from_slice(b"QFI\xfb");
    header[7] = 2;
    header[23] = 16;
    header[24..32].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    header[36..40].copy_from_slice(&2048_u32.to_be_bytes());
    header[40..48].copy_from_slice(&(l1 << 16).to_be_bytes());
    header[48..56].copy_from_slice(&65536_u64.to_be_bytes());
    header[59] = 1;
    let (parsed, _) = Header::parse(&header).expect("valid");
    assert_eq!(parsed.codec, Codec::Deflate);
    header.resize(2 << 16, 0);
    (Qcow2Stream::new(parsed, options), header)
}

/// As many L2 tables as a disk of 1 TiB has.
const TABLES: u64 = 2048;

/// A stream that has taken all that lies before the L2 tables: they follow the L1 table, in their order.
fn before_the_tables() -> (Qcow2Stream, Count) {
    let (mut stream, mut image) = stream(2, &Options::default());
    let mut l1 = vec![0; 65536];
    for (entry, cluster) in l1.chunks_mut(8).zip(3..3 + TABLES) {
        entry.copy_from_slice(&(cluster << 16).to_be_bytes());
    }
    image.extend(l1);
    let mut sink = Count::default();
    stream.push(&image, &mut sink).expect("taken");
    (stream, sink)
}

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn write(&mut self, _: u64, data: &[u8]) -> io::Result<()> {
        self.0 += data.len() as u64;
        Ok(())
    }
}

#[test]
fn a_late_table_ends_at_the_window() {
    let options = Options { orphan_window: 1 << 20, ..Options::default() };
    let (mut stream, header) = stream(1 << 20, &options);
    let mut sink = Count::default();
    stream.push(&header, &mut sink).expect("taken");
    let cluster = vec![1; 65536];
    for pushed in 1..20 {
        match stream.push(&cluster, &mut sink) {
            Ok(()) => assert!(pushed < 16, "{pushed} clusters in 1 MiB"),
            Err(Error::NeedsRandomAccess { consumed, .. }) => {
                assert_eq!((pushed, consumed), (16, (2 + 16) << 16));
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no end");
}

#[test]
fn zeros_before_a_late_table_cost_little() {
    let (mut stream, header) = stream(1 << 20, &Options::default());
    let mut sink = Count::default();
    stream.push(&header, &mut sink).expect("taken");
    // 1 GiB.
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        stream.push(&zeros, &mut sink).expect("within the window");
    }
}

/// All L2 tables before scattered data: the mappings of 2 GiB fit, those of 128 GiB do not.
#[test]
fn scattered_mappings_end_at_their_limit() {
    let (mut stream, mut sink) = before_the_tables();
    for table in 0..TABLES {
        // Every second host cluster, so that no two make a run.
        let entries = (0..8192_u64).map(|index| (10_000 + (table * 8192 + index) * 2) << 16);
        let bytes: Vec<u8> = entries.flat_map(u64::to_be_bytes).collect();
        match stream.push(&bytes, &mut sink) {
            Ok(()) => assert!(stream.runs.bytes() <= 32 << 20),
            Err(Error::NeedsRandomAccess { .. }) => {
                assert!((4..256).contains(&table), "table {table}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no end");
}

/// A disk of 1 TiB that was written in order is one pass in little memory.
#[test]
fn ordered_mappings_take_little() {
    let (mut stream, mut sink) = before_the_tables();
    for table in 0..TABLES {
        let entries = (0..8192_u64).map(|index| (10_000 + table * 8192 + index) << 16);
        let bytes: Vec<u8> = entries.flat_map(u64::to_be_bytes).collect();
        stream.push(&bytes, &mut sink).expect("taken");
    }
    assert!(stream.runs.bytes() < 128 << 10, "{}", stream.runs.bytes());
    stream.push(&vec![0; (10_000 - 2051) << 16], &mut sink).expect("taken");
    assert_eq!(sink.0, 0);
    stream.push(&vec![1; 1 << 20], &mut sink).expect("taken");
    assert_eq!(sink.0, 1 << 20);
}
