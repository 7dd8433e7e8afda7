//! Tables that were read ahead of the stream.
//!
//! Where an image lies on a server with ranges, its tables can be read before the stream comes to them: an image that
//! `qemu-img resize` has grown keeps its L1 table at its very end. The stream's bytes are the ones that are hashed, so
//! what was read ahead counts only if the stream brings the same.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{
    Header, NAME,
    random::{check_inside, read_table},
    table::{L2Place, read_l1},
};
use crate::{Error, ReadAt, io::to_usize};

/// What a look ahead has brought, by cluster.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    /// Each entry is a cluster, or the part of one that the L1 table ends in.
    clusters: BTreeMap<u64, Vec<u8>>,
}

impl Foresight {
    /// Reads the L1 table at `l1`, unless it is known already, and the L2 tables from cluster `next` on, whose `places`
    /// count where it is. `None` when the L2 tables are more than `limit` bytes.
    pub(super) fn read(
        header: &Header,
        l1: Option<Range<u64>>,
        places: &[L2Place],
        next: u64,
        limit: usize,
        image: &dyn ReadAt,
    ) -> Result<Option<Self>, Error> {
        let mut foresight = Self::default();
        let found;
        let places = match l1 {
            None => places,
            Some(range) => {
                check_inside(range.end, image.size(), "L1 table")?;
                let table = read(image, std::slice::from_ref(&range))?.concat();
                let first = range.start >> header.cluster_bits;
                foresight.clusters.extend((first..).zip(table.chunks(header.cluster_size()).map(Vec::from)));
                found = read_l1(header, &table)?;
                &found
            }
        };
        let ahead: Vec<u64> = places.iter().map(|place| place.cluster()).filter(|cluster| *cluster >= next).collect();
        if ahead.len().saturating_mul(header.cluster_size()) > limit {
            return Ok(None);
        }
        let ranges: Vec<Range<u64>> =
            ahead.iter().map(|cluster| cluster << header.cluster_bits..(cluster + 1) << header.cluster_bits).collect();
        if let Some(last) = ranges.iter().map(|range| range.end).max() {
            check_inside(last, image.size(), "L2 table")?;
        }
        foresight.clusters.extend(ahead.into_iter().zip(read(image, &ranges)?));
        Ok(Some(foresight))
    }

    /// The bytes of `range`, all of them read ahead.
    pub(super) fn bytes(&self, range: &Range<u64>, header: &Header) -> Vec<u8> {
        let clusters = range.start >> header.cluster_bits..range.end.div_ceil(header.cluster_size() as u64);
        self.clusters.range(clusters).flat_map(|(_, bytes)| bytes).copied().collect()
    }

    /// A cluster that was read ahead.
    pub(super) fn cluster(&self, cluster: u64) -> Option<&[u8]> {
        self.clusters.get(&cluster).map(Vec::as_slice)
    }

    /// Where the last of what the stream has still to bring ends.
    pub(super) fn end(&self, header: &Header) -> u64 {
        self.clusters
            .last_key_value()
            .map_or(0, |(cluster, bytes)| (cluster << header.cluster_bits) + bytes.len() as u64)
    }

    /// Compares what the stream has still to bring with `image`, which holds the rest of the stream.
    pub(super) fn check_rest(&mut self, header: &Header, image: &dyn ReadAt) -> Result<(), Error> {
        while let Some((&cluster, bytes)) = self.clusters.first_key_value() {
            let offset = cluster << header.cluster_bits;
            let range = offset..offset + bytes.len() as u64;
            let table = read_table(image, &range, "table")?;
            self.check(header, offset, &table)?;
        }
        Ok(())
    }

    /// Compares the stream's next bytes with what was read ahead, and forgets what the stream has passed.
    pub(super) fn check(&mut self, header: &Header, offset: u64, data: &[u8]) -> Result<(), Error> {
        let end = offset + data.len() as u64;
        while let Some(first) = self.clusters.first_entry() {
            let start = first.key() << header.cluster_bits;
            if start >= end {
                break;
            }
            let known = first.get();
            let from = offset.max(start);
            let until = end.min(start + known.len() as u64);
            if from < until {
                let passed = &data[to_usize(from - offset)..to_usize(until - offset)];
                if *passed != known[to_usize(from - start)..to_usize(until - start)] {
                    return Err(Error::Changed { format: NAME, offset: from });
                }
            }
            if start + known.len() as u64 > end {
                break;
            }
            first.remove();
        }
        Ok(())
    }
}

fn read(image: &dyn ReadAt, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>, Error> {
    image.read_ranges(ranges).map_err(|source| Error::Read {
        offset: ranges.first().map_or(0, |range| range.start),
        length: ranges.iter().map(|range| to_usize(range.end - range.start)).sum(),
        source,
    })
}
