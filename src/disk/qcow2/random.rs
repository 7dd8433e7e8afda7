//! Decoding by reading at any offset.

use std::ops::Range;

use super::{
    Header, NAME,
    layout::Layout,
    table::{Compressed, Mapping, Run, read_l1, read_l2},
};
use crate::{
    Error, Format, Inflater, ReadAt, Refusal, Sink, Summary,
    error::Reason,
    io::{READ_SIZE, read_at, to_usize},
};

/// Decodes a whole image. Reads each table and each cluster once, the tables in the order of the image.
pub(crate) fn decode_at(header: &Header, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
    let mut layout = Layout::new(header);
    let l1 = read_table(image, &header.l1_range(), "L1 table")?;
    layout.set_l2(read_l1(header, &l1)?)?;
    drop(l1);
    let mut copier = Copier::new(*header, image);
    for place in layout.l2() {
        let table = copier.l2_table(place.cluster())?;
        read_l2(header, place.l1_index(), &table, |mapping| match mapping {
            Mapping::Run(run) => {
                layout.check_run(&run)?;
                copier.run(&run, sink)
            }
            Mapping::Compressed(compressed) => {
                layout.check_compressed(&compressed)?;
                copier.compressed(&compressed, &[], sink)
            }
        })?;
    }
    Ok(summary(header, image.size()))
}

pub(super) fn summary(header: &Header, image_size: u64) -> Summary {
    Summary { format: Format::Qcow2, virtual_size: header.virtual_size, image_size }
}

/// Reads a table that must lie inside the image.
pub(super) fn read_table(image: &dyn ReadAt, range: &Range<u64>, field: &'static str) -> Result<Vec<u8>, Error> {
    check_inside(range.end, image.size(), field)?;
    let mut table = vec![0; to_usize(range.end - range.start)];
    read_at(image, &mut table, range.start)?;
    Ok(table)
}

/// Refuses an image that ends before `end`.
pub(super) fn check_inside(end: u64, size: u64, field: &'static str) -> Result<(), Refusal> {
    if end <= size {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::Truncated,
        NAME,
        field,
        format_args!("an image of {size} bytes"),
        format_args!("at least {end} bytes"),
    ))
}

/// Copies clusters from an image to a sink.
pub(super) struct Copier<'a> {
    header: Header,
    image: &'a dyn ReadAt,
    inflater: Inflater,
    buffer: Vec<u8>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(header: Header, image: &'a dyn ReadAt) -> Self {
        Self { header, image, inflater: Inflater::new(), buffer: Vec::new() }
    }

    pub(super) fn l2_table(&self, cluster: u64) -> Result<Vec<u8>, Error> {
        let range = cluster << self.header.cluster_bits..(cluster + 1) << self.header.cluster_bits;
        read_table(self.image, &range, "L2 table")
    }

    /// Copies a run's data.
    pub(super) fn run(&mut self, run: &Run, sink: &mut dyn Sink) -> Result<(), Error> {
        let end = run.data_end(&self.header);
        check_inside(end, self.image.size(), "data cluster")?;
        let mut offset = run.host << self.header.cluster_bits;
        while offset < end {
            let length = READ_SIZE.min(to_usize(end - offset));
            if self.buffer.len() < length {
                self.buffer.resize(length, 0);
            }
            let piece = &mut self.buffer[..length];
            read_at(self.image, piece, offset)?;
            run.deliver(&self.header, offset, piece, sink)?;
            offset += length as u64;
        }
        Ok(())
    }

    /// Copies a compressed cluster, of which `passed` is at hand already.
    pub(super) fn compressed(
        &mut self,
        compressed: &Compressed,
        passed: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let size = self.image.size();
        check_inside(compressed.offset + 1, size, "compressed cluster")?;
        // Its length is an upper bound, which may lie beyond the end of the image.
        let length = to_usize(compressed.end().min(size) - compressed.offset);
        let passed = &passed[..passed.len().min(length)];
        self.buffer.clear();
        self.buffer.extend_from_slice(passed);
        self.buffer.resize(length, 0);
        let from = compressed.offset + passed.len() as u64;
        read_at(self.image, &mut self.buffer[passed.len()..], from)?;
        sink.write_compressed(&compressed.with(&self.header, &self.buffer), &mut self.inflater)
    }
}
