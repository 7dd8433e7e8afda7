//! L1 and L2 tables: the specification's section "Cluster mapping", with "Extended L2 Entries".

use super::{Header, NAME};
use crate::{CompressedCluster, Format, Refusal, Sink, error::Reason, io::deliver};

const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Bits 9 to 55 of a table entry: an offset in the image.
const OFFSET: u64 = (1 << 56) - (1 << 9);
/// Bits of an L1 entry that are reserved; bit 63 says that the refcount is one, which a reader need not know.
const L1_RESERVED: u64 = !(OFFSET | 1 << 63);
const L2_RESERVED: u64 = !(OFFSET | 1 << 63 | COMPRESSED | ZERO);

/// Host clusters one after the other that hold guest clusters one after the other. Ordered by place in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// The index of the first host cluster.
    pub(super) host: u64,
    /// The index of the first guest cluster.
    pub(super) guest: u64,
    pub(super) clusters: u32,
    /// Which of each cluster's 32 parts hold data: [`Run::ALL`], [`Run::NONE`], or any in a run of one.
    pub(super) parts: u32,
}

impl Run {
    pub(super) const ALL: u32 = u32::MAX;
    /// Preallocated, but reads as zeros: nothing to deliver, yet known to be no orphan.
    pub(super) const NONE: u32 = 0;

    pub(super) fn end(&self) -> u64 {
        self.host + u64::from(self.clusters)
    }

    /// The offset in the image up to which the run's data reaches. What lies behind need not be in the file: the part
    /// of the last cluster beyond the disk's end, and parts that are not allocated.
    pub(super) fn data_end(&self, header: &Header) -> u64 {
        let last = self.clusters as usize - 1;
        let visible = header.visible(self.guest + last as u64);
        let part = header.cluster_size() / 32;
        let allocated = (32 - self.parts.leading_zeros()) as usize * part;
        match allocated.min(visible) {
            0 => 0,
            length => ((self.host + last as u64) << header.cluster_bits) + length as u64,
        }
    }

    /// The run without its clusters before `host`; `None` when nothing is left.
    pub(super) fn from(mut self, host: u64) -> Option<Self> {
        let passed = host.saturating_sub(self.host);
        let left = u64::from(self.clusters).checked_sub(passed)?;
        self.host += passed;
        self.guest += passed;
        self.clusters = u32::try_from(left).ok().filter(|&left| left > 0)?;
        Some(self)
    }

    /// Delivers `data`, the run's bytes from `offset` of the image on.
    pub(super) fn deliver(
        &self,
        header: &Header,
        offset: u64,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), crate::Error> {
        let into = offset - (self.host << header.cluster_bits);
        let disk_offset = (self.guest << header.cluster_bits) + into;
        let visible = header.virtual_size.saturating_sub(disk_offset);
        let data = &data[..data.len().min(crate::io::to_usize(visible))];
        match self.parts {
            Self::NONE => Ok(()),
            Self::ALL => deliver(sink, disk_offset, data),
            _ => self.deliver_parts(header, crate::io::to_usize(into), disk_offset, data, sink),
        }
    }

    fn deliver_parts(
        &self,
        header: &Header,
        into: usize,
        disk_offset: u64,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), crate::Error> {
        let size = header.cluster_size() / 32;
        let mut done = 0;
        while done < data.len() {
            let part = (into + done) / size;
            let allocated = self.parts >> part & 1;
            // Parts of one kind that follow each other go together.
            let same = (self.parts ^ allocated.wrapping_neg()) >> part;
            let end = (part + same.trailing_zeros() as usize).min(32) * size;
            let length = (end - into - done).min(data.len() - done);
            if allocated == 1 {
                deliver(sink, disk_offset + done as u64, &data[done..done + length])?;
            }
            done += length;
        }
        Ok(())
    }
}

/// A compressed guest cluster. Ordered by place in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Compressed {
    /// Where its data begins in the image.
    pub(super) offset: u64,
    /// The index of the guest cluster.
    pub(super) guest: u64,
    /// How long its data is at most: it ends with a sector, which may hold the next cluster's beginning or lie beyond
    /// the end of the image.
    pub(super) length: u32,
}

impl Compressed {
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }

    pub(super) fn with<'a>(&self, header: &Header, data: &'a [u8]) -> CompressedCluster<'a> {
        CompressedCluster {
            format: Format::Qcow2,
            offset: self.guest << header.cluster_bits,
            cluster_size: header.cluster_size(),
            length: header.visible(self.guest),
            data,
            codec: header.codec,
            image_offset: self.offset,
        }
    }
}

/// What an L2 table says: runs as long as they can be, in the order of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    Run(Run),
    Compressed(Compressed),
}

/// An L2 table's place. Ordered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct L2Place(u64);

impl L2Place {
    /// An L1 table has at most 4 Mi entries.
    const INDEX_BITS: u32 = 22;

    /// The index of its host cluster.
    pub(super) fn cluster(self) -> u64 {
        self.0 >> Self::INDEX_BITS
    }

    /// The index of its L1 entry.
    pub(super) fn l1_index(self) -> u64 {
        self.0 & ((1 << Self::INDEX_BITS) - 1)
    }
}

fn refuse(reason: Reason, field: &'static str, index: u64, entry: u64, expected: impl std::fmt::Display) -> Refusal {
    Refusal::new(reason, NAME, field, format_args!("{entry:#018x} at index {index}"), expected)
}

/// Reads an L1 table: where the L2 tables lie, in the order of the image.
pub(super) fn read_l1(header: &Header, table: &[u8]) -> Result<Vec<L2Place>, Refusal> {
    const FIELD: &str = "L1 entry";
    let (entries, _) = table.as_chunks::<8>();
    let mut places = Vec::new();
    for (index, entry) in (0..).zip(entries) {
        let entry = u64::from_be_bytes(*entry);
        let offset = entry & OFFSET;
        if entry & L1_RESERVED != 0 {
            return Err(refuse(Reason::BadTable, FIELD, index, entry, "reserved bits 0"));
        }
        if offset == 0 {
            continue;
        }
        if !offset.is_multiple_of(header.cluster_size() as u64) {
            let expected = "an offset that is a multiple of the cluster size";
            return Err(refuse(Reason::BadTable, FIELD, index, entry, expected));
        }
        let cluster = offset >> header.cluster_bits;
        if cluster.leading_zeros() < L2Place::INDEX_BITS {
            let expected = "an offset within 4 Ti clusters";
            return Err(refuse(Reason::TooLarge, FIELD, index, entry, expected));
        }
        places.push(L2Place(cluster << L2Place::INDEX_BITS | index));
    }
    places.sort_unstable();
    if let Some(twice) = places.windows(2).find(|pair| pair[0].cluster() == pair[1].cluster()) {
        let entry = twice[1].cluster() << header.cluster_bits;
        let expected = "an L2 table of its own for each L1 entry";
        let index = twice[1].l1_index();
        return Err(refuse(Reason::Overlap, FIELD, index, entry, expected));
    }
    Ok(places)
}

/// Reads the L2 table of an L1 entry and calls `visit` with what it maps.
pub(super) fn read_l2<E: From<Refusal>>(
    header: &Header,
    l1_index: u64,
    table: &[u8],
    mut visit: impl FnMut(Mapping) -> Result<(), E>,
) -> Result<(), E> {
    let first = l1_index << header.l2_bits();
    let guests = first..header.clusters();
    let mut pending: Option<Run> = None;
    let mut take = |mapping: Option<Mapping>| match mapping {
        None => Ok(()),
        Some(Mapping::Run(run)) => match &mut pending {
            Some(last) if follows(last, &run) => {
                last.clusters += 1;
                Ok(())
            }
            _ => pending.replace(run).map_or(Ok(()), |last| visit(Mapping::Run(last))),
        },
        Some(compressed) => visit(compressed),
    };
    if header.extended_l2 {
        let (entries, _) = table.as_chunks::<16>();
        for (guest, entry) in guests.zip(entries) {
            let pair = u128::from_be_bytes(*entry);
            #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
            let (entry, bitmap) = ((pair >> 64) as u64, pair as u64);
            take(extended_entry(header, guest, entry, bitmap)?)?;
        }
    } else {
        let (entries, _) = table.as_chunks::<8>();
        for (guest, entry) in guests.zip(entries) {
            take(entry_mapping(header, guest, u64::from_be_bytes(*entry))?)?;
        }
    }
    pending.map_or(Ok(()), |last| visit(Mapping::Run(last)))
}

fn follows(last: &Run, next: &Run) -> bool {
    next.host == last.end()
        && next.guest == last.guest + u64::from(last.clusters)
        && next.parts == last.parts
        && matches!(next.parts, Run::ALL | Run::NONE)
}

fn entry_mapping(header: &Header, guest: u64, entry: u64) -> Result<Option<Mapping>, Refusal> {
    if entry & COMPRESSED != 0 {
        return Ok(Some(compressed(header, guest, entry)));
    }
    let Some(host) = host_cluster(header, guest, entry)? else {
        return Ok(None);
    };
    let parts = match entry & ZERO {
        0 => Run::ALL,
        _ if header.version > 2 => Run::NONE,
        _ => {
            let expected = "no zero cluster in version 2";
            return Err(refuse(Reason::BadTable, "L2 entry", guest, entry, expected));
        }
    };
    Ok(Some(single(host, guest, parts)))
}

fn extended_entry(header: &Header, guest: u64, entry: u64, bitmap: u64) -> Result<Option<Mapping>, Refusal> {
    const FIELD: &str = "extended L2 entry";
    if entry & COMPRESSED != 0 {
        return Ok(Some(compressed(header, guest, entry)));
    }
    if entry & ZERO != 0 {
        let expected = "bit 0 not set";
        return Err(refuse(Reason::BadTable, FIELD, guest, entry, expected));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (zero, allocated) = ((bitmap >> 32) as u32, bitmap as u32);
    let host = host_cluster(header, guest, entry)?;
    if allocated & zero != 0 || (host.is_none() && allocated != 0) {
        let expected = "each subcluster allocated or zero or neither";
        return Err(refuse(Reason::BadTable, FIELD, guest, bitmap, expected));
    }
    Ok(host.map(|host| single(host, guest, allocated)))
}

fn single(host: u64, guest: u64, parts: u32) -> Mapping {
    Mapping::Run(Run { host, guest, clusters: 1, parts })
}

/// "Standard Cluster Descriptor": the host cluster, or `None` where there is none.
fn host_cluster(header: &Header, guest: u64, entry: u64) -> Result<Option<u64>, Refusal> {
    let offset = entry & OFFSET;
    let aligned = offset.is_multiple_of(header.cluster_size() as u64);
    if entry & L2_RESERVED != 0 || !aligned {
        let expected = "reserved bits 0 and an offset that is a multiple of the cluster size";
        return Err(refuse(Reason::BadTable, "L2 entry", guest, entry, expected));
    }
    Ok((offset != 0).then_some(offset >> header.cluster_bits))
}

/// "Compressed Clusters Descriptor": an offset in bytes, and behind it the number of further sectors.
fn compressed(header: &Header, guest: u64, entry: u64) -> Mapping {
    let offset_bits = 62 - (header.cluster_bits - 8);
    let offset = entry & ((1 << offset_bits) - 1);
    let further = (entry & (COMPRESSED - 1)) >> offset_bits;
    let length = (further + 1) * 512 - offset % 512;
    Mapping::Compressed(Compressed {
        offset,
        guest,
        // At most 2^13 sectors.
        length: u32::try_from(length).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
