//! Decoding in file order.
//!
//! Every byte is looked at once, when it comes. A cluster is then
//! - part of a table that the decoder waits for: it is collected, and read when it is whole;
//! - covered by runs: it is delivered at once, from the caller's buffer;
//! - covered by compressed clusters: each is handed on when its last byte has come;
//! - unknown, because some table is still to come: it is kept as an orphan, as long as the window allows;
//! - unknown, and no table is left: nobody needs it (refcounts, snapshots, leaks).

use super::{
    Header, NAME,
    foresight::Foresight,
    layout::Layout,
    orphans::{Content, Orphans},
    queue::Queue,
    random::{Copier, check_inside, read_table, summary},
    runs::Runs,
    table::{Compressed, Mapping, Run, read_l1, read_l2},
};
use crate::{
    Error, Inflater, Options, ReadAt, Refusal, Sink, Summary,
    aligner::Aligner,
    decoder::Decode,
    error::Reason,
    io::{read_in_order, to_usize},
    zero::GRANULE,
};

/// A refcount table beyond this many bytes (2 TiB of image at 64 KiB clusters) is not searched for refcount blocks,
/// which then count as orphans.
const MAX_REFCOUNT_SEARCH: u64 = 8 << 10;

/// A qcow2 image on its way through.
#[derive(Debug)]
pub(crate) struct Qcow2Stream {
    header: Header,
    layout: Layout,
    aligner: Aligner,
    map_limit: usize,
    /// The L1 table, as far as it has come; read when it is whole.
    l1: Vec<u8>,
    l1_read: bool,
    /// The first of the layout's L2 tables that has not been read. Those before it have.
    next_l2: usize,
    /// The table or the unknown cluster that is just coming in.
    collected: Vec<u8>,
    refcount_table: Vec<u8>,
    /// The refcount blocks, as far as they are known, in order: no data, so no orphans.
    refcount_blocks: Vec<u64>,
    orphans: Orphans,
    runs: Runs,
    queue: Queue,
    inflater: Inflater,
    /// The tables that were read ahead, until the stream has brought them.
    foresight: Foresight,
    /// The cluster where they will be used: the first that has not begun.
    looked_ahead: Option<u64>,
}

/// What a cluster is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Header,
    L1,
    L2 { l1_index: u64 },
    RefcountTable,
    RefcountBlock,
    Data,
    Unknown,
    Unneeded,
}

impl Qcow2Stream {
    pub(crate) fn new(header: Header, options: &Options) -> Self {
        Self {
            layout: Layout::new(&header),
            aligner: Aligner::new(GRANULE.min(header.cluster_size()), 0),
            map_limit: options.map_limit,
            l1: Vec::new(),
            l1_read: false,
            next_l2: 0,
            collected: Vec::new(),
            refcount_table: Vec::new(),
            refcount_blocks: Vec::new(),
            orphans: Orphans::new(options.orphan_window),
            runs: Runs::default(),
            queue: Queue::default(),
            inflater: Inflater::new(),
            foresight: Foresight::default(),
            looked_ahead: None,
            header,
        }
    }

    fn push_unbounded(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        // The aligner is lent out while it hands slices to the rest of the decoder.
        let mut aligner = std::mem::replace(&mut self.aligner, Aligner::new(GRANULE, 0));
        let outcome = aligner.push(chunk, |offset, data| self.take(offset, data, sink));
        self.aligner = aligner;
        outcome
    }

    /// Copies all that is mapped, from cluster `next` on.
    fn copy_known(&mut self, next: u64, copier: &mut Copier<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
        for run in self.runs.take(next) {
            copier.run(&run, sink)?;
        }
        for compressed in self.queue.take() {
            copier.compressed(&compressed, self.queue.passed(&compressed), sink)?;
        }
        Ok(())
    }

    /// Takes the next bytes of the image.
    fn take(&mut self, mut offset: u64, mut data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        let cluster_size = self.header.cluster_size() as u64;
        let taken = (offset, data);
        while !data.is_empty() {
            let cluster = offset >> self.header.cluster_bits;
            if self.looked_ahead == Some(cluster) {
                self.use_foresight(cluster, sink)?;
            }
            let kind = self.kind(cluster);
            let next = match kind {
                Kind::Data | Kind::Unneeded => self.runs.next_change(cluster),
                _ => cluster + 1,
            };
            let length = to_usize(next.saturating_mul(cluster_size) - offset).min(data.len());
            let (piece, rest) = data.split_at(length);
            self.queue.feed(&self.header, offset, piece, &mut self.inflater, sink)?;
            match kind {
                Kind::Header => self.check_header(offset, piece)?,
                Kind::L1 => self.collect_l1(cluster, piece, sink)?,
                Kind::L2 { l1_index } => self.collect_l2(l1_index, offset, piece, sink)?,
                Kind::RefcountTable => self.collect_refcount_table(piece),
                Kind::Data => {
                    for run in self.runs.at(cluster) {
                        run.deliver(&self.header, offset, piece, sink)?;
                    }
                }
                Kind::Unknown => self.collect_orphan(offset, piece),
                Kind::RefcountBlock | Kind::Unneeded => {}
            }
            offset += length as u64;
            data = rest;
        }
        // After they have been used, since what has passed is forgotten.
        self.foresight.check(&self.header, taken.0, taken.1)
    }

    fn kind(&mut self, cluster: u64) -> Kind {
        if !self.runs.at(cluster).is_empty() {
            return Kind::Data;
        }
        if self.all_tables_read() {
            return Kind::Unneeded;
        }
        let l2 = self.layout.l2().get(self.next_l2);
        if cluster == 0 {
            Kind::Header
        } else if self.layout.is_l1(cluster) {
            Kind::L1
        } else if let Some(place) = l2.filter(|place| place.cluster() == cluster) {
            Kind::L2 { l1_index: place.l1_index() }
        } else if self.layout.is_refcount_table(cluster) {
            Kind::RefcountTable
        } else if self.refcount_blocks.binary_search(&cluster).is_ok() {
            Kind::RefcountBlock
        } else {
            Kind::Unknown
        }
    }

    fn all_tables_read(&self) -> bool {
        self.l1_read && self.next_l2 == self.layout.l2().len()
    }

    /// The image that is decoded is the one that was inspected.
    fn check_header(&self, offset: u64, piece: &[u8]) -> Result<(), Error> {
        if offset > 0 {
            return Ok(());
        }
        let (header, _) = Header::parse(piece)?;
        if header == self.header {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::Corrupt,
            NAME,
            "header",
            "other values than when it was inspected",
            "an image that does not change",
        )
        .into())
    }

    fn collect_l1(&mut self, cluster: u64, piece: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        if self.l1_read {
            return Ok(());
        }
        let missing = self.header.l1_entries * 8 - self.l1.len();
        self.l1.extend_from_slice(&piece[..piece.len().min(missing)]);
        if piece.len() < missing {
            return Ok(());
        }
        self.read_l1(cluster + 1, sink)
    }

    /// Reads the L1 table, and the L2 tables that have come before it. The stream is about to come to cluster `next`.
    fn read_l1(&mut self, next: u64, sink: &mut dyn Sink) -> Result<(), Error> {
        let l1 = std::mem::take(&mut self.l1);
        self.layout.set_l2(read_l1(&self.header, &l1)?)?;
        self.l1_read = true;
        drop(l1);
        let mut table = Vec::new();
        while let Some(&place) = self.layout.l2().get(self.next_l2) {
            let cluster = place.cluster();
            if cluster >= next {
                break;
            }
            self.next_l2 += 1;
            match self.orphans.get(cluster) {
                None => return Err(gone(cluster << self.header.cluster_bits)),
                Some(Content::Zeros) => {}
                Some(Content::Data(data)) => {
                    table.clear();
                    table.extend_from_slice(data);
                    self.read_l2(place.l1_index(), &table, next, sink)?;
                }
            }
            self.orphans.spend(cluster);
        }
        self.drop_orphans();
        Ok(())
    }

    /// Reads the tables that were read ahead. The stream is about to come to cluster `next`.
    fn use_foresight(&mut self, next: u64, sink: &mut dyn Sink) -> Result<(), Error> {
        self.looked_ahead = None;
        if !self.l1_read {
            self.l1 = self.foresight.bytes(&self.header.l1_range(), &self.header);
            self.read_l1(next, sink)?;
        }
        while let Some(&place) = self.layout.l2().get(self.next_l2) {
            let Some(table) = self.foresight.cluster(place.cluster()).map(Vec::from) else {
                return Err(gone(place.cluster() << self.header.cluster_bits));
            };
            self.next_l2 += 1;
            self.read_l2(place.l1_index(), &table, next, sink)?;
        }
        self.drop_orphans();
        Ok(())
    }

    fn collect_l2(&mut self, l1_index: u64, offset: u64, piece: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        let mut table = std::mem::take(&mut self.collected);
        table.extend_from_slice(piece);
        if table.len() == self.header.cluster_size() {
            self.next_l2 += 1;
            let next = (offset >> self.header.cluster_bits) + 1;
            self.read_l2(l1_index, &table, next, sink)?;
            table.clear();
            self.drop_orphans();
        }
        self.collected = table;
        Ok(())
    }

    fn drop_orphans(&mut self) {
        if self.all_tables_read() {
            self.orphans.clear();
            self.collected.clear();
        }
    }

    /// Notes where the refcount blocks lie; they need no place among the orphans.
    fn collect_refcount_table(&mut self, piece: &[u8]) {
        if self.header.refcount_table_size > MAX_REFCOUNT_SEARCH.max(self.header.cluster_size() as u64) {
            return;
        }
        self.refcount_table.extend_from_slice(piece);
        if self.refcount_table.len() as u64 == self.header.refcount_table_size {
            let table = std::mem::take(&mut self.refcount_table);
            let (entries, _) = table.as_chunks::<8>();
            self.refcount_blocks = entries
                .iter()
                .map(|entry| u64::from_be_bytes(*entry) >> self.header.cluster_bits)
                .filter(|&cluster| cluster > 0)
                .collect();
            self.refcount_blocks.sort_unstable();
        }
    }

    fn collect_orphan(&mut self, offset: u64, piece: &[u8]) {
        let mut data = std::mem::take(&mut self.collected);
        data.extend_from_slice(piece);
        if data.len() == self.header.cluster_size() {
            let end = offset + piece.len() as u64;
            let spent = self.queue.covers(&(end - data.len() as u64..end));
            let cluster = offset >> self.header.cluster_bits;
            self.orphans.keep(cluster, &data, spent);
            data.clear();
        }
        self.collected = data;
    }

    fn read_l2(&mut self, l1_index: u64, table: &[u8], next: u64, sink: &mut dyn Sink) -> Result<(), Error> {
        let header = self.header;
        read_l2(&header, l1_index, table, |mapping| match mapping {
            Mapping::Run(run) => self.place_run(&run, next, sink),
            Mapping::Compressed(compressed) => self.place_compressed(compressed, next, sink),
        })
    }

    /// Delivers the part of a run that has passed, before cluster `next`, and notes the rest.
    fn place_run(&mut self, run: &Run, next: u64, sink: &mut dyn Sink) -> Result<(), Error> {
        self.layout.check_run(run)?;
        if run.parts != Run::NONE {
            for cluster in run.host..run.end().min(next) {
                let offset = cluster << self.header.cluster_bits;
                match self.orphans.get(cluster) {
                    None => return Err(gone(offset)),
                    Some(Content::Zeros) => {}
                    Some(Content::Data(data)) => run.deliver(&self.header, offset, data, sink)?,
                }
                self.orphans.spend(cluster);
            }
        }
        if let Some(ahead) = run.from(next) {
            self.runs.push(ahead);
        }
        Ok(())
    }

    fn place_compressed(&mut self, compressed: Compressed, next: u64, sink: &mut dyn Sink) -> Result<(), Error> {
        self.layout.check_compressed(&compressed)?;
        let bits = self.header.cluster_bits;
        if compressed.offset >= next << bits {
            self.queue.push(compressed);
            return Ok(());
        }
        let length = compressed.length as usize;
        let mut data = Vec::with_capacity(length);
        for cluster in compressed.offset >> bits..=(compressed.end() - 1) >> bits {
            let skip = to_usize(compressed.offset.saturating_sub(cluster << bits));
            let wanted = (self.header.cluster_size() - skip).min(length - data.len());
            match self.orphans.get(cluster) {
                // The length is an upper bound: what is there may be enough.
                None => break,
                Some(Content::Zeros) => data.resize(data.len() + wanted, 0),
                Some(Content::Data(all)) => data.extend_from_slice(&all[skip..skip + wanted]),
            }
            self.orphans.spend(cluster);
        }
        let whole = data.len() == length;
        let cluster = compressed.with(&self.header, &data);
        if !whole && self.inflater.inflate(&cluster).is_err() {
            return Err(gone(compressed.offset));
        }
        sink.write_compressed(&cluster, &mut self.inflater)
    }
}

impl Decode for Qcow2Stream {
    fn consumed(&self) -> u64 {
        self.aligner.pushed()
    }

    fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        self.push_unbounded(chunk, sink)?;
        let why = if self.looked_ahead.is_some() {
            // Within a cluster from here, what waits will have its place.
            return Ok(());
        } else if self.orphans.is_over() {
            "has its tables too far behind its data"
        } else if self.runs.bytes() + self.queue.bytes() > self.map_limit {
            "has its data too far behind its tables, and too scattered"
        } else {
            return Ok(());
        };
        Err(Error::NeedsRandomAccess { format: NAME, why, consumed: self.consumed() })
    }

    fn look_ahead(&mut self, image: &dyn ReadAt) -> Result<bool, Error> {
        // What has come of a cluster will be used when all of it has; what was pushed last is still to be taken.
        let next = self.consumed().next_multiple_of(self.header.cluster_size() as u64) >> self.header.cluster_bits;
        let l1 = self.header.l1_range();
        let begun = !self.l1.is_empty() || l1.start >> self.header.cluster_bits < next;
        if self.all_tables_read() || self.looked_ahead.is_some() || (!self.l1_read && begun) {
            return Ok(false);
        }
        let l1 = (!self.l1_read).then_some(l1);
        let places = self.layout.l2().get(self.next_l2..).unwrap_or_default();
        let Some(foresight) = Foresight::read(&self.header, l1, places, next, self.map_limit, image)? else {
            return Ok(false);
        };
        self.foresight = foresight;
        self.looked_ahead = Some(next);
        Ok(true)
    }

    fn finish(mut self: Box<Self>, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let aligner = std::mem::replace(&mut self.aligner, Aligner::new(GRANULE, 0));
        let size = aligner.pushed();
        let (offset, tail) = aligner.finish();
        self.take(offset, &tail, sink)?;
        if !self.l1_read {
            check_inside(self.header.l1_range().end, size, "L1 table")?;
        }
        if let Some(place) = self.layout.l2().get(self.next_l2) {
            let end = (place.cluster() + 1) << self.header.cluster_bits;
            check_inside(end, size, "L2 table")?;
        }
        check_inside(self.foresight.end(&self.header), size, "table read ahead")?;
        for run in self.runs.take(0) {
            check_inside(run.data_end(&self.header), size, "data cluster")?;
        }
        for compressed in self.queue.take() {
            check_inside(compressed.offset + 1, size, "compressed cluster")?;
            // The length is an upper bound; what has come is all there is.
            let data = self.queue.passed(&compressed);
            let data = &data[..data.len().min(compressed.length as usize)];
            sink.write_compressed(&compressed.with(&self.header, data), &mut self.inflater)?;
        }
        Ok(summary(&self.header, size))
    }

    fn finish_at(mut self: Box<Self>, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let from = self.consumed();
        let boundary = from.next_multiple_of(self.header.cluster_size() as u64);
        if boundary >= image.size() {
            read_in_order(image, from, |data| self.push_unbounded(data, sink))?;
            return self.finish(sink);
        }
        let rest = read_table(image, &(from..boundary), "cluster")?;
        self.push_unbounded(&rest, sink)?;
        let next = boundary >> self.header.cluster_bits;
        if self.looked_ahead.is_some() {
            self.use_foresight(next, sink)?;
        }
        if !self.l1_read {
            let l1 = self.header.l1_range();
            let left = l1.start + self.l1.len() as u64..l1.end;
            self.l1.extend(read_table(image, &left, "L1 table")?);
            self.read_l1(next, sink)?;
        }
        self.foresight.check_rest(&self.header, image)?;
        let mut copier = Copier::new(self.header, image);
        self.copy_known(next, &mut copier, sink)?;
        while let Some(&place) = self.layout.l2().get(self.next_l2) {
            let table = copier.l2_table(place.cluster())?;
            self.next_l2 += 1;
            self.read_l2(place.l1_index(), &table, next, sink)?;
            self.copy_known(next, &mut copier, sink)?;
        }
        Ok(summary(&self.header, image.size()))
    }
}

/// Bytes are needed that have passed and were not kept.
fn gone(offset: u64) -> Error {
    Error::NeedsWholeImage { format: NAME, offset }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
