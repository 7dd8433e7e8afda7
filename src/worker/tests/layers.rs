//! Layers of container images: which file of which layer is the disk.

use std::process::Command;

use vmdisk_wire::{ExitClass, Format};

use crate::repository::{Registry, TAR, archive, config, digest, gzip, layer};
use crate::support::{self, Bench, assert_disk, noise};

const SIZE: usize = 3 << 20;

#[test]
fn a_container_disk_of_one_layer() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = bench.raw("raw", SIZE);
    let image = bench.convert("raw", "qcow2", &[]);
    let layers = [registry.blob(TAR, layer(&[("disk/vm.qcow2", &image)]))];
    let manifest = registry.image("1.0", &layers);
    let run = bench.fetch(&registry.url(":1.0"), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.source.digest.as_deref(), manifest["digest"].as_str());
    assert_eq!(Some(run.report.bytes_fetched), layers[0]["size"].as_u64(), "the layer, once, and no other blob");
    // The same by digest, and under the other scheme.
    let url = registry.url(&format!("@{}", manifest["digest"].as_str().unwrap()));
    bench.fetch(&url.replace("docker://", "oci://"), &[]).done();
    assert_disk(&bench.output(), &disk);
}

#[test]
fn the_topmost_disk_counts_and_whiteouts_hide_what_is_below() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let (old, new) = (noise(SIZE, 1), noise(SIZE, 2));
    let push = |files: &[(&str, &[u8])]| registry.blob(TAR, layer(files));
    let base = push(&[("disk/vm.img", &old), ("bin/sh", b"#!")]);
    let other = push(&[("etc/motd", b"hello")]);

    registry.image("over", &[base.clone(), push(&[("disk/vm.img", &new)])]);
    bench.fetch(&registry.url(":over"), &[]).done();
    assert_disk(&bench.output(), &new);

    registry.image("under", &[base.clone(), other.clone()]);
    bench.fetch(&registry.url(":under"), &[]).done();
    assert_disk(&bench.output(), &old);

    for (tag, whiteout) in [
        ("file", "disk/.wh.vm.img"),
        ("directory", ".wh.disk"),
        ("opaque", "disk/.wh..wh..opq"),
        ("all", ".wh..wh..opq"),
    ] {
        registry.image(tag, &[base.clone(), push(&[(whiteout, b"")]), other.clone()]);
        bench.fetch(&registry.url(&format!(":{tag}")), &[]).failed(ExitClass::Malformed, "NoDisk", "/disk");
    }
    // Hidden below, there again above.
    registry.image("again", &[base, push(&[("disk/.wh.vm.img", b""), ("disk/b.img", &new)]), other]);
    bench.fetch(&registry.url(":again"), &[]).done();
    assert_disk(&bench.output(), &new);
}

#[test]
fn two_disks_need_a_path_and_a_path_may_be_anywhere() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let (one, two) = (noise(SIZE, 1), noise(SIZE, 2));
    let files: &[(&str, &[u8])] = &[("disk/a.img", &one), ("disk/b.img", &two), ("opt/c.img", &one)];
    registry.image("two", &[registry.blob(TAR, layer(files))]);
    let url = registry.url(":two");
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "NoDisk", "name the one");
    bench.fetch(&url, &["--path", "/disk/b.img"]).done();
    assert_disk(&bench.output(), &two);
    bench.fetch(&url, &["--path", "opt/c.img"]).done();
    assert_disk(&bench.output(), &one);
    bench.fetch(&url, &["--path", "opt/d.img"]).failed(ExitClass::Malformed, "NoDisk", "opt/d.img");
}

#[test]
fn the_content_of_a_layer_is_what_the_configuration_promises() {
    let registry = Registry::start();
    let disk = noise(SIZE, 1);
    let (lower, upper) = (archive(&[("disk/vm.img", &disk)]), archive(&[("etc/motd", b"hello")]));
    let zst = "application/vnd.oci.image.layer.v1.tar+zstd";
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let (below, above, lie) = (digest(&lower), digest(&upper), digest(b"another layer"));
    for (packing, lowest) in [
        ("gzip", registry.blob(TAR, gzip(&lower))),
        ("zstd", registry.blob(zst, zstd::encode_all(&lower[..], 1).unwrap())),
        ("plain", registry.blob(plain, lower.clone())),
    ] {
        let layers = [lowest, registry.blob(TAR, gzip(&upper))];
        for (case, ids, right) in [
            ("right", &[below.clone(), above.clone()][..], true),
            ("more", &[below.clone(), above.clone(), lie.clone()], true),
            ("fewer", std::slice::from_ref(&lie), true),
            ("none", &[], true),
            ("lower", &[lie.clone(), above.clone()], false),
            ("upper", &[below.clone(), lie.clone()], false),
            ("swapped", &[above.clone(), below.clone()], false),
        ] {
            let bench = Bench::new();
            let tag = format!("{packing}-{case}");
            registry.configured(&tag, &layers, &config(ids));
            let run = bench.fetch(&registry.url(&format!(":{tag}")), &[]);
            if right {
                run.done();
                assert_disk(&bench.output(), &disk);
            } else {
                let run = run.failed(ExitClass::VerificationFailed, "DigestMismatch", "rootfs.diff_ids");
                assert!(run.report.message.contains(if case == "swapped" { &below } else { &lie }), "{tag}");
                assert_eq!(bench.files(), Vec::<String>::new(), "{tag}: nothing is left");
            }
        }
    }
}

#[test]
fn a_configuration_of_other_bytes_is_refused_and_one_that_says_nothing_is_not() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(SIZE, 1);
    let layers = [registry.blob(TAR, layer(&[("disk/vm.img", &disk)]))];
    // As tools leave it that push a disk and have no configuration.
    for (tag, config) in [("none", ""), ("null", "null"), ("text", "no JSON")] {
        registry.configured(tag, &layers, config);
        bench.fetch(&registry.url(&format!(":{tag}")), &[]).done();
        assert_disk(&bench.output(), &disk);
        std::fs::remove_file(bench.output()).unwrap();
    }
    let promised = config(&[digest(b"some")]);
    registry.configured("forged", &layers, &promised);
    registry.put(&format!("blobs/{}", digest(promised.as_bytes())), promised.replace("amd64", "arm64"));
    let run = bench.fetch(&registry.url(":forged"), &[]);
    run.failed(ExitClass::VerificationFailed, "DigestMismatch", "a configuration with the digest");
    assert!(!bench.output().exists());
}

#[test]
fn opaque_directories_and_whiteouts_over_several_layers() {
    let registry = Registry::start();
    let (old, new) = (noise(SIZE, 1), noise(SIZE, 2));
    let push = |files: &[(&str, &[u8])]| registry.blob(TAR, layer(files));
    let base = push(&[("disk/old.img", &old), ("opt/disk/old.img", &old)]);
    let opaque = push(&[("disk/.wh..wh..opq", b""), ("disk/new.img", &new)]);
    let whiteout = push(&[("disk/.wh.new.img", b"")]);
    let untouched = push(&[("etc/motd", b"hello"), ("var/.wh..wh..opq", b""), ("opt/.wh.disk.bak", b"")]);
    let replaced = push(&[("disk/.wh.old.img", b""), ("disk/new.img", &new)]);
    for (case, layers, found) in [
        // The old disk is hidden, so the new one is no second one.
        ("an opaque directory above", vec![&base, &opaque], Some(&new)),
        ("and layers above that", vec![&base, &opaque, &untouched, &untouched], Some(&new)),
        ("the disk in the lowest of many", vec![&base, &untouched, &untouched], Some(&old)),
        ("hidden above what it was made in", vec![&base, &opaque, &whiteout], None),
        ("hidden, then there again", vec![&base, &opaque, &whiteout, &replaced], Some(&new)),
        ("a whiteout below hides nothing above", vec![&whiteout, &base], Some(&old)),
        ("an opaque directory below neither", vec![&opaque, &replaced, &untouched], Some(&new)),
    ] {
        let bench = Bench::new();
        let layers: Vec<_> = layers.into_iter().cloned().collect();
        registry.image("1", &layers);
        let run = bench.fetch(&registry.url(":1"), &[]);
        if let Some(disk) = found {
            run.done();
            assert_disk(&bench.output(), disk);
        } else {
            let layers = format!("none of the image's {} layers holds a file in /disk", layers.len());
            run.failed(ExitClass::Malformed, "NoDisk", &layers);
            assert!(!bench.output().exists(), "{case}");
        }
    }
    // A path that the user names is hidden by the same marks.
    registry.image("2", &[base, push(&[("opt/disk/.wh..wh..opq", b"")])]);
    let bench = Bench::new();
    let run = bench.fetch(&registry.url(":2"), &["--path", "opt/disk/old.img"]);
    run.failed(ExitClass::Malformed, "NoDisk", "opt/disk/old.img");
}

#[test]
fn compressed_images_in_layers() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = bench.raw("raw", SIZE);
    bench.convert("raw", "qcow2", &[]);
    support::run(Command::new("xz").args(["-0", "-T2", "--block-size=500000"]).arg(bench.path("image.qcow2")));
    let xz = std::fs::read(bench.path("image.qcow2.xz")).unwrap();
    let zst = zstd::encode_all(&disk[..], 1).unwrap();
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let (qcow2, raw) = (archive(&[("disk/vm.qcow2.xz", &xz)]), archive(&[("disk/vm.raw.zst", &zst)]));
    for (tag, layer, content, format) in [
        ("qcow2.xz", registry.blob(TAR, gzip(&qcow2)), &qcow2, Format::Qcow2),
        ("raw.zst", registry.blob(plain, raw.clone()), &raw, Format::Raw),
        ("raw.zst-in-gzip", registry.blob(TAR, gzip(&raw)), &raw, Format::Raw),
    ] {
        // The content of the layer is the archive, not what a file in it holds.
        registry.configured(tag, &[layer], &config(&[digest(content)]));
        let run = bench.fetch(&registry.url(&format!(":{tag}")), &[]).done();
        assert_disk(&bench.output(), &disk);
        assert_eq!(run.report.source.format, Some(format), "{tag}");
        std::fs::remove_file(bench.output()).unwrap();
    }
}

#[test]
fn an_image_without_a_disk_is_told_by_what_it_holds() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let push = |files: &[(&str, &[u8])]| registry.blob(TAR, layer(files));
    let kernel = push(&[("boot/vmlinuz-virt", b"kernel"), ("etc/motd", b"hello")]);
    let initrd = push(&[("boot/initramfs-virt", b"initrd")]);
    let stray = push(&[("images/vm.qcow2", b"QFI")]);
    let other = push(&[("etc/motd", b"hello")]);
    for (tag, layers, path, told) in [
        (
            "kernel",
            vec![&kernel, &initrd],
            None,
            "holds boot/initramfs-virt, boot/vmlinuz-virt, as an image for kernelBoot",
        ),
        ("stray", vec![&kernel, &stray], None, "it holds images/vm.qcow2: name the one that is the disk in path"),
        ("neither", vec![&other], None, "/disk; put the disk image there, or name it in path"),
        ("path", vec![&stray], Some("vm.qcow2"), "the file vm.qcow2; correct path: it holds images/vm.qcow2"),
    ] {
        registry.image(tag, &layers.into_iter().cloned().collect::<Vec<_>>());
        let arguments = path.map_or(Vec::new(), |path| vec!["--path", path]);
        let run = bench.fetch(&registry.url(&format!(":{tag}")), &arguments);
        run.failed(ExitClass::Malformed, "NoDisk", told);
        assert!(!bench.output().exists());
    }
}
