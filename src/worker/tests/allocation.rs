//! What a disk takes on a thin volume: its data, and at most a hundredth more.

use std::process::Command;

use crate::device::{GARBAGE, Loop, allocated};
use crate::server::Server;
use crate::support::{Bench, assert_disk, is_zero, noise, run};

const SIZE: usize = 256 << 20;
const BLOCK: usize = 4096;

/// A disk whose data lies in single blocks far apart: what is worst for those who write in larger pieces.
fn scattered() -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    for (index, start) in (0..SIZE).step_by(1 << 20).enumerate() {
        // Sometimes at the start of a cluster, sometimes across two of them, sometimes at the end.
        let at = start + [0, 61_440, 65_536 - 2048, 524_288 + 8192][index % 4];
        disk[at..at + BLOCK].copy_from_slice(&noise(BLOCK, index as u64 + 1));
    }
    disk
}

/// A disk that is mostly data, with holes of a block to a few inside.
fn dense() -> Vec<u8> {
    let mut disk = vec![0; 64 << 20];
    disk[8 << 20..56 << 20].copy_from_slice(&noise(48 << 20, 1));
    for (index, at) in (8 << 20..56 << 20).step_by(96 << 10).enumerate() {
        disk[at..at + [1, 2, 5, 16][index % 4] * BLOCK].fill(0);
    }
    disk
}

/// How many bytes lie in blocks that hold something.
fn data(disk: &[u8]) -> u64 {
    disk.chunks(BLOCK).filter(|block| !is_zero(block)).map(|block| block.len() as u64).sum()
}

/// The images that hold a disk.
fn images(bench: &Bench, disk: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    std::fs::write(bench.path("raw"), disk).unwrap();
    vec![
        ("/raw", disk.to_vec()),
        ("/qcow2", bench.convert("raw", "qcow2", &[])),
        ("/compressed", bench.convert("raw", "qcow2", &["-c"])),
    ]
}

#[track_caller]
fn assert_little(what: &str, taken: u64, disk: &[u8]) {
    let data = data(disk);
    assert!(taken >= data && taken <= data + data / 100, "{what}: {taken} bytes for {data} bytes of data");
}

/// Each of the images of both disks.
fn each(paths: &[&str], fill: impl Fn(&Bench, &str, &str, &[u8])) {
    for (shape, disk) in [("scattered", scattered()), ("dense", dense())] {
        let (bench, server) = (Bench::new(), Server::start());
        for (path, image) in images(&bench, &disk).into_iter().filter(|(path, _)| paths.contains(path)) {
            fill(&bench, &format!("{shape} {path}"), &server.serve(path, image), &disk);
        }
    }
}

fn fetch(bench: &Bench, url: &str, device: &Loop) {
    bench.run(&["fetch", "--json", "--url", url, "--output", device.device.to_str().unwrap()], &[]).done();
    run(Command::new("sync").arg("--file-system").arg(&device.backing));
}

#[track_caller]
fn assert_held(what: &str, device: &Loop, disk: &[u8]) {
    let found = device.content();
    assert!(found[..disk.len()] == *disk, "{what}: the image");
    assert!(is_zero(&found[disk.len()..]), "{what}: zeros behind the image");
}

/// What devices have behind the disk.
const TAIL: usize = (4 << 20) + BLOCK;

#[test]
fn a_file_takes_no_more_than_its_data() {
    each(&["/raw", "/qcow2", "/compressed"], |bench, what, url, disk| {
        bench.fetch(url, &[]).done();
        run(Command::new("sync").arg("--file-system").arg(bench.output()));
        assert_little(what, allocated(&bench.output()), disk);
        assert_disk(&bench.output(), disk);
    });
}

#[test]
fn a_thin_device_takes_no_more_than_its_data() {
    each(&["/raw", "/qcow2", "/compressed"], |bench, what, url, disk| {
        let device = Loop::thin(bench, disk.len() + TAIL, &[]);
        fetch(bench, url, &device);
        assert_little(what, allocated(&device.backing), disk);
        assert_held(what, &device, disk);
    });
}

#[test]
fn a_dirty_device_of_4_kib_sectors_gives_back_what_the_disk_does_not_need() {
    each(&["/qcow2"], |bench, what, url, disk| {
        let device = Loop::dirty(bench, disk.len() + TAIL, &["--sector-size", "4096"]);
        fetch(bench, url, &device);
        assert_little(what, allocated(&device.backing), disk);
        assert_held(what, &device, disk);
    });
}

#[test]
fn a_device_that_cannot_be_told_to_zero_is_written_where_it_is_not_zero() {
    for sector in ["512", "4096"] {
        each(&["/qcow2"], |bench, what, url, disk| {
            let size = disk.len() + TAIL;
            let thin = Loop::stubborn(bench, size, &[], &["--sector-size", sector]);
            fetch(bench, url, &thin);
            assert_little(what, thin.written(), disk);
            assert_held(what, &thin, disk);
            drop(thin);
            // Garbage here and there: what is zero already stays untouched, the rest is overwritten.
            let mut content = vec![0; size];
            for at in (0..size - BLOCK).step_by(3 << 20) {
                content[at + BLOCK..at + 2 * BLOCK].fill(GARBAGE);
            }
            content[size - 512..].fill(GARBAGE);
            let dirty = Loop::stubborn(bench, size, &content, &["--sector-size", sector]);
            fetch(bench, url, &dirty);
            let (written, most) = (dirty.written(), data(disk) + data(disk) / 100 + data(&content));
            assert!(written <= most, "{what}: {written} bytes written, {most} at most");
            assert_held(what, &dirty, disk);
        });
    }
}
