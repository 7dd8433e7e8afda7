use super::*;

const KIB: usize = 1024;

/// 256 KiB with data at these places, in KiB.
fn bytes(data: &[(usize, usize)]) -> Vec<u8> {
    let mut bytes = vec![0; 256 * KIB];
    for (start, end) in data {
        bytes[start * KIB..end * KIB].fill(1);
    }
    bytes
}

fn ranges(kib: &[(usize, usize)]) -> Vec<Range<usize>> {
    kib.iter().map(|(start, end)| start * KIB..end * KIB).collect()
}

fn kib(ranges: Vec<Range<usize>>) -> Vec<(usize, usize)> {
    ranges.into_iter().map(|range| (range.start / KIB, range.end / KIB)).collect()
}

#[test]
fn runs_are_whole_granules() {
    let bytes = bytes(&[(1, 2), (10, 11), (63, 65), (250, 256)]);
    assert_eq!(kib(data_runs(&bytes, 4 * KIB)), [(0, 4), (8, 12), (60, 68), (248, 256)]);
    assert_eq!(kib(data_runs(&bytes, 16 * KIB)), [(0, 16), (48, 80), (240, 256)]);
    assert_eq!(kib(data_runs(&bytes, 64 * KIB)), [(0, 128), (192, 256)]);
    // The end of a medium cuts the last granule.
    assert_eq!(kib(data_runs(&bytes[..251 * KIB], 64 * KIB)), [(0, 128), (192, 251)]);
    assert_eq!(data_runs(&[0; 8192], 4096), []);
    assert_eq!(data_runs(&[], 4096), []);
}

#[test]
fn small_holes_in_much_data_are_written() {
    let join = |runs: &[(usize, usize)]| kib(joined(ranges(runs)));
    // 508 KiB of data allow for not quite 4 KiB.
    assert_eq!(join(&[(0, 256), (260, 512)]), [(0, 256), (260, 512)]);
    assert_eq!(join(&[(0, 256), (260, 516)]), [(0, 516)]);
    // 1532 KiB allow for two holes of 4 KiB and not for three.
    assert_eq!(join(&[(0, 4), (8, 500), (504, 1000), (1004, 1544)]), [(0, 1000), (1004, 1544)]);
    assert_eq!(join(&[(0, 4), (8, 12)]), [(0, 4), (8, 12)]);
    assert_eq!(join(&[]), []);
}

#[test]
fn remainders_are_what_data_leaves_of_its_units() {
    let unit = 64 * KIB;
    let left = |runs: &[(usize, usize)], length: usize| kib(remainders(&ranges(runs), length * KIB, unit));
    assert_eq!(left(&[(0, 64)], 64), []);
    assert_eq!(left(&[(4, 8)], 64), [(0, 4), (8, 64)]);
    // Adjacent units with data: one hole is one piece.
    assert_eq!(left(&[(0, 60), (68, 128)], 128), [(60, 68)]);
    // Units 1 and 2 hold nothing: that is for the end.
    assert_eq!(left(&[(0, 60), (200, 256)], 256), [(60, 64), (192, 200)]);
    assert_eq!(left(&[(0, 64), (192, 256)], 256), []);
    assert_eq!(left(&[(64, 68)], 256), [(68, 128)]);
    assert_eq!(left(&[], 256), []);
    // The last unit is cut.
    assert_eq!(left(&[(0, 4)], 65), [(4, 64)]);
    assert_eq!(left(&[(64, 65)], 67), [(65, 67)]);
}
