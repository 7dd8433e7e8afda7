//! Archives: which file is the disk, and what is refused.

use std::path::Path;
use std::process::Command;

use vmdisk_wire::{ExitClass, Format};

use crate::jobs::job;
use crate::server::Server;
use crate::support::{Bench, assert_disk, run};

const SIZE: usize = 5 << 20;

/// The archive that `tar` makes of files in `bench`.
fn tar(bench: &Bench, arguments: &[&str], files: &[&str]) -> Vec<u8> {
    let archive = bench.path("archive.tar");
    let mut command = Command::new("tar");
    run(command.arg("-C").arg(bench.directory.path()).arg("-cf").arg(&archive).args(arguments).args(files));
    std::fs::read(archive).unwrap()
}

#[test]
fn the_only_file_of_an_archive_is_the_disk() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("some.raw", SIZE);
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(140));
    std::fs::create_dir(bench.path(&"d".repeat(120))).unwrap();
    std::fs::copy(bench.path("some.raw"), bench.path(&long)).unwrap();
    for format in ["--format=gnu", "--format=pax", "--format=ustar"] {
        for file in ["some.raw", "./some.raw", &long] {
            if format == "--format=ustar" && file == long {
                // This one has no way to say such a name.
                continue;
            }
            let archive = tar(&bench, &[format], &[file]);
            bench.fetch(&server.serve("/a", archive), &[]).done();
            assert_disk(&bench.output(), &disk);
        }
    }
}

#[test]
fn a_compressed_image_in_a_compressed_archive() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", SIZE);
    let image = bench.convert("raw", "qcow2", &[]);
    std::fs::write(bench.path("disk.qcow2.zst"), zstd::encode_all(&image[..], 1).unwrap()).unwrap();
    let archive = zstd::encode_all(&tar(&bench, &[], &["disk.qcow2.zst"])[..], 1).unwrap();
    let run = bench.fetch(&server.serve("/a", archive), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.source.format, Some(Format::Qcow2));
}

#[test]
fn among_several_files_the_user_chooses() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("one.raw", SIZE);
    std::fs::write(bench.path("notes.txt"), "read me").unwrap();
    let url = server.serve("/a", tar(&bench, &[], &["notes.txt", "one.raw"]));
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "NoDisk", "both notes.txt and one.raw");
    bench.fetch(&url, &["--path", "/one.raw"]).done();
    assert_disk(&bench.output(), &disk);
    bench.fetch(&url, &["--path", "two.raw"]).failed(ExitClass::Malformed, "NoDisk", "two.raw");
}

#[test]
fn a_path_that_names_no_file_is_a_mistake_in_the_job() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("one.raw", SIZE);
    let url = server.serve("/a", tar(&bench, &[], &["one.raw"]));
    for path in ["..", "/", ".", "", "a/../one.raw"] {
        let named = format!("path is {path:?}, which names no file");
        bench.fetch(&url, &["--path", path]).failed(ExitClass::BadJob, "BadJob", &named);
        let output = bench.output();
        let arguments = ["convert", "one.raw", "--json", "--path", path, "--output", output.to_str().unwrap()];
        bench.run(&arguments, &[]).failed(ExitClass::BadJob, "BadJob", &named);
        bench.run(&["inspect", "--json", "--url", &url, "--path", path], &[]).failed(
            ExitClass::BadJob,
            "BadJob",
            &named,
        );
        let mut job = job(&bench, &server, "/a");
        job.source.path = Some(path.into());
        bench.job(&job).failed(ExitClass::BadJob, "BadJob", &named);
    }
    assert!(!output_exists(&bench), "nothing is written");
}

#[test]
fn what_lies_beside_the_disk_has_a_bound_that_grows_with_it() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("disk.raw", SIZE);
    // Another disk of the machine, empty so far.
    std::fs::File::create(bench.path("data.raw")).unwrap().set_len(200 << 20).unwrap();
    let archive = zstd::encode_all(&tar(&bench, &[], &["data.raw", "disk.raw"])[..], 1).unwrap();
    let url = server.serve("/a", archive);
    let refused = "data.raw, which is not the disk, unpacks to more than";
    let small = ["--path", "disk.raw", "--size", "100Mi"];
    bench.fetch(&url, &small).failed(ExitClass::Malformed, "UnsupportedImage", refused);
    assert!(!output_exists(&bench), "nothing is written");
    bench.fetch(&url, &["--path", "disk.raw", "--size", "300Mi"]).done();
    assert_disk(&bench.output(), &disk);
    bench.run(&["inspect", "--json", "--url", &url, "--path", "disk.raw"], &[]).done();
}

fn output_exists(bench: &Bench) -> bool {
    Path::new(&bench.output()).exists()
}

#[test]
fn links_and_archives_in_archives_are_refused() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("raw", SIZE);
    std::fs::create_dir(bench.path("disk")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bench.path("disk/link")).unwrap();
    let url = server.serve("/a", tar(&bench, &[], &["disk"]));
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "UnsupportedImage", "is a symbolic link");
    std::fs::remove_file(bench.path("disk/link")).unwrap();

    std::fs::hard_link(bench.path("raw"), bench.path("disk/hard")).unwrap();
    let url = server.serve("/a", tar(&bench, &[], &["raw", "disk/hard"]));
    bench.fetch(&url, &["--path", "disk/hard"]).failed(ExitClass::Malformed, "UnsupportedImage", "is a hard link");

    std::fs::write(bench.path("inner.tar"), tar(&bench, &[], &["raw"])).unwrap();
    let url = server.serve("/a", tar(&bench, &[], &["inner.tar"]));
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "UnsupportedImage", "archive in an archive");
    assert!(!output_exists(&bench));
}

#[test]
fn sparse_members_of_every_form_are_read_as_their_files() {
    let (bench, server) = (Bench::new(), Server::start());
    let mut disk = vec![0; SIZE];
    // More extents than the header and one block behind it hold.
    for index in 0..40 {
        disk[index * (128 << 10)..][..4096].fill(u8::try_from(index).unwrap() + 1);
    }
    let sparse = std::fs::File::create(bench.path("sparse")).unwrap();
    sparse.set_len(SIZE as u64).unwrap();
    for offset in (0..SIZE).step_by(128 << 10) {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &disk[offset..][..4096], offset as u64).unwrap();
    }
    for form in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let archive = tar(&bench, &[&["--sparse"], form].concat(), &["sparse"]);
        assert!(archive.len() < SIZE / 2, "{form:?}: holes are left out");
        bench.fetch(&server.serve("/a", archive), &[]).done();
        assert_disk(&bench.output(), &disk);
    }
}

#[test]
fn what_the_tools_write_is_read() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", SIZE);
    for (tool, arguments) in [
        ("gzip", &["-1"][..]),
        ("xz", &["-0", "-T2", "--block-size=500000"]),
        ("xz", &["-0", "-T1"]),
        ("zstd", &["-1", "-T2"]),
        ("zstd", &["-1", "--long=27"]),
        ("bzip2", &["-1"]),
    ] {
        let output = Command::new(tool).args(arguments).arg("-c").arg(bench.path("raw")).output().unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}");
        bench.fetch(&server.serve("/a", output.stdout.clone()), &[]).done();
        assert_disk(&bench.output(), &disk);
        // Half of the disk, and the other half, as parallel compressors and concatenation leave them.
        let half = |range: std::ops::Range<usize>| {
            std::fs::write(bench.path("half"), &disk[range]).unwrap();
            Command::new(tool).args(arguments).arg("-c").arg(bench.path("half")).output().unwrap().stdout
        };
        let two = [half(0..SIZE / 2), half(SIZE / 2..SIZE)].concat();
        bench.fetch(&server.serve("/a", two), &[]).done();
        assert_disk(&bench.output(), &disk);
    }
}

#[test]
fn an_archive_that_ends_early_is_malformed() {
    let (bench, server) = (Bench::new(), Server::start());
    bench.raw("raw", SIZE);
    let archive = tar(&bench, &[], &["raw"]);
    let url = server.serve("/a", archive[..archive.len() / 2].to_vec());
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "MalformedArchive", "ends in the middle");
}
