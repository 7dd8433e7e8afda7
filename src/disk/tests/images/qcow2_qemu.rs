//! Every kind of qcow2 that QEMU's tools write, against what they read back.

use std::path::Path;

use vmdisk_format::{Decoder, Error, Options, Sink};

use crate::support::{
    Random, Route, assert_same, decode_looking_ahead, decode_stream, inspect,
    qemu::{Images, place, qemu_img, qemu_io, text},
    sample_disk,
};

fn check(images: &Images, image: &Path, case: &str) -> Route {
    images.check("qcow2", image, case)
}

const SIZE: usize = 6 << 20;

#[test]
fn converted() {
    let images = Images::new();
    let raw = images.write("disk.raw", &sample_disk(SIZE + 512, 1));
    for options in [
        "compat=0.10",
        "compat=1.1,lazy_refcounts=on",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=2M,refcount_bits=64",
        "refcount_bits=2",
        "refcount_bits=4,cluster_size=1M",
        "refcount_bits=8",
        "refcount_bits=32,cluster_size=8k",
        "cluster_size=1k,compat=0.10",
        "compat=0.10,preallocation=metadata,cluster_size=256k",
        "preallocation=metadata",
        "preallocation=falloc",
        "preallocation=full,cluster_size=32k",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on,cluster_size=2M,preallocation=metadata",
    ] {
        let image = images.convert(&raw, "disk.qcow2", &["-O", "qcow2", "-o", options]);
        assert_eq!(check(&images, &image, options), Route::OnePass, "{options}");
        let unordered = ["-W", "-m", "16", "-O", "qcow2", "-o", options];
        let image = images.convert(&raw, "disk.qcow2", &unordered);
        check(&images, &image, &format!("{options}, out of order"));
    }
}

#[test]
fn compressed() {
    let images = Images::new();
    let raw = images.write("disk.raw", &sample_disk(SIZE, 2));
    for cluster_size in ["512", "4k", "64k", "2M"] {
        for kind in ["zlib", "zstd"] {
            let options = format!("compression_type={kind},cluster_size={cluster_size}");
            let image = images.convert(&raw, "disk.qcow2", &["-c", "-O", "qcow2", "-o", &options]);
            assert_eq!(check(&images, &image, &options), Route::OnePass, "{options}");
        }
    }
    let options = "extended_l2=on,compression_type=zstd";
    let image = images.convert(&raw, "disk.qcow2", &["-c", "-W", "-m", "8", "-O", "qcow2", "-o", options]);
    check(&images, &image, options);
}

/// Commands that write, zero and discard at random places.
fn guest_writes(random: &mut Random, size: u64, cluster: u64) -> String {
    (0..120)
        .map(|_| {
            let pattern = random.below(255) + 1;
            match random.below(4) {
                0 => format!("write -z {}\n", place(random, size, 512)),
                1 => format!("discard {}\n", place(random, size, 512)),
                2 => format!("write -z -u {}\n", place(random, size, cluster)),
                _ => format!("write -P {pattern} {}\n", place(random, size, 512)),
            }
        })
        .collect()
}

/// Commands that write compressed clusters, in a disk without any data: QEMU compresses no cluster that has some.
fn compressed_writes(random: &mut Random, size: u64, cluster: u64) -> String {
    let chosen: Vec<u64> = (0..size / cluster).filter(|_| random.below(3) == 0).collect();
    let commands: Vec<String> = chosen
        .iter()
        .take(200)
        .map(|index| {
            let pattern = random.below(255) + 1;
            format!("write -c -P {pattern} {} {cluster}\n", index * cluster)
        })
        .collect();
    commands.concat()
}

#[test]
fn written_at_random() {
    let images = Images::new();
    let size = 16 << 20;
    for (seed, (options, cluster)) in [
        ("cluster_size=64k", 65536),
        ("cluster_size=512", 512),
        ("cluster_size=4k,compression_type=zstd", 4096),
        ("cluster_size=64k,lazy_refcounts=on", 65536),
        ("extended_l2=on,cluster_size=64k", 65536),
        ("extended_l2=on,cluster_size=16k,preallocation=metadata", 16384),
        ("cluster_size=2M", 2 << 20),
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = Random::new(seed as u64 + 10);
        let image = images.path("disk.qcow2");
        qemu_img(&["create", "-f", "qcow2", "-o", options, text(&image), &size.to_string()]);
        if !options.contains("preallocation") {
            qemu_io("qcow2", &image, &compressed_writes(&mut random, size, cluster));
            check(&images, &image, &format!("{options}, compressed"));
        }
        qemu_io("qcow2", &image, &guest_writes(&mut random, size, cluster));
        check(&images, &image, options);
        // What was there is rewritten in place, and more is added behind.
        qemu_io("qcow2", &image, &guest_writes(&mut random, size, cluster));
        check(&images, &image, &format!("{options}, written again"));
    }
}

#[test]
fn snapshots_and_resizes() {
    let images = Images::new();
    let size = 8 << 20;
    for (seed, options) in
        ["cluster_size=64k", "cluster_size=4k", "cluster_size=512,compat=0.10"].into_iter().enumerate()
    {
        let mut random = Random::new(seed as u64 + 100);
        let image = images.path("disk.qcow2");
        let path = text(&image);
        let mut write = |size| {
            qemu_io("qcow2", &image, &guest_writes(&mut random, size, 65536));
        };
        qemu_img(&["create", "-f", "qcow2", "-o", options, path, &size.to_string()]);
        write(size);
        qemu_img(&["snapshot", "-c", "one", path]);
        write(size);
        qemu_img(&["snapshot", "-c", "two", path]);
        write(size);
        check(&images, &image, &format!("{options}, two snapshots"));
        qemu_img(&["snapshot", "-d", "one", path]);
        write(size);
        check(&images, &image, &format!("{options}, one snapshot"));
        qemu_img(&["snapshot", "-a", "two", path]);
        check(&images, &image, &format!("{options}, reverted"));
        qemu_img(&["snapshot", "-d", "two", path]);
        qemu_img(&["resize", "-q", "-f", "qcow2", path, "200M"]);
        write(200 << 20);
        check(&images, &image, &format!("{options}, grown"));
    }
}

/// An image that was grown after it was written: its L1 table lies behind all data.
fn grown(images: &Images, size: usize) -> Vec<u8> {
    let raw = images.write("disk.raw", &sample_disk(size, 7));
    let image = images.convert(&raw, "disk.qcow2", &["-O", "qcow2", "-o", "cluster_size=4k"]);
    qemu_img(&["resize", "-q", "-f", "qcow2", text(&image), "3G"]);
    qemu_img(&["resize", "-q", "-f", "qcow2", "--shrink", text(&image), &size.to_string()]);
    std::fs::read(image).expect("readable")
}

#[test]
fn what_was_grown_takes_one_pass_where_its_tables_can_be_read_ahead() {
    let image = grown(&Images::new(), SIZE);
    let tight = Options { orphan_window: 1 << 20, ..Options::default() };
    let (disk, route) = decode_looking_ahead(&image, &[100_000], &tight).expect("decoded");
    assert_eq!(route, Route::LookedAhead);
    assert_same(&disk, &sample_disk(SIZE, 7), "looking ahead");
    let (_, route) = decode_stream(&image, &[100_000], &tight).expect("decoded");
    assert_eq!(route, Route::StagedRest, "without a look ahead");
}

#[test]
fn tables_that_differ_from_those_read_ahead_are_noticed() {
    let image = grown(&Images::new(), SIZE);
    let l1 = usize::try_from(u64::from_be_bytes(*image[40..].first_chunk().expect("a header"))).expect("fits");
    let tight = Options { orphan_window: 1 << 20, ..Options::default() };
    let mut lie = image.clone();
    lie[l1 + 8..l1 + 16].fill(0);
    let inspection = inspect(&image).expect("passes");
    let mut decoder = Decoder::new(&inspection, &tight);
    let outcome = image.chunks(65_536).try_for_each(|chunk| match decoder.push(chunk, &mut Nowhere) {
        Err(Error::NeedsRandomAccess { .. }) => decoder.look_ahead(&&lie[..]).map(|helps| assert!(helps)),
        outcome => outcome,
    });
    match outcome {
        Err(Error::Changed { offset, .. }) => assert!(offset >= l1 as u64 && offset < l1 as u64 + 4096),
        other => panic!("{other:?}"),
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `qemu-img` does to an image that is there already.
#[test]
fn changed_afterwards() {
    let images = Images::new();
    let raw = images.write("disk.raw", &sample_disk(SIZE, 3));
    let changes: [(&str, &[&[&str]]); 11] = [
        ("grown", &[&["resize", "-q", "-f", "qcow2", "IMAGE", "2G"]]),
        ("grown a little", &[&["resize", "-q", "-f", "qcow2", "IMAGE", "+512"]]),
        ("shrunk", &[&["resize", "-q", "-f", "qcow2", "--shrink", "IMAGE", "2999808"]]),
        (
            "shrunk and grown",
            &[
                &["resize", "-q", "-f", "qcow2", "--shrink", "IMAGE", "1M"],
                &["resize", "-q", "-f", "qcow2", "IMAGE", "40M"],
            ],
        ),
        ("grown and preallocated", &[&["resize", "-q", "-f", "qcow2", "--preallocation=metadata", "IMAGE", "20M"]]),
        ("grown and allocated", &[&["resize", "-q", "-f", "qcow2", "--preallocation=falloc", "IMAGE", "20M"]]),
        ("with a bitmap", &[&["bitmap", "-f", "qcow2", "--add", "IMAGE", "dirty"]]),
        ("with a snapshot", &[&["snapshot", "-c", "one", "IMAGE"]]),
        (
            "reverted and grown",
            &[&["snapshot", "-c", "one", "IMAGE"], &["resize", "-q", "-f", "qcow2", "IMAGE", "20M"]],
        ),
        ("downgraded", &[&["amend", "-q", "-f", "qcow2", "-o", "compat=0.10", "IMAGE"]]),
        ("with other refcounts", &[&["amend", "-q", "-f", "qcow2", "-o", "refcount_bits=64", "IMAGE"]]),
    ];
    for (options, compressed) in [("cluster_size=64k", false), ("cluster_size=4k", false), ("cluster_size=64k", true)] {
        for (change, commands) in changes {
            let case = format!("{options}, compressed {compressed}, {change}");
            let mut arguments = vec!["-O", "qcow2", "-o", options];
            if compressed {
                arguments.insert(0, "-c");
            }
            let image = images.convert(&raw, "disk.qcow2", &arguments);
            for command in commands {
                let command: Vec<&str> =
                    command.iter().map(|&word| if word == "IMAGE" { text(&image) } else { word }).collect();
                qemu_img(&command);
            }
            if !change.contains("grown") || change == "grown a little" {
                check(&images, &image, &case);
                continue;
            }
            // The guest writes to what it has got.
            qemu_io("qcow2", &image, "write -P 9 5M 100k\nwrite -P 8 19M 70000\nwrite -z 5000k 64k\n");
            check(&images, &image, &case);
        }
    }
}

/// Snapshots and resizes of images with subclusters and zstd, and what a commit into them leaves.
#[test]
fn histories_of_extended_images() {
    let images = Images::new();
    for (seed, options) in [
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on,compression_type=zstd",
        "refcount_bits=1",
        "lazy_refcounts=on",
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = Random::new(seed as u64 + 200);
        let size = 8 << 20;
        let image = images.path("disk.qcow2");
        let path = text(&image);
        qemu_img(&["create", "-q", "-f", "qcow2", "-o", options, path, &size.to_string()]);
        qemu_io("qcow2", &image, &guest_writes(&mut random, size, 65536));
        if !options.contains("refcount_bits=1") {
            qemu_img(&["snapshot", "-c", "one", path]);
            qemu_io("qcow2", &image, &guest_writes(&mut random, size, 65536));
            check(&images, &image, &format!("{options}, a snapshot"));
            qemu_img(&["snapshot", "-a", "one", path]);
            qemu_img(&["snapshot", "-d", "one", path]);
        }
        qemu_img(&["resize", "-q", "-f", "qcow2", path, "30M"]);
        qemu_io("qcow2", &image, &guest_writes(&mut random, 30 << 20, 65536));
        check(&images, &image, &format!("{options}, grown"));
        let overlay = images.path("overlay.qcow2");
        qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, text(&overlay)]);
        qemu_io("qcow2", &overlay, &guest_writes(&mut random, 30 << 20, 65536));
        qemu_img(&["commit", "-q", "-f", "qcow2", text(&overlay)]);
        check(&images, &image, &format!("{options}, committed into"));
    }
}
