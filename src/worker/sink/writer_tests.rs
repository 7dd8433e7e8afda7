use proptest::prelude::*;

use super::*;
use crate::sink::eraser::Eraser;

fn medium(file: &tempfile::NamedTempFile, reads_zero: bool, length: u64) -> Medium {
    let eraser = (!reads_zero).then(|| Eraser::new(4096));
    Medium { file: file.reopen().unwrap(), direct: false, granule: 4096, eraser, length, last: None, chunk: UNIT }
}

fn writer(file: &tempfile::NamedTempFile, reads_zero: bool, length: u64, keep_below: u64) -> Writer {
    let medium = medium(file, reads_zero, length);
    Writer::new(medium, keep_below, Counters::default()).unwrap()
}

#[derive(Debug, Clone)]
struct Write {
    offset: u64,
    data: Vec<u8>,
}

/// Writes in steps of 512 bytes anywhere in 3 MiB, each byte once, in any order, some of them zeros.
fn writes() -> impl Strategy<Value = Vec<Write>> {
    prop::collection::vec((0..6144_usize, 1..400_usize, any::<u8>()), 1..12)
        .prop_map(|pieces| {
            let mut taken = vec![false; 6144];
            let mut writes = Vec::new();
            for (sector, count, byte) in pieces {
                let start = sector;
                let end = (start + count).min(6144);
                let free = (start..end).take_while(|sector| !taken[*sector]).count();
                if free > 0 {
                    taken[start..start + free].fill(true);
                    writes.push(Write { offset: sector as u64 * 512, data: vec![byte % 3; free * 512] });
                }
            }
            writes
        })
        .prop_shuffle()
}

const UNIT_BYTES: usize = 64 << 10;
const SIZE: usize = 3 << 20;

fn expected(writes: &[Write], background: u8) -> Vec<u8> {
    let mut disk = vec![background; SIZE];
    for Write { offset, data } in writes {
        let offset = usize::try_from(*offset).unwrap();
        disk[offset..offset + data.len()].copy_from_slice(data);
    }
    disk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_fresh_file_holds_what_was_written(writes in writes()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = writer(&file, true, u64::MAX, 0);
        for Write { offset, data } in &writes {
            writer.write(*offset, data).unwrap();
        }
        writer.sync().unwrap();
        file.as_file().set_len(SIZE as u64).unwrap();
        prop_assert!(std::fs::read(file.path()).unwrap() == expected(&writes, 0));
    }

    #[test]
    fn a_dirty_device_holds_it_once_the_gaps_are_zeroed(writes in writes()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xa5; SIZE]).unwrap();
        let mut writer = writer(&file, false, SIZE as u64, 0);
        for Write { offset, data } in &writes {
            writer.write(*offset, data).unwrap();
        }
        writer.complete().unwrap();
        prop_assert!(std::fs::read(file.path()).unwrap() == expected(&writes, 0));
    }

    #[test]
    fn the_last_unit_is_left_alone_until_all_else_is_written(writes in writes(), units in 1..40_u64) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xa5; SIZE]).unwrap();
        let last = SIZE as u64 - units * UNIT;
        let medium = Medium { last: Some(last), ..medium(&file, false, SIZE as u64) };
        let mut writer = Writer::new(medium, 0, Counters::default()).unwrap();
        for Write { offset, data } in &writes {
            writer.write(*offset, data).unwrap();
        }
        writer.sync().unwrap();
        let found = std::fs::read(file.path()).unwrap();
        prop_assert!(found[to_usize(last)..].iter().all(|byte| *byte == 0xa5));
        writer.complete().unwrap();
        prop_assert!(std::fs::read(file.path()).unwrap() == expected(&writes, 0));
    }

    #[test]
    fn a_disk_in_two_attempts_on_a_dirty_device(writes in writes(), stop in 0..SIZE as u64) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xa5; SIZE]).unwrap();
        let disk = expected(&writes, 0);
        let mut first = writer(&file, false, SIZE as u64, 0);
        // More is written than is recorded.
        first.write(0, &disk[..to_usize(stop)]).unwrap();
        let kept = first.recordable(stop);
        first.checkpoint(kept).unwrap();
        first.write(stop, &disk[to_usize(stop)..to_usize((stop + UNIT).min(SIZE as u64))]).unwrap();
        first.sync().unwrap();
        drop(first);
        prop_assert!(stop - kept < UNIT);
        prop_assert!(std::fs::read(file.path()).unwrap()[..to_usize(kept)] == disk[..to_usize(kept)]);
        let mut second = writer(&file, false, SIZE as u64, kept);
        second.write(0, &disk).unwrap();
        second.complete().unwrap();
        prop_assert!(std::fs::read(file.path()).unwrap() == disk);
    }
}

#[test]
fn what_an_earlier_attempt_wrote_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![1; 2 * UNIT_BYTES]).unwrap();
    let keep = 2 * UNIT;
    let mut writer = writer(&file, true, u64::MAX, keep);
    // As it comes again, from the beginning, in chunks that end nowhere.
    for offset in (0..4 * UNIT).step_by(4096 * 3) {
        let length = (4 * UNIT - offset).min(4096 * 3);
        writer.write(offset, &vec![2; usize::try_from(length).unwrap()]).unwrap();
    }
    writer.sync().unwrap();
    let found = std::fs::read(file.path()).unwrap();
    assert!(found[..2 * UNIT_BYTES].iter().all(|byte| *byte == 1));
    assert!(found[2 * UNIT_BYTES..].iter().all(|byte| *byte == 2));
    assert_eq!(found.len(), 4 * UNIT_BYTES);
}

#[test]
fn zeros_cost_nothing_on_a_fresh_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let counters = Counters::default();
    let medium = medium(&file, true, u64::MAX);
    let mut writer = Writer::new(medium, 0, counters.clone()).unwrap();
    let mut data = vec![0; WINDOW];
    data[8192] = 1;
    writer.write(0, &data).unwrap();
    writer.sync().unwrap();
    assert_eq!(counters.written(), 4096);
}

#[test]
fn a_checkpoint_makes_the_file_as_long_as_it_vouches_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = writer(&file, true, u64::MAX, 0);
    writer.write(0, &[1; 512]).unwrap();
    writer.checkpoint(5 * UNIT).unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), 5 * UNIT);
}

/// A stretch of a disk as a decoder delivers it.
#[derive(Debug, Clone)]
struct Cluster {
    index: usize,
    compressed: bool,
    byte: u8,
}

/// Clusters of 16 KiB anywhere in 6 MiB, each once, in any order, compressed or not: four of them share a unit.
fn clusters() -> impl Strategy<Value = Vec<Cluster>> {
    prop::collection::btree_map(0..384_usize, (any::<bool>(), any::<u8>()), 1..200)
        .prop_map(|all| {
            all.into_iter().map(|(index, (compressed, byte))| Cluster { index, compressed, byte }).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

const CLUSTER: usize = 16 << 10;

fn content(byte: u8) -> Vec<u8> {
    (0..CLUSTER).map(|at| if at < CLUSTER / 2 { byte } else { byte.wrapping_mul(at.to_le_bytes()[1]) }).collect()
}

fn deflated(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn compressed(offset: u64, length: usize, data: &[u8]) -> CompressedCluster<'_> {
    let codec = vmdisk_format::Codec::Deflate;
    CompressedCluster {
        format: vmdisk_format::Format::Qcow2,
        offset,
        cluster_size: CLUSTER,
        length,
        data,
        codec,
        image_offset: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compressed_clusters_arrive_beside_plain_ones(clusters in clusters(), reads_zero: bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let size = 384 * CLUSTER;
        let mut disk = vec![0; size];
        file.as_file().set_len(size as u64).unwrap();
        let mut writer = writer(&file, reads_zero, size as u64, 0);
        for Cluster { index, compressed: packed, byte } in clusters {
            let (offset, data) = (index * CLUSTER, content(byte));
            if packed {
                writer.write_compressed(&compressed(offset as u64, CLUSTER, &deflated(&data))).unwrap();
            } else {
                writer.write(offset as u64, &data).unwrap();
            }
            disk[offset..offset + CLUSTER].copy_from_slice(&data);
        }
        writer.sync().unwrap();
        prop_assert!(std::fs::read(file.path()).unwrap() == disk);
    }
}

#[test]
fn what_lies_beyond_the_disk_is_zero() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = writer(&file, true, u64::MAX, 0);
    writer.write_compressed(&compressed(0, 5000, &deflated(&[7; CLUSTER]))).unwrap();
    writer.sync().unwrap();
    let found = std::fs::read(file.path()).unwrap();
    assert!(found[..5000].iter().all(|byte| *byte == 7));
    assert!(found[5000..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_cluster_that_does_not_inflate_is_refused_by_the_next_sync() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = writer(&file, true, u64::MAX, 0);
    writer.write_compressed(&compressed(0, CLUSTER, &[0xff; 100])).unwrap();
    let refusal = writer.sync().expect_err("no DEFLATE stream");
    assert!(matches!(refusal, Error::Refused(_)), "{refusal}");
}
