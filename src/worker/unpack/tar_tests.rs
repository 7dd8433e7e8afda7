use proptest::prelude::*;

use super::*;
use crate::unpack::stream::Decoded;

/// A header with a right checksum.
fn header(name: &str, kind: u8, size: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A member with its content.
pub(in crate::unpack) fn file(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, kind, format!("{:011o}", content.len()).as_bytes()).to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != format!("{length}{rest}").len() {
            length += 1;
        }
        text.extend([length.to_string(), rest]);
    }
    file("pax", b'x', text.as_bytes())
}

fn entries(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, StageError> {
    let mut archive = Archive::new(Box::new(Decoded::new(archive)));
    let mut all = Vec::new();
    while let Some(entry) = archive.next()? {
        let mut content = Vec::new();
        archive.content().read_to_end(&mut content)?;
        all.push((entry, content));
    }
    Ok(all)
}

fn only(archive: &[u8]) -> Entry {
    let mut all = entries(archive).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0).0
}

#[test]
fn names_sizes_and_kinds() {
    for (archive, path, kind, size) in [
        (file("a", b'0', b"123"), "a", Kind::Regular, 3),
        (file("old", 0, b""), "old", Kind::Regular, 0),
        (file("old/", 0, b""), "old/", Kind::Directory, 0),
        (file("d", b'5', b""), "d", Kind::Directory, 0),
        (file("l", b'2', b""), "l", Kind::SymbolicLink, 0),
        (file("h", b'1', b""), "h", Kind::HardLink, 0),
        (file("c", b'3', b""), "c", Kind::Special, 0),
        (
            [file("././@LongLink", b'L', b"a/long/name\0"), file("a/lo", b'0', b"1")].concat(),
            "a/long/name",
            Kind::Regular,
            1,
        ),
        ([file("././@LongLink", b'K', b"target\0"), file("l", b'2', b"")].concat(), "l", Kind::SymbolicLink, 0),
        ([pax(&[("path", "p/ü"), ("mtime", "1.5")]), file("x", b'0', b"1")].concat(), "p/ü", Kind::Regular, 1),
        ([pax(&[("size", "4")]), header("x", b'0', b"0").to_vec(), b"abcd".to_vec()].concat(), "x", Kind::Regular, 4),
    ] {
        assert_eq!(only(&archive), Entry { path: path.into(), kind, size });
    }
}

#[test]
fn a_prefix_belongs_to_ustar_alone() {
    let mut block = header("name", b'0', b"0");
    block[345..348].copy_from_slice(b"dir");
    seal(&mut block);
    assert_eq!(only(&block).path, "dir/name");
    block[257..265].copy_from_slice(b"ustar  \0");
    seal(&mut block);
    assert_eq!(only(&block).path, "name");
}

#[test]
fn checksums_of_either_sign() {
    let mut block = header("\u{fc}", b'0', b"0");
    let unsigned: u32 = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
    for (sum, holds) in [(unsigned, true), (unsigned - 512, true), (unsigned - 256, false), (unsigned + 1, false)] {
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(is_header(&block), holds, "{sum}, {unsigned} is unsigned");
    }
}

#[test]
fn sizes_beyond_eight_gibibytes() {
    let mut field = [0; 12];
    field[0] = 0x80;
    field[4..].copy_from_slice(&(9_u64 << 30).to_be_bytes());
    assert_eq!(number(&field), Some(9 << 30));
    field[0] = 0xff;
    assert_eq!(number(&field), None, "negative");
    field[0] = 0x80;
    field[4] = 0x80;
    assert_eq!(number(&field), None, "more than a file can have");
    assert_eq!(number(&[0x80; 8]), None, "in a checksum's field");
    for (text, expected) in
        [("00000000017\0", Some(15)), ("     17 \0\0\0\0", Some(15)), ("\0\0", Some(0)), ("19", None), ("-1", None)]
    {
        assert_eq!(number(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn entries_are_walked_whether_read_or_not_and_the_end_is_found() {
    let archive =
        [file("a", b'0', &[1; 700]), file("b", b'0', &[2; 512]), vec![0; 1024], file("ghost", b'0', b"")].concat();
    let found = entries(&archive).unwrap();
    assert_eq!(
        found.iter().map(|(entry, content)| (entry.path.as_str(), content.len())).collect::<Vec<_>>(),
        [("a", 700), ("b", 512)]
    );
    let mut walked = Archive::new(Box::new(Decoded::new(&archive[..])));
    assert_eq!(walked.next().unwrap().unwrap().path, "a");
    assert_eq!(walked.next().unwrap().unwrap().path, "b");
    assert_eq!(walked.next().unwrap(), None);
    // Neither the end mark nor the last padding is always there.
    assert_eq!(entries(&file("a", b'0', &[1; 700])[..BLOCK + 700]).unwrap().len(), 1);
}

#[test]
fn damage_is_told() {
    let good = file("a", b'0', &[1; 700]);
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    for (archive, expected) in [
        (flipped, "checksum"),
        (good[..BLOCK + 600].to_vec(), "middle of an entry"),
        (good[..300].to_vec(), "middle of a header"),
        ([file("pax", b'x', b"nonsense"), file("a", b'0', b"")].concat(), "LENGTH KEY=VALUE"),
        ([file("pax", b'x', b"99 path=x\n"), file("a", b'0', b"")].concat(), "LENGTH KEY=VALUE"),
        ([file("pax", b'x', b"0 "), file("a", b'0', b"")].concat(), "LENGTH KEY=VALUE"),
        (header("l", b'L', b"00077777777").to_vec(), "longer than 1 MiB"),
    ] {
        let message = entries(&archive).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    }
}

/// A sparse member in the old form: its extents, and the data that they hold.
fn old_sparse(size: u64, extents: &[(u64, u64)], data: &[u8]) -> Vec<u8> {
    let pair = |(offset, length): &(u64, u64)| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    let (first, rest) = extents.split_at(extents.len().min(4));
    let mut block = header("s", b'S', format!("{:011o}", data.len()).as_bytes());
    let fields: Vec<u8> = first.iter().flat_map(pair).collect();
    block[386..386 + fields.len()].copy_from_slice(&fields);
    block[482] = u8::from(!rest.is_empty());
    block[483..494].copy_from_slice(format!("{size:011o}").as_bytes());
    seal(&mut block);
    let mut bytes = block.to_vec();
    for (index, more) in rest.chunks(21).enumerate() {
        let mut block: Vec<u8> = more.iter().flat_map(pair).collect();
        block.resize(504, 0);
        block.push(u8::from((index + 1) * 21 < rest.len()));
        block.resize(BLOCK, 0);
        bytes.extend(block);
    }
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

#[test]
fn sparse_members_are_the_files_that_they_stand_for() {
    let extents: Vec<(u64, u64)> = (0..60).map(|index| (index * 1000, 10)).chain([(100_000, 0)]).collect();
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(600).collect();
    let mut expected = vec![0; 100_000];
    for (index, (offset, length)) in extents[..60].iter().enumerate() {
        let offset = usize::try_from(*offset).unwrap();
        expected[offset..offset + 10].copy_from_slice(&data[index * 10..][..10]);
        assert_eq!(*length, 10);
    }
    let list: Vec<String> =
        extents.iter().flat_map(|(offset, length)| [offset.to_string(), length.to_string()]).collect();
    let mut old_records = vec![("GNU.sparse.size", "100000"), ("path", "s")];
    for pair in list.chunks(2) {
        old_records.extend([("GNU.sparse.offset", pair[0].as_str()), ("GNU.sparse.numbytes", pair[1].as_str())]);
    }
    let map = list.join(",");
    let warning = ("path", "GNUSparseFile.0/s");
    let mut with_map = format!("61\n{}\n", list.join("\n")).into_bytes();
    with_map.resize(with_map.len().next_multiple_of(BLOCK), 0);
    with_map.extend_from_slice(&data);
    for (form, archive) in [
        ("old", old_sparse(100_000, &extents, &data)),
        ("0.0", [pax(&old_records), file("x", b'0', &data)].concat()),
        (
            "0.1",
            [
                pax(&[("GNU.sparse.size", "100000"), ("GNU.sparse.map", &map), ("GNU.sparse.name", "s"), warning]),
                file("x", b'0', &data),
            ]
            .concat(),
        ),
        (
            "1.0",
            [
                pax(&[
                    warning,
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "s"),
                    ("GNU.sparse.realsize", "100000"),
                ]),
                file("x", b'0', &with_map),
            ]
            .concat(),
        ),
    ] {
        let two = [&archive[..], &file("next", b'0', b"1")].concat();
        let all = entries(&two).unwrap();
        let names: Vec<_> = all.iter().map(|(entry, _)| (entry.path.as_str(), entry.kind, entry.size)).collect();
        assert_eq!(names, [("s", Kind::Regular, 100_000), ("next", Kind::Regular, 1)], "{form}");
        assert!(all[0].1 == expected, "{form}");
        let mut skipped = Archive::new(Box::new(Decoded::new(&two[..])));
        skipped.next().unwrap();
        assert_eq!(skipped.next().unwrap().unwrap().path, "next", "{form}");
        assert!(entries(&archive[..archive.len() - BLOCK]).is_err(), "{form}: cut");
    }
}

#[test]
fn holes_take_no_memory() {
    let archive = old_sparse(1 << 32, &[(1 << 31, 3)], b"abc");
    let mut archive = Archive::new(Box::new(Decoded::new(&archive[..])));
    archive.next().unwrap();
    let mut content = archive.content();
    let (mut length, mut data) = (0, Vec::new());
    loop {
        let batch = content.batch(u64::MAX).unwrap();
        if batch.is_empty() {
            break;
        }
        length += batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
        data.extend(batch.iter().filter(|piece| piece.len() == 3).map(|piece| piece.to_vec()));
    }
    assert_eq!((length, data), (1 << 32, vec![b"abc".to_vec()]));
}

#[test]
fn maps_that_lie_are_told() {
    let data = [7; 10];
    for (archive, expected) in [
        (old_sparse(100, &[(0, 5)], &data), "holds 10 bytes, but its map has 5"),
        (old_sparse(100, &[(95, 10)], &data), "the extent of 10 bytes at 95"),
        ([pax(&[("GNU.sparse.map", "0,10")]), file("x", b'0', &data)].concat(), "no record gives the file's size"),
        (
            [pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9")]), file("x", b'0', &data)].concat(),
            "the map of a sparse member",
        ),
        ([pax(&[("size", "18446744073709551615")]), file("x", b'0', b"")].concat(), "LENGTH KEY=VALUE"),
    ] {
        let message = entries(&archive).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_run_for_ever(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), fix in any::<bool>()) {
        if fix && bytes.len() >= BLOCK {
            let mut block: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
            seal(&mut block);
            bytes[..BLOCK].copy_from_slice(&block);
        }
        let _ = entries(&bytes);
    }
}
