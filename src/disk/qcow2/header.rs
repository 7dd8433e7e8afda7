//! The header: the specification's sections "Header", "Additional fields" and "Header extensions".

use std::ops::Range;

use super::NAME;
use crate::{
    Codec, Refusal,
    error::{Reason, quote},
    inspect::Fields,
};

/// The largest L1 table, in bytes (QEMU's `QCOW_MAX_L1_SIZE`).
const MAX_L1_BYTES: u64 = 32 << 20;
/// The largest refcount table, in bytes (QEMU's `QCOW_MAX_REFTABLE_SIZE`).
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// The most internal snapshots (QEMU's `QCOW_MAX_SNAPSHOTS`).
const MAX_SNAPSHOTS: u32 = 65536;
/// The largest disk: offsets are signed 64-bit numbers to every reader.
const MAX_VIRTUAL_SIZE: u64 = i64::MAX as u64;

const VERSION_2_LENGTH: usize = 72;
const VERSION_3_LENGTH: usize = 104;
/// Where `compression_type` lies.
const COMPRESSION_TYPE: usize = 104;

mod incompatible {
    pub(super) const DIRTY: u64 = 1 << 0;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const DATA_FILE: u64 = 1 << 2;
    pub(super) const COMPRESSION_TYPE: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
    pub(super) const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;
}

/// The autoclear bit of an image whose guest data lies raw in another file.
const RAW_EXTERNAL_DATA: u64 = 1 << 1;

mod extension {
    pub(super) const END: u32 = 0;
    pub(super) const ENCRYPTION: u32 = 0x0537_be77;
    pub(super) const DATA_FILE: u32 = 0x4441_5441;
}

/// The header of an image that has passed inspection. Every value is within its bounds, so the arithmetic on them can't
/// overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// The size of a cluster is 2 to this power: 9 to 21.
    pub cluster_bits: u32,
    /// The size of the disk in bytes.
    pub virtual_size: u64,
    /// Where the active L1 table lies.
    pub l1_offset: u64,
    /// How many of its entries the disk needs; it may have more.
    pub l1_entries: usize,
    /// Where the refcount table lies.
    pub refcount_table_offset: u64,
    /// Its size in bytes.
    pub refcount_table_size: u64,
    /// How many internal snapshots there are; they are skipped.
    pub snapshots: u32,
    /// How compressed clusters are compressed.
    pub codec: Codec,
    /// Whether L2 entries have subcluster bitmaps.
    pub extended_l2: bool,
    /// Whether refcounts may be stale (the image was in use, or its writer died). They are not read, so this is harmless.
    pub dirty: bool,
}

impl Header {
    /// The size of a cluster in bytes.
    #[must_use]
    pub fn cluster_size(&self) -> usize {
        1 << self.cluster_bits
    }

    /// The number of guest clusters.
    pub(super) fn clusters(&self) -> u64 {
        self.virtual_size.div_ceil(self.cluster_size() as u64)
    }

    /// The size of an L2 entry is 2 to this power.
    fn l2_entry_bits(&self) -> u32 {
        if self.extended_l2 { 4 } else { 3 }
    }

    /// An L2 table has 2 to this power entries.
    pub(super) fn l2_bits(&self) -> u32 {
        self.cluster_bits - self.l2_entry_bits()
    }

    /// The active L1 table's place in the image.
    pub(super) fn l1_range(&self) -> Range<u64> {
        self.l1_offset..self.l1_offset + self.l1_entries as u64 * 8
    }

    /// The refcount table's place in the image.
    pub(super) fn refcount_table_range(&self) -> Range<u64> {
        self.refcount_table_offset..self.refcount_table_offset + self.refcount_table_size
    }

    /// How many bytes of guest cluster `cluster` lie inside the disk.
    pub(super) fn visible(&self, cluster: u64) -> usize {
        let start = cluster << self.cluster_bits;
        let rest = self.virtual_size.saturating_sub(start);
        usize::try_from(rest).map_or(self.cluster_size(), |rest| rest.min(self.cluster_size()))
    }

    /// Reads the header's fixed part: the first bytes of the image, at least 112 of them unless the image is shorter.
    /// The length of the header comes with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, usize), Refusal> {
        let fields = Fields { format: NAME, bytes };
        check_length(&fields, VERSION_2_LENGTH)?;
        let version = fields.be32(4);
        if version == 1 {
            return Err(fields.refuse(Reason::UnsupportedFormat, "version", version, "2 or 3"));
        }
        fields.require(matches!(version, 2 | 3), "version", version, "2 or 3")?;
        let cluster_bits = fields.be32(20);
        fields.require((9..=21).contains(&cluster_bits), "cluster_bits", cluster_bits, "9 to 21")?;
        let cluster_size = 1_u64 << cluster_bits;
        let length = header_length(&fields, version, cluster_size)?;

        let features = if version == 2 { 0 } else { fields.be64(72) };
        refuse_features(&fields, features)?;
        let autoclear = if version == 2 { 0 } else { fields.be64(88) };
        fields.require_or(
            Reason::DataFile,
            autoclear & RAW_EXTERNAL_DATA == 0,
            "autoclear_features",
            format_args!("{autoclear:#x} (raw external data)"),
            "no data in another file",
        )?;
        let backing = fields.be64(8);
        if backing != 0 {
            let name = backing_name(&fields, backing);
            return Err(fields.refuse(Reason::BackingFile, "backing_file_offset", name, 0));
        }
        let crypt = fields.be32(32);
        fields.require_or(Reason::Encrypted, crypt == 0, "crypt_method", crypt, "0 (none)")?;

        let extended_l2 = features & incompatible::EXTENDED_L2 != 0;
        fields.require(
            !extended_l2 || cluster_bits >= 14,
            "cluster_bits",
            cluster_bits,
            "14 to 21 with extended L2 entries",
        )?;
        let mut header = Self {
            version,
            cluster_bits,
            virtual_size: fields.be64(24),
            l1_offset: fields.be64(40),
            l1_entries: 0,
            refcount_table_offset: fields.be64(48),
            refcount_table_size: u64::from(fields.be32(56)) << cluster_bits,
            snapshots: fields.be32(60),
            codec: codec(&fields, features, length)?,
            extended_l2,
            dirty: features & incompatible::DIRTY != 0,
        };
        header.check_l1(&fields)?;
        header.check_refcounts(&fields)?;
        header.check_snapshots(&fields)?;
        Ok((header, length))
    }

    fn check_l1(&mut self, fields: &Fields<'_>) -> Result<(), Refusal> {
        let size = self.virtual_size;
        fields.require_or(Reason::Empty, size > 0, "size", size, "more than 0")?;
        fields.require_or(
            Reason::TooLarge,
            size <= MAX_VIRTUAL_SIZE,
            "size",
            size,
            format_args!("at most {MAX_VIRTUAL_SIZE}"),
        )?;
        let entries = u64::from(fields.be32(36));
        fields.require_or(
            Reason::TooLarge,
            entries * 8 <= MAX_L1_BYTES,
            "l1_size",
            entries,
            format_args!("at most {} entries", MAX_L1_BYTES / 8),
        )?;
        let needed = size.div_ceil(1 << (self.cluster_bits + self.l2_bits()));
        fields.require(
            entries >= needed,
            "l1_size",
            entries,
            format_args!("at least {needed} entries for a disk of {size} bytes"),
        )?;
        // Bounded by 4 Mi entries above.
        self.l1_entries = usize::try_from(needed).unwrap_or(usize::MAX);
        self.check_table(fields, "l1_table_offset", self.l1_offset, entries * 8)
    }

    fn check_refcounts(&self, fields: &Fields<'_>) -> Result<(), Refusal> {
        if self.version == 3 {
            let order = fields.be32(96);
            fields.require(order <= 6, "refcount_order", order, "0 to 6")?;
        }
        fields.require_or(
            Reason::TooLarge,
            self.refcount_table_size <= MAX_REFCOUNT_TABLE_BYTES,
            "refcount_table_clusters",
            fields.be32(56),
            format_args!("at most {}", MAX_REFCOUNT_TABLE_BYTES >> self.cluster_bits),
        )?;
        fields.require(self.refcount_table_size > 0, "refcount_table_clusters", 0, "at least 1")?;
        self.check_table(fields, "refcount_table_offset", self.refcount_table_offset, self.refcount_table_size)?;
        let (l1, refcounts) = (self.l1_range(), self.refcount_table_range());
        fields.require_or(
            Reason::Overlap,
            l1.end <= refcounts.start || refcounts.end <= l1.start,
            "refcount_table_offset",
            format_args!("{:#x}, in the L1 table", refcounts.start),
            "a place of its own",
        )
    }

    fn check_snapshots(&self, fields: &Fields<'_>) -> Result<(), Refusal> {
        fields.require_or(
            Reason::TooLarge,
            self.snapshots <= MAX_SNAPSHOTS,
            "nb_snapshots",
            self.snapshots,
            format_args!("at most {MAX_SNAPSHOTS}"),
        )?;
        let offset = fields.be64(64);
        if self.snapshots == 0 {
            return self.check_aligned(fields, "snapshots_offset", offset);
        }
        self.check_table(fields, "snapshots_offset", offset, 0)
    }

    fn check_aligned(&self, fields: &Fields<'_>, field: &'static str, offset: u64) -> Result<(), Refusal> {
        let cluster_size = self.cluster_size() as u64;
        fields.require(
            offset.is_multiple_of(cluster_size),
            field,
            format_args!("{offset:#x}"),
            format_args!("a multiple of the cluster size {cluster_size:#x}"),
        )
    }

    /// A table begins at a cluster other than the header's, and its end is an offset too.
    fn check_table(&self, fields: &Fields<'_>, field: &'static str, offset: u64, length: u64) -> Result<(), Refusal> {
        self.check_aligned(fields, field, offset)?;
        let cluster_size = self.cluster_size() as u64;
        fields.require_or(
            Reason::Overlap,
            offset >= cluster_size,
            field,
            format_args!("{offset:#x}"),
            "an offset behind the header's cluster",
        )?;
        // Offsets in tables have 56 bits, and nothing lies beyond what they reach.
        fields.require(
            offset.checked_add(length).is_some_and(|end| end <= 1 << 56),
            field,
            format_args!("{offset:#x}"),
            "an offset below 2^56",
        )
    }
}

/// What is not there must not be read as zeros.
fn check_length(fields: &Fields<'_>, least: usize) -> Result<(), Refusal> {
    fields.require_or(
        Reason::Truncated,
        fields.bytes.len() >= least,
        "header",
        format_args!("an image of {} bytes", fields.bytes.len()),
        format_args!("{least} bytes"),
    )
}

fn header_length(fields: &Fields<'_>, version: u32, cluster_size: u64) -> Result<usize, Refusal> {
    if version == 2 {
        return Ok(VERSION_2_LENGTH);
    }
    check_length(fields, VERSION_3_LENGTH)?;
    let length = fields.be32(100);
    fields.require(
        length.is_multiple_of(8) && (VERSION_3_LENGTH as u64..=cluster_size).contains(&u64::from(length)),
        "header_length",
        length,
        format_args!("a multiple of 8 from {VERSION_3_LENGTH} to the cluster size {cluster_size}"),
    )?;
    Ok(length as usize)
}

fn refuse_features(fields: &Fields<'_>, features: u64) -> Result<(), Refusal> {
    const FIELD: &str = "incompatible_features";
    for (bit, reason, name) in [
        (incompatible::DATA_FILE, Reason::DataFile, "external data file"),
        (incompatible::CORRUPT, Reason::Corrupt, "corrupt"),
    ] {
        fields.require_or(
            reason,
            features & bit == 0,
            FIELD,
            format_args!("{features:#x} ({name})"),
            "neither data file nor corrupt bit",
        )?;
    }
    fields.require_or(
        Reason::UnsupportedFeature,
        features & !incompatible::KNOWN == 0,
        FIELD,
        format_args!("{features:#x}"),
        "bits 0 to 4 alone",
    )
}

fn codec(fields: &Fields<'_>, features: u64, length: usize) -> Result<Codec, Refusal> {
    const FIELD: &str = "compression_type";
    let kind = if length > COMPRESSION_TYPE { fields.array::<1>(COMPRESSION_TYPE)[0] } else { 0 };
    let flagged = features & incompatible::COMPRESSION_TYPE != 0;
    match (flagged, kind) {
        (false, 0) => Ok(Codec::Deflate),
        (true, 1) => Ok(Codec::Zstd),
        (true, 0) => Err(fields.refuse(
            Reason::BadHeader,
            FIELD,
            "0 (zlib)",
            "another one, since the compression type bit is set",
        )),
        (false, _) => {
            Err(fields.refuse(Reason::BadHeader, FIELD, kind, "0 (zlib), since the compression type bit is not set"))
        }
        (true, _) => Err(fields.refuse(Reason::UnsupportedFeature, FIELD, kind, "1 (zstd)")),
    }
}

/// The backing file's name, as far as it is at hand.
fn backing_name(fields: &Fields<'_>, offset: u64) -> String {
    let name = usize::try_from(offset)
        .ok()
        .and_then(|start| {
            let length = usize::try_from(fields.be32(16)).ok()?;
            fields.bytes.get(start..start.checked_add(length)?)
        })
        .map_or_else(String::new, |name| format!(" ({})", quote(name)));
    format!("{offset:#x}{name}")
}

/// Judges one header extension by its type.
pub(crate) fn check_extension(kind: u32) -> Result<Extension, Refusal> {
    let refuse =
        |reason, field| Err(Refusal::new(reason, NAME, field, format_args!("{kind:#010x}"), "no such extension"));
    match kind {
        extension::END => Ok(Extension::End),
        extension::DATA_FILE => refuse(Reason::DataFile, "external data file name extension"),
        extension::ENCRYPTION => refuse(Reason::Encrypted, "full disk encryption extension"),
        _ => Ok(Extension::Harmless),
    }
}

/// What a header extension means to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    End,
    Harmless,
}
