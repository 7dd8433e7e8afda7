//! Block devices: what they hold in the end, whatever they held before.

use std::os::unix::fs::FileExt;
use std::path::Path;

use vmdisk_wire::{ExitClass, Job, Limits, Operation, SCHEMA_VERSION, Source, SourceType, Target, TargetKind};

use crate::device::Loop;
use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, is_zero, patterned};

/// A job that fills a device from the server.
pub(crate) fn job(server: &Server, path: &str, device: &Path) -> Job {
    let url = server.url(path);
    Job {
        schema_version: SCHEMA_VERSION,
        operation: Operation::Fill,
        source: Source {
            source_type: SourceType::Http,
            url,
            format: vmdisk_wire::Format::Auto,
            path: None,
            checksum: None,
            region: None,
            pinned: None,
            secret: None,
        },
        target: Some(Target {
            kind: TargetKind::Block,
            path: device.to_str().unwrap().into(),
            requested_bytes: None,
            overhead_per_mille: 0,
            claim_uid: Some("claim".into()),
        }),
        limits: Limits { allowed_sources: vec![server.url("")], scratch_bytes: Some(1 << 30), ..Limits::default() },
    }
}

/// Asserts that the device holds `disk`, then zeros to its end.
#[track_caller]
pub(crate) fn assert_device(device: &Loop, disk: &[u8]) {
    let found = device.content();
    assert!(found[..disk.len()] == *disk, "the image");
    assert!(is_zero(&found[disk.len()..]), "zeros behind the image");
}

#[test]
fn a_dirty_device_ends_with_the_image_and_zeros() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", 24 << 20);
    // The last unit of the writer is cut by the device's end.
    let device = Loop::dirty(&bench, (40 << 20) + 4096 + 512, &[]);
    for (path, image) in [
        ("/raw", disk.clone()),
        ("/qcow2", bench.convert("raw", "qcow2", &[])),
        ("/small", bench.convert("raw", "qcow2", &["-o", "cluster_size=512"])),
        ("/zst", zstd::encode_all(&disk[..], 1).unwrap()),
    ] {
        let url = server.serve(path, image);
        let garbage = vec![0x5a; 40 << 20];
        std::fs::File::options().write(true).open(&device.device).unwrap().write_all_at(&garbage, 0).unwrap();
        let output = device.device.to_str().unwrap();
        bench.run(&["fetch", "--json", "--url", &url, "--output", output], &[]).done();
        assert_device(&device, &disk);
    }
    // Holes of the image are holes of the volume.
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&device.backing).unwrap());
    assert!(blocks * 512 < (24 << 20), "{blocks}");
}

#[test]
fn a_device_of_4_kib_sectors() {
    let (bench, server) = (Bench::new(), Server::start());
    // Neither the disk's end nor its data keep to the device's sectors.
    let disk = bench.raw("raw", (5 << 20) + 512);
    let size = (12 << 20) + 4096;
    for (path, image) in [
        ("/raw", disk.clone()),
        ("/qcow2", bench.convert("raw", "qcow2", &["-o", "cluster_size=512"])),
        ("/vmdk", bench.convert("raw", "vmdk", &["-o", "subformat=streamOptimized"])),
    ] {
        server.serve(path, image);
        for device in [Loop::thin, Loop::dirty].map(|make| make(&bench, size, &["--sector-size", "4096"])) {
            bench.job(&job(&server, path, &device.device)).done();
            assert_device(&device, &disk);
        }
    }
}

#[test]
fn a_partition_table_for_other_sectors_is_warned_of() {
    let (bench, server) = (Bench::new(), Server::start());
    for (table, sector, warned) in
        [(512, "512", false), (512, "4096", true), (4096, "4096", false), (4096, "512", true)]
    {
        let mut disk = patterned(1 << 20);
        disk[512..8192].fill(0);
        disk[table..table + 8].copy_from_slice(b"EFI PART");
        let device = Loop::thin(&bench, 4 << 20, &["--sector-size", sector]);
        server.serve("/d", disk.clone());
        let run = bench.job(&job(&server, "/d", &device.device)).done();
        assert_device(&device, &disk);
        let warning = format!("counts in sectors of {table} bytes, the device has sectors of {sector}");
        assert_eq!(run.stderr.contains(&warning), warned, "{}", run.stderr);
    }
}

#[test]
fn another_format_on_a_dirty_device() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", 24 << 20);
    let device = Loop::dirty(&bench, 40 << 20, &[]);
    let url = server.serve("/vmdk", bench.convert("raw", "vmdk", &["-o", "subformat=streamOptimized"]));
    let output = device.device.to_str().unwrap();
    bench.run(&["fetch", "--json", "--url", &url, "--output", output], &[]).done();
    assert_device(&device, &disk);
}

#[test]
fn an_attempt_after_a_broken_one() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(24 << 20);
    let device = Loop::dirty(&bench, 40 << 20, &[]);
    let faults = [Fault::Cut(9_000_001)].into();
    server.put("/d", Resource { body: disk.clone().into(), faults, ..Resource::default() });
    let job = job(&server, "/d", &device.device);
    let first = bench.job(&job).failed(ExitClass::Transient, "Connection", "cannot be resumed");
    assert!(!first.report.resumable);
    bench.job(&job).done();
    assert_device(&device, &disk);
}

#[test]
fn a_fixed_vhd_fits_where_its_disk_does() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", 4 << 20);
    let device = Loop::dirty(&bench, 4 << 20, &[]);
    server.serve("/d", bench.convert("raw", "vpc", &["-o", "subformat=fixed,force_size=on"]));
    bench.job(&job(&server, "/d", &device.device)).done();
    assert_device(&device, &disk);
}

#[test]
fn what_does_not_fit_touches_nothing() {
    let (bench, server) = (Bench::new(), Server::start());
    let device = Loop::dirty(&bench, 4 << 20, &[]);
    server.serve("/d", patterned((4 << 20) + 1024));
    let run = bench.job(&job(&server, "/d", &device.device));
    run.failed(ExitClass::DoesNotFit, "DoesNotFit", "the device has 4Mi; request at least 5Mi");
    assert!(device.content().iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_blank_device_and_a_finished_one() {
    let (bench, server) = (Bench::new(), Server::start());
    let device = Loop::dirty(&bench, 4 << 20, &[]);
    let mut job = job(&server, "/", &device.device);
    job.operation = Operation::Finish;
    bench.job(&job).done();
    assert!(device.content().iter().all(|byte| *byte == 0xa5), "finishing changes nothing");
    job.operation = Operation::Fill;
    job.source.source_type = SourceType::Blank;
    bench.job(&job).done();
    assert_device(&device, &[]);
}

#[test]
fn what_is_no_device_is_told() {
    let (bench, server) = (Bench::new(), Server::start());
    std::fs::write(bench.path("file"), "x").unwrap();
    server.serve("/d", patterned(1 << 20));
    bench.job(&job(&server, "/d", &bench.path("file"))).failed(ExitClass::BadJob, "BadJob", "no block device");
    let run = bench.job(&job(&server, "/d", &bench.path("nothing")));
    run.failed(ExitClass::TargetIo, "DeviceNotWritable", "failed to open the device");
}
