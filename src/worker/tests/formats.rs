//! Every format, wrapped and unwrapped, against what `qemu-img` makes of it.

use std::process::Command;

use vmdisk_wire::{ExitClass, Format};

use crate::server::{Resource, Server};
use crate::support::{Bench, assert_disk, noise, run};

const SIZE: usize = 24 << 20;

/// Serves `image`, fetches it, and compares the disk with the one that it was made of.
#[track_caller]
fn check(bench: &Bench, server: &Server, image: Vec<u8>, disk: &[u8], format: Format, what: &str) {
    let fetched = image.len() as u64;
    let run = bench.fetch(&server.serve("/image", image), &[]).done();
    assert_disk(&bench.output(), disk);
    assert_eq!(run.report.source.format, Some(format), "{what}");
    assert_eq!(run.report.source.virtual_size, Some(disk.len() as u64), "{what}");
    assert_eq!(run.report.bytes_fetched, fetched, "{what}: each byte is paid once");
    std::fs::remove_file(bench.output()).unwrap();
}

#[test]
fn qcow2_of_every_layout_that_qemu_img_writes() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", SIZE);
    for options in [
        &[][..],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "compat=0.10"],
        &["-o", "cluster_size=4k"],
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=2M"],
        &["-o", "preallocation=metadata"],
        &["-o", "preallocation=full"],
        &["-o", "lazy_refcounts=on"],
        &["-W", "-m", "16"],
    ] {
        let image = bench.convert("raw", "qcow2", options);
        check(&bench, &server, image, &disk, Format::Qcow2, &format!("{options:?}"));
    }
}

#[test]
fn qcow2_whose_tables_come_last_is_read_ahead_or_staged() {
    let (bench, server) = (Bench::new(), Server::start());
    // More data than the decoder keeps while it does not know its place.
    let disk = bench.raw("raw", 72 << 20);
    bench.convert("raw", "qcow2", &["-o", "cluster_size=4k"]);
    let image = bench.path("image.qcow2");
    // The grown L1 table moves to the end of the file.
    run(Command::new("qemu-img").args(["resize", "-q"]).arg(&image).arg("3G"));
    let image = std::fs::read(&image).unwrap();
    let (size, l1_size) = (image.len() as u64, 8 * u64::from(u32::from_be_bytes(*image[36..].first_chunk().unwrap())));
    let body = bytes::Bytes::from(image);
    // Without an ETag two requests may be answered with two versions.
    for etag in [Some("\"v1\"".to_owned()), None] {
        let read_ahead = etag.is_some();
        server.put("/image", Resource { body: body.clone(), etag, ..Resource::default() });
        // Where there is nowhere to stage, only a look ahead helps.
        let scratch = if read_ahead { "/dev/null" } else { "." };
        let run = bench.fetch(&server.url("/image"), &["--scratch-dir", scratch]).done();
        let twice = run.report.bytes_fetched - size;
        if read_ahead {
            assert!((l1_size..=l1_size + 64 * 4096).contains(&twice), "{twice} bytes of tables were paid twice");
        } else {
            assert_eq!(twice, 0, "each byte is paid once");
        }
        let output = std::fs::File::open(bench.output()).unwrap();
        assert_eq!(output.metadata().unwrap().len(), 3 << 30);
        let mut beginning = vec![0; disk.len()];
        std::os::unix::fs::FileExt::read_exact_at(&output, &mut beginning, 0).unwrap();
        assert!(beginning == disk);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&output.metadata().unwrap());
        assert!(blocks * 512 <= disk.len() as u64, "the rest is a hole");
        assert!(!bench.files().iter().any(|name| name.contains("staged")), "{:?}", bench.files());
        std::fs::remove_file(bench.output()).unwrap();
    }
}

#[test]
fn qcow2_that_a_guest_wrote_at_random_with_snapshots_in_between() {
    let (bench, server) = (Bench::new(), Server::start());
    std::fs::write(bench.path("raw"), noise(16 << 20, 3)).unwrap();
    bench.convert("raw", "qcow2", &[]);
    let image = bench.path("image.qcow2");
    let qemu_io = |commands: &[String]| {
        let mut command = Command::new("qemu-io");
        for line in commands {
            command.args(["-c", line]);
        }
        run(command.arg(&image));
    };
    for round in 0..3_u64 {
        run(Command::new("qemu-img").args(["snapshot", "-c", &format!("s{round}")]).arg(&image));
        let writes: Vec<String> = (0..20_u64)
            .map(|number| format!("write -P {} {}k 8k", number + round, (number * 7919 + round * 131) % 16_000 / 8 * 8))
            .chain([format!("discard {}M 1M", round * 3), format!("write -z {}M 64k", round * 5 + 1)])
            .collect();
        qemu_io(&writes);
    }
    run(Command::new("qemu-img").args(["snapshot", "-d", "s1"]).arg(&image));
    let reference = bench.path("reference");
    run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&image).arg(&reference));
    let disk = std::fs::read(&reference).unwrap();
    check(&bench, &server, std::fs::read(&image).unwrap(), &disk, Format::Qcow2, "random writes");
}

#[test]
fn qcow2_that_refers_back_to_what_is_gone_is_fetched_again_and_right() {
    let (bench, server) = (Bench::new(), Server::start());
    // Data in the reach of two L2 tables (512 MiB each); the second comes to lie behind the first one's data.
    let raw = std::fs::File::create(bench.path("raw")).unwrap();
    raw.set_len(1 << 30).unwrap();
    for (offset, seed) in [(0, 1), (600 << 20, 2)] {
        std::os::unix::fs::FileExt::write_all_at(&raw, &noise(1 << 20, seed), offset).unwrap();
    }
    let mut image = bench.convert("raw", "qcow2", &[]);
    let word = |image: &[u8], at: usize| u64::from_be_bytes(image[at..at + 8].try_into().unwrap());
    let offset = |entry: u64| usize::try_from(entry & 0x00ff_ffff_ffff_fe00).unwrap();
    let l1 = offset(word(&image, 40));
    let (first, second) = (offset(word(&image, l1)), offset(word(&image, l1 + 8)));
    // Two clusters of the disk with the same content, as deduplicating tools write it.
    let entry: [u8; 8] = image[first..first + 8].try_into().unwrap();
    image[second + 8 * 3000..second + 8 * 3001].copy_from_slice(&entry);
    std::fs::write(bench.path("image"), &image).unwrap();
    let reference = bench.path("reference");
    run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(bench.path("image")).arg(&reference));
    let fetched = bench.fetch(&server.serve("/image", image.clone()), &[]).done();
    run(Command::new("cmp").arg(bench.output()).arg(&reference));
    // The first time it may stop short of the end: what is behind the reference is not waited for.
    let (paid, whole) = (fetched.report.bytes_fetched, image.len() as u64);
    assert!(paid > whole && paid <= 2 * whole, "what was paid is told: {paid} bytes for {whole}");
}

#[test]
fn every_other_format_that_qemu_img_writes() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", SIZE);
    for (name, options, format) in [
        ("vmdk", &[][..], Format::Vmdk),
        ("vmdk", &["-o", "subformat=streamOptimized"], Format::Vmdk),
        ("vdi", &[], Format::Vdi),
        ("vdi", &["-o", "static=on"], Format::Vdi),
        ("vhdx", &[], Format::Vhdx),
        ("vpc", &["-o", "force_size=on"], Format::Vhd),
        ("vpc", &["-o", "subformat=fixed,force_size=on"], Format::Vhd),
    ] {
        let image = bench.convert("raw", name, options);
        check(&bench, &server, image, &disk, format, &format!("{name} {options:?}"));
    }
}

#[test]
fn compressions_by_content_nested_and_in_parts() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", SIZE);
    let qcow2 = bench.convert("raw", "qcow2", &[]);
    let pack = |program: &[&str], data: &[u8]| {
        let file = bench.path("packed");
        std::fs::write(&file, data).unwrap();
        let output = Command::new(program[0]).args(&program[1..]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{program:?}; is it installed?");
        output.stdout
    };
    let (half, rest) = disk.split_at(SIZE / 2);
    for (what, image, format) in [
        ("gzip", pack(&["gzip", "-1c"], &disk), Format::Raw),
        ("gzip, two members", [pack(&["gzip", "-1c"], half), pack(&["gzip", "-1c"], rest)].concat(), Format::Raw),
        ("xz", pack(&["xz", "-0c"], &qcow2), Format::Qcow2),
        ("xz, two streams", [pack(&["xz", "-0c"], half), pack(&["xz", "-0c"], rest)].concat(), Format::Raw),
        ("bzip2", pack(&["bzip2", "-1c"], &qcow2), Format::Qcow2),
        ("bzip2, two streams", [pack(&["bzip2", "-1c"], half), pack(&["bzip2", "-1c"], rest)].concat(), Format::Raw),
        ("xz in gzip", pack(&["gzip", "-1c"], &pack(&["xz", "-0c"], &qcow2)), Format::Qcow2),
        ("zstd", zstd::encode_all(&disk[..], 1).unwrap(), Format::Raw),
        (
            "zstd, skippable frame first, two frames",
            {
                let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"note"].concat();
                [skippable, zstd::encode_all(half, 1).unwrap(), zstd::encode_all(rest, 1).unwrap()].concat()
            },
            Format::Raw,
        ),
    ] {
        check(&bench, &server, image, &disk, format, what);
    }
}

#[test]
fn a_damaged_compressed_stream_is_malformed_and_leaves_nothing() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", 4 << 20);
    std::fs::remove_file(bench.path("raw")).unwrap();
    for (name, mut image) in [("gzip", gzip(&disk)), ("zstd", zstd::encode_all(&disk[..], 1).unwrap())] {
        let cut = image[..image.len() / 2].to_vec();
        let message = format!("the {name} stream is damaged");
        let run = bench.fetch(&server.serve("/image", cut), &[]);
        run.failed(ExitClass::Malformed, "MalformedArchive", &message);
        // A zstd frame need not have a checksum, so only gzip is sure to notice.
        if name == "gzip" {
            let middle = image.len() / 2;
            image[middle..middle + 40].fill(0x55);
            let run = bench.fetch(&server.serve("/image", image), &[]);
            run.failed(ExitClass::Malformed, "MalformedArchive", &message);
        }
    }
    assert!(bench.files().is_empty(), "{:?}", bench.files());
}

#[test]
fn what_does_not_fit_is_refused_by_its_header() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("raw", SIZE);
    for format in ["qcow2", "vmdk", "vdi", "vhdx"] {
        let image = bench.convert("raw", format, &[]);
        let length = image.len() as u64;
        let run = bench.fetch(&server.serve("/image", image), &["--size", &(20 << 20).to_string()]);
        let run = run.failed(ExitClass::DoesNotFit, "DoesNotFit", "the disk has 24Mi, the volume offers 20Mi");
        assert!(run.report.bytes_fetched < length, "{format}: refused before all of it was fetched");
        assert_eq!(run.report.bytes_written, 0);
    }
    // Nothing but its end tells how long this one is.
    let endless = gzip(&vec![0; 64 << 20]);
    let run = bench.fetch(&server.serve("/image", endless), &["--size", &(20 << 20).to_string()]);
    run.failed(ExitClass::DoesNotFit, "DoesNotFit", "the disk has at least");
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_declared_format_must_be_the_one_that_is_there() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("raw", 4 << 20);
    let image = bench.convert("raw", "qcow2", &[]);
    let url = server.serve("/image", image);
    bench.fetch(&url, &["--format", "qcow2"]).done();
    for format in ["raw", "vmdk"] {
        bench.fetch(&url, &["--format", format]).failed(ExitClass::Malformed, "FormatMismatch", "qcow2");
    }
}

#[test]
fn a_disk_that_begins_like_another_format_is_refused() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("raw", 4 << 20);
    // A qcow2 image that holds a qcow2 image: whoever opens the disk next would probe the inner one.
    let inner = bench.convert("raw", "qcow2", &[]);
    std::fs::write(bench.path("inner"), &inner).unwrap();
    let outer = bench.convert("inner", "qcow2", &[]);
    let run = bench.fetch(&server.serve("/image", outer), &[]);
    run.failed(ExitClass::Malformed, "NestedImage", "begins like a qcow2 image");
    assert!(!bench.output().exists());
}

#[test]
fn an_image_that_names_another_file_is_refused() {
    let (bench, server) = (Bench::new(), Server::start());
    std::fs::write(bench.path("base"), noise(1 << 20, 1)).unwrap();
    let overlay = bench.path("overlay");
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(bench.path("base"))
        .arg(&overlay));
    let url = server.serve("/image", std::fs::read(&overlay).unwrap());
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "BackingFile", "qemu-img convert");
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat"])
        .arg(bench.path("flat"))
        .arg("1M"));
    let url = server.serve("/image", std::fs::read(bench.path("flat")).unwrap());
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "ExternalExtent", "");
}

#[test]
fn an_inspection_reads_the_beginning_alone() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("raw", SIZE);
    let image = bench.convert("raw", "qcow2", &[]);
    let length = image.len() as u64;
    let url = server.serve("/image", image);
    let run = bench.run(&["inspect", "--json", "--url", &url], &[]).done();
    assert_eq!((run.report.source.format, run.report.source.virtual_size), (Some(Format::Qcow2), Some(SIZE as u64)));
    assert_eq!(run.report.source.size, Some(length));
    assert!(run.report.bytes_fetched < length);
}
