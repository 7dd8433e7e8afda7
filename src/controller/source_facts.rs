//! What workers learn of a source, in the words of the API.

use populator_crd::v1alpha1::{DiskFormat, SourceFacts};
use vmdisk_wire::{self as wire, Format};

/// The longest digest or `ETag` that the API takes.
const DIGEST_LIMIT: usize = 512;

/// A digest or `ETag` as it can be recorded. One that is cut would name nothing, and one that is too long would make every
/// write of the record fail for ever: a later attempt begins without it.
fn recordable(digest: &str) -> Option<String> {
    (digest.len() <= DIGEST_LIMIT && !digest.chars().any(char::is_control)).then(|| digest.to_owned())
}

/// What was known before, with what a report adds or corrects; `None` while nothing is known.
#[must_use]
pub fn merged(before: Option<&SourceFacts>, learnt: &wire::SourceFacts) -> Option<SourceFacts> {
    let mut facts = before.cloned().unwrap_or_default();
    if let Some(digest) = &learnt.digest {
        facts.digest = recordable(digest);
    }
    if let Some(format) = learnt.format {
        facts.format = Some(api_format(format));
    }
    if let Some(size) = learnt.virtual_size {
        facts.virtual_size = i64::try_from(size).ok();
    }
    if let Some(size) = learnt.size {
        facts.size = i64::try_from(size).ok();
    }
    (facts != SourceFacts::default()).then_some(facts)
}

/// The API's word for a worker's format.
#[must_use]
pub const fn api_format(format: Format) -> DiskFormat {
    match format {
        Format::Auto => DiskFormat::Auto,
        Format::Raw => DiskFormat::Raw,
        Format::Qcow2 => DiskFormat::Qcow2,
        Format::Vmdk => DiskFormat::Vmdk,
        Format::Vdi => DiskFormat::Vdi,
        Format::Vhd => DiskFormat::Vhd,
        Format::Vhdx => DiskFormat::Vhdx,
    }
}

/// The worker's word for a format of the API.
#[must_use]
pub const fn wire_format(format: DiskFormat) -> Format {
    match format {
        DiskFormat::Auto => Format::Auto,
        DiskFormat::Raw => Format::Raw,
        DiskFormat::Qcow2 => Format::Qcow2,
        DiskFormat::Vmdk => Format::Vmdk,
        DiskFormat::Vdi => Format::Vdi,
        DiskFormat::Vhd => Format::Vhd,
        DiskFormat::Vhdx => Format::Vhdx,
    }
}
