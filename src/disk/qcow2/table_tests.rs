use std::io;

use super::*;
use crate::Codec;

fn header(cluster_bits: u32, virtual_size: u64, extended_l2: bool) -> Header {
    Header {
        version: 3,
        cluster_bits,
        virtual_size,
        l1_offset: 3 << cluster_bits,
        l1_entries: 1,
        refcount_table_offset: 1 << cluster_bits,
        refcount_table_size: 1 << cluster_bits,
        snapshots: 0,
        codec: Codec::Deflate,
        extended_l2,
        dirty: false,
    }
}

fn mappings(header: &Header, l1_index: u64, entries: &[u64]) -> Result<Vec<Mapping>, Refusal> {
    let table: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    let mut found = Vec::new();
    read_l2(header, l1_index, &table, |mapping| {
        found.push(mapping);
        Ok::<_, Refusal>(())
    })?;
    Ok(found)
}

fn run(host: u64, guest: u64, clusters: u32, parts: u32) -> Mapping {
    Mapping::Run(Run { host, guest, clusters, parts })
}

const COPIED: u64 = 1 << 63;

#[test]
fn neighbours_become_one_run() {
    let header = header(16, 1 << 40, false);
    let host = |cluster: u64| cluster << 16 | COPIED;
    let entries = [host(5), host(6), 7 << 16, 0, host(8), host(10), 11 << 16 | 1, 12 << 16 | 1, 1, host(13)];
    let first = 2 << 13;
    assert_eq!(
        mappings(&header, 2, &entries),
        Ok(vec![
            run(5, first, 3, Run::ALL),
            run(8, first + 4, 1, Run::ALL),
            run(10, first + 5, 1, Run::ALL),
            run(11, first + 6, 2, Run::NONE),
            run(13, first + 9, 1, Run::ALL),
        ])
    );
}

#[test]
fn entries_beyond_the_disk_do_not_count() {
    let header = header(16, (1 << 16) + 1, false);
    assert_eq!(mappings(&header, 0, &[0, 9 << 16, u64::MAX]), Ok(vec![run(9, 1, 1, Run::ALL)]));
}

#[test]
fn compressed_entries() {
    // The specification's example of bit widths: x = 62 - (cluster_bits - 8).
    for (bits, entry, offset, length) in [
        (16, 1 << 62 | 0x12345, 0x12345, 512 - 0x145),
        (16, 1 << 62 | 0xff << 54 | 0x200, 0x200, 256 * 512),
        (9, 1 << 62 | 1 << 61 | 0x2ff, 0x2ff, 1024 - 0xff),
        (21, 1 << 62 | 0x1fff << 49, 0, 8192 * 512),
    ] {
        let expected = Mapping::Compressed(Compressed { offset, guest: 0, length });
        assert_eq!(mappings(&header(bits, 1 << 20, false), 0, &[entry]), Ok(vec![expected]), "{bits} {entry:#x}");
    }
}

#[test]
fn extended_entries() {
    let header = header(16, 1 << 40, true);
    assert_eq!(
        mappings(&header, 0, &[9 << 16, u64::from(u32::MAX), 10 << 16, 0xf, 11 << 16, 0xf << 32, 0, u64::MAX << 32]),
        Ok(vec![run(9, 0, 1, Run::ALL), run(10, 1, 1, 0xf), run(11, 2, 1, Run::NONE)])
    );
    for (case, entry, bitmap) in [
        ("zero bit", 9 << 16 | 1, 0),
        ("allocated and zero", 9 << 16, 1 << 40 | 1 << 8),
        ("allocated nowhere", 0, 1),
        ("unaligned", 9 << 15, 0),
    ] {
        let refusal = mappings(&header, 0, &[entry, bitmap]).expect_err(case);
        assert_eq!(refusal.reason, Reason::BadTable, "{case}");
    }
}

struct Deliveries(Vec<(u64, usize)>);

impl Sink for Deliveries {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.push((offset, data.len()));
        Ok(())
    }
}

#[test]
fn parts_of_a_cluster_are_delivered() {
    let header = header(16, (3 << 16) + 5000, true);
    let deliveries = |guest, parts, from: usize, to: usize| {
        let run = Run { host: 7, guest, clusters: 1, parts };
        let mut sink = Deliveries(Vec::new());
        run.deliver(&header, (7 << 16) + from as u64, &vec![1; to - from], &mut sink).expect("taken");
        sink.0
    };
    assert_eq!(deliveries(1, Run::NONE, 0, 65536), []);
    assert_eq!(deliveries(1, Run::ALL, 0, 65536), [(65536, 65536)]);
    assert_eq!(deliveries(1, 0b1101, 0, 65536), [(65536, 2048), (65536 + 4096, 4096)]);
    assert_eq!(deliveries(1, 0b1101, 6144, 8192), [(65536 + 6144, 2048)]);
    assert_eq!(deliveries(0, 1 << 31, 61440, 65536), [(63488, 2048)]);
    assert_eq!(deliveries(3, Run::ALL, 0, 65536), [(3 << 16, 5000)]);
    assert_eq!(deliveries(3, 0b100, 0, 65536), [((3 << 16) + 4096, 904)]);
}

#[test]
fn where_data_ends() {
    let header = header(16, (3 << 16) + 5000, true);
    let end = |guest, clusters, parts| Run { host: 7, guest, clusters, parts }.data_end(&header);
    assert_eq!(end(0, 2, Run::ALL), 9 << 16);
    assert_eq!(end(2, 2, Run::ALL), (8 << 16) + 5000);
    assert_eq!(end(0, 1, 0b110), (7 << 16) + 3 * 2048);
    assert_eq!(end(0, 1, Run::NONE), 0);
}

#[test]
fn a_run_loses_what_has_passed() {
    let run = Run { host: 10, guest: 100, clusters: 4, parts: Run::ALL };
    assert_eq!(run.from(3), Some(run));
    assert_eq!(run.from(12), Some(Run { host: 12, guest: 102, clusters: 2, ..run }));
    assert_eq!(run.from(14), None);
    assert_eq!(run.from(99), None);
}
