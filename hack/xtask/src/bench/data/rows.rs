//! What is measured: one row for each way in which an image may come. Pure.

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its name, stable, for machines and `--only`.
    pub(super) name: &'static str,
    /// Where the image comes from.
    pub(super) via: Via,
    /// What the image is.
    pub(super) image: Image,
}

/// The protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// One URL.
    Http,
    /// An object in a bucket.
    S3,
    /// A containerDisk: the image in the one layer of an OCI image, below `/disk`.
    Registry,
}

/// An image: a disk, in a format, compressed or not. In a registry, what is compressed is the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) disk: Disk,
    pub(super) format: Format,
    pub(super) compression: Option<Compression>,
}

/// The disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// 2 GiB, half of it real files, half of it holes.
    Standard,
    /// The same, grown to 100 GiB: what it costs must not grow with it.
    Huge,
}

/// The disk formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Qcow2,
    /// qcow2 with compressed clusters, `qemu-img convert -c`.
    Qcow2Compressed,
    /// vmdk of the subformat streamOptimized.
    Vmdk,
}

/// What compresses streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Xz,
}

impl Image {
    /// The same without compression.
    pub(super) fn plain(self) -> Self {
        Self { compression: None, ..self }
    }
}

impl Disk {
    /// The size that a guest sees, in bytes.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::Standard => STANDARD_SIZE,
            Self::Huge => 100 << 30,
        }
    }
}

impl Format {
    /// As `qemu-img` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 | Self::Qcow2Compressed => "qcow2",
            Self::Vmdk => "vmdk",
        }
    }
}

impl Compression {
    /// What is added to a file's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Xz => "xz",
        }
    }
}

/// The size of the standard disk; speeds of decoders are told in bytes of it.
pub(super) const STANDARD_SIZE: u64 = 2 << 30;

const fn image(format: Format, compression: Option<Compression>) -> Image {
    Image { disk: Disk::Standard, format, compression }
}

const fn huge(format: Format, compression: Option<Compression>) -> Image {
    Image { disk: Disk::Huge, ..image(format, compression) }
}

const fn layer(name: &'static str, image: Image) -> Row {
    Row { name, via: Via::Registry, image }
}

const fn http(name: &'static str, image: Image) -> Row {
    Row { name, via: Via::Http, image }
}

/// Every row, in the order of the table.
pub(super) const ROWS: &[Row] = &[
    layer("layer-qcow2-tar-gz", image(Format::Qcow2, Some(Compression::Gzip))),
    layer("layer-qcow2-c-tar-gz", image(Format::Qcow2Compressed, Some(Compression::Gzip))),
    layer("layer-raw-tar-gz", image(Format::Raw, Some(Compression::Gzip))),
    layer("layer-qcow2-tar-zst", image(Format::Qcow2, Some(Compression::Zstd))),
    layer("layer-raw-tar-zst", image(Format::Raw, Some(Compression::Zstd))),
    http("http-qcow2", image(Format::Qcow2, None)),
    http("http-qcow2-c", image(Format::Qcow2Compressed, None)),
    http("http-raw", image(Format::Raw, None)),
    http("http-raw-gz", image(Format::Raw, Some(Compression::Gzip))),
    http("http-raw-zst", image(Format::Raw, Some(Compression::Zstd))),
    http("http-raw-xz", image(Format::Raw, Some(Compression::Xz))),
    http("http-vmdk", image(Format::Vmdk, None)),
    Row { name: "s3-raw", via: Via::S3, image: image(Format::Raw, None) },
    http("http-qcow2-c-100g", huge(Format::Qcow2Compressed, None)),
    layer("layer-qcow2-c-100g-tar-gz", huge(Format::Qcow2Compressed, Some(Compression::Gzip))),
];

impl Row {
    /// What it is, for people.
    pub(super) fn what(&self) -> String {
        let size = if self.image.disk == Disk::Huge { " of 100 GiB" } else { "" };
        let format = match self.image.format {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Qcow2Compressed => "qcow2 -c",
            Format::Vmdk => "vmdk streamOptimized",
        };
        let suffix = self.image.compression.map_or("", Compression::suffix);
        match (self.via, self.image.compression) {
            (Via::Registry, _) => format!("containerDisk: {format}{size} in tar.{suffix}"),
            (Via::Http, None) => format!("HTTP: {format}{size}"),
            (Via::Http, Some(_)) => format!("HTTP: {format}.{suffix}{size}"),
            (Via::S3, _) => format!("S3: {format}{size}"),
        }
    }

    /// Whether this is one of the rows that must be so much faster than what a user would write: gzip's are the layers
    /// that people have. A huge disk is written to a file system in a file, whose speed both wait for.
    pub(super) fn must_beat_naive(&self) -> bool {
        let gzip = self.image.compression == Some(Compression::Gzip);
        self.via == Via::Registry && gzip && self.image.disk == Disk::Standard
    }
}

/// The rows of these names; all without any.
///
/// # Errors
/// The first name that there is no row of.
pub(super) fn named(names: &[String]) -> Result<Vec<Row>, String> {
    if names.is_empty() {
        return Ok(ROWS.to_vec());
    }
    names.iter().map(|name| ROWS.iter().find(|row| row.name == name).copied().ok_or_else(|| name.clone())).collect()
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
