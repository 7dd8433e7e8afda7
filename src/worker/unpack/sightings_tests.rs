use super::*;

fn seen(paths: &[&str]) -> Sightings {
    let mut sightings = Sightings::default();
    for path in paths {
        sightings.note(path);
    }
    sightings
}

#[test]
fn what_is_worth_a_word() {
    for (paths, advice, alternatives) in [
        (&["etc/motd", "usr/bin/kern", "README.md"][..], "put the disk image there", "correct path"),
        (&["boot/vmlinuz-6.1", "boot/initrd.img"], "holds boot/vmlinuz-6.1, boot/initrd.img, as", "correct path"),
        (&["Kernel", "INITRAMFS.gz"], "it holds Kernel, INITRAMFS.gz, as an image for kernelBoot", "correct path"),
        (&["vm.qcow2", "boot/vmlinuz"], "holds vm.qcow2: name the one", "correct path: it holds vm.qcow2"),
        (&["a.RAW.xz", "b.vmdk.zst"], "holds a.RAW.xz, b.vmdk.zst: name", "it holds a.RAW.xz, b.vmdk.zst"),
        (&["raw", "img/x", "x.gz"], "put the disk image there", "correct path"),
    ] {
        let seen = seen(paths);
        assert!(seen.advice().contains(advice), "{}", seen.advice());
        assert!(seen.alternatives().contains(alternatives), "{}", seen.alternatives());
    }
}

#[test]
fn little_is_kept_of_much() {
    let many: Vec<String> = (0..1000).map(|number| format!("{number}/{}.img", "x".repeat(5000))).collect();
    let mut all = seen(&many.iter().map(String::as_str).collect::<Vec<_>>());
    all.extend(seen(&["boot/vmlinuz", "below.img"]));
    all.extend(seen(&["boot/vmlinuz"]));
    assert_eq!(all.boot_files, ["boot/vmlinuz"]);
    assert_eq!(all.disk_images.len(), MOST);
    assert!(all.advice().len() < 1000);
}
