//! Every kind of qcow2 that QEMU's tools write, against what they read back.

use std::path::Path;

use vmdisk_format::{Decoder, Error, Options, Sink};

use crate::support::{
    Random, Route, assert_same, decode_looking_ahead, decode_stream, inspect,
    qemu::{Images, place, text},
    sample_disk,
};

fn check(images: &Images, image: &Path, case: &str) -> Route {
    images.check("qcow2", image, case)
}

const SIZE: usize = 6 << 20;

#[test]
fn converted() {
    for images in Images::by_every_qemu() {
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
}

#[test]
fn compressed() {
    for images in Images::by_every_qemu() {
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
    for images in Images::by_every_qemu() {
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
            images.qemu_img(&["create", "-f", "qcow2", "-o", options, text(&image), &size.to_string()]);
            if !options.contains("preallocation") {
                images.qemu_io("qcow2", &image, &compressed_writes(&mut random, size, cluster));
                check(&images, &image, &format!("{options}, compressed"));
            }
            images.qemu_io("qcow2", &image, &guest_writes(&mut random, size, cluster));
            check(&images, &image, options);
            // What was there is rewritten in place, and more is added behind.
            images.qemu_io("qcow2", &image, &guest_writes(&mut random, size, cluster));
            check(&images, &image, &format!("{options}, written again"));
        }
    }
}

#[test]
fn snapshots_and_resizes() {
    for images in Images::by_every_qemu() {
        let size = 8 << 20;
        for (seed, options) in
            ["cluster_size=64k", "cluster_size=4k", "cluster_size=512,compat=0.10"].into_iter().enumerate()
        {
            let mut random = Random::new(seed as u64 + 100);
            let image = images.path("disk.qcow2");
            let path = text(&image);
            let mut write = |size| {
                images.qemu_io("qcow2", &image, &guest_writes(&mut random, size, 65536));
            };
            images.qemu_img(&["create", "-f", "qcow2", "-o", options, path, &size.to_string()]);
            write(size);
            images.qemu_img(&["snapshot", "-c", "one", path]);
            write(size);
            images.qemu_img(&["snapshot", "-c", "two", path]);
            write(size);
            check(&images, &image, &format!("{options}, two snapshots"));
            images.qemu_img(&["snapshot", "-d", "one", path]);
            write(size);
            check(&images, &image, &format!("{options}, one snapshot"));
            images.qemu_img(&["snapshot", "-a", "two", path]);
            check(&images, &image, &format!("{options}, reverted"));
            images.qemu_img(&["snapshot", "-d", "two", path]);
            images.qemu_img(&["resize", "-q", "-f", "qcow2", path, "200M"]);
            write(200 << 20);
            check(&images, &image, &format!("{options}, grown"));
        }
    }
}

/// An image that was grown after it was written: its L1 table lies behind all data.
fn grown(images: &Images, size: usize) -> Vec<u8> {
    let raw = images.write("disk.raw", &sample_disk(size, 7));
    let image = images.convert(&raw, "disk.qcow2", &["-O", "qcow2", "-o", "cluster_size=4k"]);
    images.qemu_img(&["resize", "-q", "-f", "qcow2", text(&image), "3G"]);
    images.qemu_img(&["resize", "-q", "-f", "qcow2", "--shrink", text(&image), &size.to_string()]);
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

/// Runs `qemu-img` on an image that is there already.
fn change(images: &Images, image: &Path, commands: &[&[&str]]) {
    for command in commands {
        let command: Vec<&str> = command.iter().map(|&word| if word == "IMAGE" { text(image) } else { word }).collect();
        images.qemu_img(&command);
    }
}

#[test]
fn changed_afterwards() {
    let changes: [(&str, &[&[&str]]); 13] = [
        ("grown", &[&["resize", "-q", "-f", "qcow2", "IMAGE", "600M"]]),
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
        ("grown and filled", &[&["resize", "-q", "-f", "qcow2", "--preallocation=full", "IMAGE", "20M"]]),
        ("with a bitmap", &[&["bitmap", "-f", "qcow2", "--add", "-g", "64k", "IMAGE", "dirty"]]),
        ("with a snapshot", &[&["snapshot", "-c", "one", "IMAGE"]]),
        (
            "reverted and grown",
            &[&["snapshot", "-c", "one", "IMAGE"], &["resize", "-q", "-f", "qcow2", "IMAGE", "20M"]],
        ),
        ("downgraded", &[&["amend", "-q", "-f", "qcow2", "-o", "compat=0.10", "IMAGE"]]),
        (
            "downgraded and upgraded",
            &[
                &["amend", "-q", "-f", "qcow2", "-o", "compat=0.10", "IMAGE"],
                &["amend", "-q", "-f", "qcow2", "-o", "compat=1.1,lazy_refcounts=on", "IMAGE"],
            ],
        ),
        ("with other refcounts", &[&["amend", "-q", "-f", "qcow2", "-o", "refcount_bits=64", "IMAGE"]]),
    ];
    for images in Images::by_every_qemu() {
        let raw = images.write("disk.raw", &sample_disk(SIZE, 3));
        for arguments in [&["-o", "cluster_size=64k"][..], &["-o", "cluster_size=4k"], &["-c"]] {
            for (what, commands) in changes {
                let image = images.convert(&raw, "disk.qcow2", &[arguments, &["-O", "qcow2"]].concat());
                change(&images, &image, commands);
                if what.contains("grown") && what != "grown a little" {
                    // The guest writes to what it has got.
                    images.qemu_io("qcow2", &image, "write -P 9 5M 100k\nwrite -P 8 19M 70000\nwrite -z 5000k 64k\n");
                }
                check(&images, &image, &format!("{arguments:?}, {what}"));
            }
        }
    }
}

/// What a guest writes while a bitmap keeps track of it, and the copy of image and bitmap.
#[test]
fn bitmaps() {
    for images in Images::by_every_qemu() {
        let raw = images.write("disk.raw", &sample_disk(SIZE, 4));
        let image = images.convert(&raw, "disk.qcow2", &["-O", "qcow2"]);
        for (name, granularity) in [("daily", "512"), ("weekly", "2M")] {
            change(&images, &image, &[&["bitmap", "-f", "qcow2", "--add", "-g", granularity, "IMAGE", name]]);
            images.qemu_io("qcow2", &image, &guest_writes(&mut Random::new(5), SIZE as u64, 65536));
            check(&images, &image, name);
        }
        let copy = images.path("copy.qcow2");
        for options in ["cluster_size=64k", "cluster_size=4k,extended_l2=off", "extended_l2=on"] {
            let arguments = ["convert", "--bitmaps", "-f", "qcow2", "-O", "qcow2", "-o", options];
            images.qemu_img(&[&arguments[..], &[text(&image), text(&copy)]].concat());
            check(&images, &copy, &format!("bitmaps in a copy with {options}"));
        }
        change(&images, &image, &[&["bitmap", "-f", "qcow2", "--remove", "IMAGE", "daily"]]);
        images.qemu_io("qcow2", &image, &guest_writes(&mut Random::new(6), SIZE as u64, 65536));
        check(&images, &image, "one bitmap less");
    }
}

/// A disk written into an image that was there before, with what a guest and a snapshot left in it.
#[test]
fn converted_into_what_was_there() {
    for images in Images::by_every_qemu() {
        let raw = images.write("disk.raw", &sample_disk(SIZE, 5));
        for options in ["cluster_size=64k", "cluster_size=4k,lazy_refcounts=on", "extended_l2=on"] {
            let image = images.path("disk.qcow2");
            let path = text(&image);
            images.qemu_img(&["create", "-q", "-f", "qcow2", "-o", options, path, &SIZE.to_string()]);
            images.qemu_io("qcow2", &image, &guest_writes(&mut Random::new(7), SIZE as u64, 65536));
            images.qemu_img(&["snapshot", "-c", "before", path]);
            for how in [&["-S", "0"][..], &["-W", "-m", "16"]] {
                let arguments = ["convert", "-n", "-f", "raw", "-O", "qcow2"];
                images.qemu_img(&[&arguments[..], how, &[text(&raw), path]].concat());
                check(&images, &image, &format!("{options}, converted into by {how:?}"));
            }
        }
        let image = images.path("copied.qcow2");
        let (from, to) = (format!("if={}", text(&raw)), format!("of={}", text(&image)));
        images.qemu_img(&["dd", "-f", "raw", "-O", "qcow2", "bs=4k", "skip=3", &from, &to]);
        check(&images, &image, "dd");
    }
}

/// Makes an overlay, writes to it, and lets it take in what it lies on, as when a chain of snapshots is exported.
fn check_flattened(images: &Images, options: &str, rebase: &[&str]) {
    let raw = images.write("disk.raw", &sample_disk(SIZE, 6));
    let base = images.convert(&raw, "base.qcow2", &["-O", "qcow2"]);
    let image = images.path("overlay.qcow2");
    // Larger than its base, as a guest's disk is that was grown.
    let size = SIZE as u64 + 3 * 512;
    let create = ["create", "-q", "-f", "qcow2", "-o", options, "-F", "qcow2", "-b", text(&base)];
    images.qemu_img(&[&create[..], &[text(&image), &size.to_string()]].concat());
    images.qemu_io("qcow2", &image, &guest_writes(&mut Random::new(300), size, 65536));
    images.qemu_img(&[&["rebase", "-q", "-f", "qcow2"], rebase, &["-b", "", text(&image)]].concat());
    check(images, &image, &format!("{options}, flattened by {rebase:?}"));
}

#[test]
fn flattened_overlays() {
    for images in Images::by_every_qemu() {
        for options in ["cluster_size=64k", "cluster_size=4k", "extended_l2=on"] {
            check_flattened(&images, options, &[]);
        }
    }
    // Compressed clusters among a guest's own, since QEMU 9.0; QEMU 10.0 aborts on subclusters.
    for images in Images::by_newer_qemu() {
        for options in ["cluster_size=64k", "cluster_size=64k,compression_type=zstd", "cluster_size=4k"] {
            check_flattened(&images, options, &["-c"]);
        }
    }
}

/// A guest's discards that keep the clusters: zero clusters that stay allocated, since QEMU 8.1.
#[test]
fn discards_that_keep_their_clusters() {
    for images in Images::by_newer_qemu() {
        for (seed, options) in ["cluster_size=64k", "cluster_size=4k", "extended_l2=on"].into_iter().enumerate() {
            let mut random = Random::new(seed as u64 + 400);
            let image = images.path("disk.qcow2");
            images.qemu_img(&["create", "-q", "-f", "qcow2", "-o", options, text(&image), &SIZE.to_string()]);
            let open = format!(
                "driver=qcow2,discard-no-unref=on,discard=unmap,file.driver=file,file.discard=unmap,file.filename={}",
                text(&image)
            );
            for _ in 0..2 {
                images.qemu_io_opened(&open, &guest_writes(&mut random, SIZE as u64, 4096));
                check(&images, &image, options);
            }
        }
    }
}

/// Snapshots and resizes of images with subclusters and zstd, and what a commit into them leaves.
#[test]
fn histories_of_extended_images() {
    for images in Images::by_every_qemu() {
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
            images.qemu_img(&["create", "-q", "-f", "qcow2", "-o", options, path, &size.to_string()]);
            images.qemu_io("qcow2", &image, &guest_writes(&mut random, size, 65536));
            if !options.contains("refcount_bits=1") {
                images.qemu_img(&["snapshot", "-c", "one", path]);
                images.qemu_io("qcow2", &image, &guest_writes(&mut random, size, 65536));
                check(&images, &image, &format!("{options}, a snapshot"));
                images.qemu_img(&["snapshot", "-a", "one", path]);
                images.qemu_img(&["snapshot", "-d", "one", path]);
            }
            images.qemu_img(&["resize", "-q", "-f", "qcow2", path, "30M"]);
            images.qemu_io("qcow2", &image, &guest_writes(&mut random, 30 << 20, 65536));
            check(&images, &image, &format!("{options}, grown"));
            let overlay = images.path("overlay.qcow2");
            images.qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, text(&overlay)]);
            images.qemu_io("qcow2", &overlay, &guest_writes(&mut random, 30 << 20, 65536));
            images.qemu_img(&["commit", "-q", "-f", "qcow2", text(&overlay)]);
            check(&images, &image, &format!("{options}, committed into"));
        }
    }
}
