//! `convert`: images that lie on this machine.

use std::process::Command;

use vmdisk_wire::{ExitClass, Format};

use crate::support::{Bench, Run, assert_disk, digest};

fn convert(bench: &Bench, input: &str, arguments: &[&str]) -> Run {
    let output = bench.output();
    bench.run(&[&["convert", "--json", input, "--output", output.to_str().unwrap()], arguments].concat(), &[])
}

#[test]
fn a_compressed_image_becomes_a_disk_and_nothing_is_fetched() {
    let bench = Bench::new();
    let disk = bench.raw("raw", 8 << 20);
    bench.convert("raw", "qcow2", &["-c"]);
    crate::support::run(Command::new("gzip").arg(bench.path("image.qcow2")));
    let image = std::fs::read(bench.path("image.qcow2.gz")).unwrap();
    let checksum = digest(&ring::digest::SHA256, &image);
    let run = convert(&bench, "image.qcow2.gz", &["--checksum", &checksum]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.source.format, Some(Format::Qcow2));
    assert_eq!((run.report.source.size, run.report.bytes_fetched), (Some(image.len() as u64), 0));
}

#[test]
fn what_fails_leaves_nothing() {
    let bench = Bench::new();
    bench.raw("raw", 1 << 20);
    convert(&bench, "missing", &[]).failed(ExitClass::SourceMissing, "NotFound", "missing");
    convert(&bench, ".", &[]).failed(ExitClass::BadJob, "BadJob", "no regular file");
    let wrong = format!("sha256:{}", "0".repeat(64));
    convert(&bench, "raw", &["--checksum", &wrong]).failed(ExitClass::VerificationFailed, "DigestMismatch", &wrong);
    assert_eq!(bench.files(), ["raw"]);
}

#[test]
fn the_report_names_the_stage_that_set_the_pace() {
    let bench = Bench::new();
    bench.raw("raw", 1 << 20);
    let output = Command::new(env!("CARGO_BIN_EXE_vmdisk-worker"))
        .args(["convert", "--report", "raw", "--output", "disk.img"])
        .current_dir(bench.directory.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(" set the pace\nthe disk of 1Mi is at disk.img"), "{said}");
}
