//! The key of golden data: a hash of all that decides the bytes of a volume. Same key, same bytes. Pure.

use std::fmt::Write as _;

use populator_crd::{
    quantity,
    v1alpha1::{SourceFacts, VMDiskImage},
};
use sha2::{Digest, Sha256};

/// The key of what this image's spec makes of a source that was found to be so. Where nothing names the source's bytes,
/// they are told from others by the image and its generation alone.
#[must_use]
pub fn of(image: &VMDiskImage, facts: &SourceFacts) -> String {
    let spec = &image.spec;
    let generation = || {
        let meta = &image.metadata;
        format!("{}/{}", meta.uid.as_deref().unwrap_or_default(), meta.generation.unwrap_or_default())
    };
    let digest = facts.digest.clone().unwrap_or_else(generation);
    let size = spec.disk_size.as_ref().and_then(|size| quantity::bytes(size).ok());
    let parts = [
        &*digest,
        &format!("{:?}", spec.format),
        spec.path.as_deref().unwrap_or_default(),
        spec.checksum.as_deref().unwrap_or_default(),
        &size.map_or_else(String::new, |size| size.to_string()),
        spec.storage_class.as_deref().unwrap_or_default(),
        spec.volume_mode.as_str(),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        // With its length before it, so that no two lists of parts run together alike.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // A String takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use populator_crd::v1alpha1::{DiskFormat, VMDiskImageSpec, VolumeMode};

    use super::*;

    fn image(change: impl FnOnce(&mut VMDiskImageSpec)) -> VMDiskImage {
        let mut spec = VMDiskImageSpec {
            url: Some("https://host/a.qcow2".into()),
            disk_size: Some(Quantity("24Gi".into())),
            storage_class: Some("gp3".into()),
            ..VMDiskImageSpec::default()
        };
        change(&mut spec);
        VMDiskImage::new("attacker", spec)
    }

    fn facts(digest: &str) -> SourceFacts {
        SourceFacts { digest: Some(digest.into()), format: Some(DiskFormat::Qcow2), ..SourceFacts::default() }
    }

    #[test]
    fn what_decides_the_bytes_decides_the_key_and_nothing_else_does() {
        type Change = fn(&mut VMDiskImageSpec);
        let base = of(&image(|_| {}), &facts("\"e1\""));
        assert_eq!(base.len(), 64);
        let same: [(&str, Change); 4] = [
            ("another way to the same bytes", |spec| spec.url = Some("https://mirror/a.qcow2".into())),
            ("a Secret", |spec| spec.secret_ref = Some("other".into())),
            ("the same size in other words", |spec| spec.disk_size = Some(Quantity("24576Mi".into()))),
            ("the class of snapshots", |spec| spec.snapshot_class = Some("other".into())),
        ];
        for (what, change) in same {
            assert_eq!(of(&image(change), &facts("\"e1\"")), base, "{what}");
        }
        let different: [(&str, Change); 5] = [
            ("path", |spec| spec.path = Some("disk/b.img".into())),
            ("checksum", |spec| spec.checksum = Some("sha256:00".into())),
            ("size", |spec| spec.disk_size = Some(Quantity("25Gi".into()))),
            ("class", |spec| spec.storage_class = Some("other".into())),
            ("mode", |spec| spec.volume_mode = VolumeMode::Block),
        ];
        for (what, change) in different {
            assert_ne!(of(&image(change), &facts("\"e1\"")), base, "{what}");
        }
        assert_ne!(of(&image(|_| {}), &facts("\"e2\"")), base, "other bytes");
    }

    #[test]
    fn parts_do_not_run_together() {
        let one = image(|spec| (spec.path, spec.checksum) = (Some("ab".into()), Some("c".into())));
        let other = image(|spec| (spec.path, spec.checksum) = (Some("a".into()), Some("bc".into())));
        assert_ne!(of(&one, &facts("d")), of(&other, &facts("d")));
    }

    #[test]
    fn a_source_without_digest_or_tag_is_the_images_own_and_of_its_generation() {
        let keyed = |uid: &str, generation| {
            let mut image = image(|_| {});
            (image.metadata.uid, image.metadata.generation) = (Some(uid.into()), Some(generation));
            of(&image, &SourceFacts::default())
        };
        assert_eq!(keyed("a", 1), keyed("a", 1));
        assert_ne!(keyed("a", 1), keyed("a", 2));
        assert_ne!(keyed("a", 1), keyed("b", 1));
    }
}
