//! Decompressing one cluster (a grain, in vmdk's words).

use libdeflater::{DecompressionError, Decompressor};
use zstd::zstd_safe::{self, DCtx};

use crate::{
    Format,
    error::{Error, Reason, Refusal},
};

/// How a cluster or grain is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// A raw DEFLATE stream (RFC 1951), which is what qcow2 calls zlib.
    Deflate,
    /// A Zstandard frame (RFC 8878).
    Zstd,
    /// A zlib stream (RFC 1950), which is what vmdk calls deflate.
    Zlib,
}

impl Codec {
    /// The name by which messages call it: for qcow2, its specification's own.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deflate | Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

/// A cluster or grain of the disk in compressed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedCluster<'a> {
    /// The format of the image, for messages.
    pub format: Format,
    /// The offset in the disk.
    pub offset: u64,
    /// How many bytes it decompresses to at most: the cluster size.
    pub cluster_size: usize,
    /// How many of them lie inside the disk: less than `cluster_size` in the disk's last cluster alone, which need not
    /// hold more than these.
    pub length: usize,
    /// The compressed data, and up to a sector or more behind it that does not belong to it.
    pub data: &'a [u8],
    /// How `data` is compressed.
    pub codec: Codec,
    /// Where `data` lies in the image, for messages.
    pub image_offset: u64,
}

/// The state that decompression reuses from cluster to cluster. One a thread.
pub struct Inflater {
    deflate: Decompressor,
    zstd: DCtx<'static>,
    cluster: Vec<u8>,
}

impl Inflater {
    /// An inflater for any [`Codec`].
    #[must_use]
    pub fn new() -> Self {
        Self { deflate: Decompressor::new(), zstd: DCtx::create(), cluster: Vec::new() }
    }

    /// Decompresses `cluster` and gives the part of it that lies inside the disk.
    ///
    /// # Errors
    ///
    /// As [`Inflater::inflate_into`].
    pub fn inflate(&mut self, cluster: &CompressedCluster<'_>) -> Result<&[u8], Error> {
        let mut content = std::mem::take(&mut self.cluster);
        content.resize(cluster.cluster_size, 0);
        let outcome = self.inflate_into(cluster, &mut content);
        self.cluster = content;
        outcome.map(|()| &self.cluster[..cluster.length])
    }

    /// Decompresses `cluster` into `content`, which is as long as a cluster. What lies beyond the disk is zeroed.
    ///
    /// Memory is bounded by the cluster size whatever the data says: both codecs write into the one buffer given.
    ///
    /// # Errors
    ///
    /// [`Reason::BadData`] when the data does not decompress to one cluster, or to the part of one that the disk has.
    pub fn inflate_into(&mut self, cluster: &CompressedCluster<'_>, content: &mut [u8]) -> Result<(), Error> {
        let outcome = match cluster.codec {
            Codec::Deflate => self.deflate.deflate_decompress(cluster.data, content).map_err(deflate_error),
            Codec::Zlib => self.deflate.zlib_decompress(cluster.data, content).map_err(deflate_error),
            Codec::Zstd => self.inflate_zstd(cluster.data, content),
        };
        match outcome {
            Ok(length) if length >= cluster.length => {
                content[cluster.length..].fill(0);
                Ok(())
            }
            Ok(length) => Err(refuse(cluster, format_args!("{length} bytes"))),
            Err(message) => Err(refuse(cluster, message)),
        }
    }

    fn inflate_zstd(&mut self, data: &[u8], content: &mut [u8]) -> Result<usize, &'static str> {
        // What follows the frame would be taken for the next one, so its end must be known first.
        let frame = zstd_safe::find_frame_compressed_size(data).map_err(zstd_safe::get_error_name)?;
        self.zstd.decompress(content, &data[..frame]).map_err(zstd_safe::get_error_name)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
fn deflate_error(error: DecompressionError) -> &'static str {
    match error {
        DecompressionError::BadData => "data that is cut short or no DEFLATE stream",
        DecompressionError::InsufficientSpace => "more than that",
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inflater").field("cluster_size", &self.cluster.len()).finish_non_exhaustive()
    }
}

fn refuse(cluster: &CompressedCluster<'_>, found: impl std::fmt::Display) -> Error {
    Refusal::new(
        Reason::BadData,
        cluster.format.as_str(),
        if cluster.format == Format::Qcow2 { "compressed cluster" } else { "compressed grain" },
        format_args!("{found} at offset {} of the image", cluster.image_offset),
        format_args!("{} data that decompresses to {} bytes", cluster.codec.as_str(), cluster.cluster_size),
    )
    .into()
}

#[cfg(test)]
#[path = "compressed_tests.rs"]
mod tests;
