//! Where an image keeps what is not data.

use std::ops::Range;

use super::{
    Header, NAME,
    table::{Compressed, L2Place, Run},
};
use crate::{Refusal, error::Reason};

/// The places, in clusters, of the structures that are read.
#[derive(Debug)]
pub(super) struct Layout {
    l1: Range<u64>,
    refcount_table: Range<u64>,
    /// Known when the L1 table has been read.
    l2: Vec<L2Place>,
    cluster_bits: u32,
}

impl Layout {
    /// The layout as far as the header tells it.
    pub(super) fn new(header: &Header) -> Self {
        let clusters =
            |bytes: Range<u64>| bytes.start >> header.cluster_bits..bytes.end.div_ceil(header.cluster_size() as u64);
        Self {
            l1: clusters(header.l1_range()),
            refcount_table: clusters(header.refcount_table_range()),
            l2: Vec::new(),
            cluster_bits: header.cluster_bits,
        }
    }

    /// Adds the L2 tables, none of which may overlap anything.
    pub(super) fn set_l2(&mut self, places: Vec<L2Place>) -> Result<(), Refusal> {
        for place in &places {
            let cluster = place.cluster();
            if let Some(other) = self.fixed(&(cluster..cluster + 1)) {
                return Err(self.overlap("L2 table", cluster, other));
            }
        }
        self.l2 = places;
        Ok(())
    }

    /// The L2 tables, in the order of the image.
    pub(super) fn l2(&self) -> &[L2Place] {
        &self.l2
    }

    pub(super) fn is_l1(&self, cluster: u64) -> bool {
        self.l1.contains(&cluster)
    }

    pub(super) fn is_refcount_table(&self, cluster: u64) -> bool {
        self.refcount_table.contains(&cluster)
    }

    /// Refuses data in the place of a structure.
    pub(super) fn check_run(&self, run: &Run) -> Result<(), Refusal> {
        let clusters = run.host..run.end();
        match self.structure(&clusters) {
            Some(structure) => Err(self.overlap("data cluster", run.host, structure)),
            None => Ok(()),
        }
    }

    /// Refuses compressed data that begins in the place of a structure. Its end is only an upper bound.
    pub(super) fn check_compressed(&self, compressed: &Compressed) -> Result<(), Refusal> {
        let cluster = compressed.offset >> self.cluster_bits;
        match self.structure(&(cluster..cluster + 1)) {
            Some(structure) => Err(self.overlap("compressed cluster", cluster, structure)),
            None => Ok(()),
        }
    }

    fn structure(&self, clusters: &Range<u64>) -> Option<&'static str> {
        let next = self.l2.partition_point(|place| place.cluster() < clusters.start);
        let is_l2 = self.l2.get(next).is_some_and(|place| place.cluster() < clusters.end);
        if is_l2 { Some("L2 table") } else { self.fixed(clusters) }
    }

    /// The structures whose place the header tells.
    fn fixed(&self, clusters: &Range<u64>) -> Option<&'static str> {
        if clusters.start == 0 {
            Some("header")
        } else if intersect(clusters, &self.l1) {
            Some("L1 table")
        } else if intersect(clusters, &self.refcount_table) {
            Some("refcount table")
        } else {
            None
        }
    }

    fn overlap(&self, what: &'static str, cluster: u64, other: &str) -> Refusal {
        Refusal::new(
            Reason::Overlap,
            NAME,
            what,
            format_args!("offset {:#x}, in the {other}", cluster << self.cluster_bits),
            "a place of its own",
        )
    }
}

fn intersect(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
