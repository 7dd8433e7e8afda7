//! A stream with its grain directory at the end: item after item, each behind a marker, in whole sectors.

use super::{
    NAME, SECTOR,
    ledger::Ledger,
    marker::{Item, Marker},
};
use crate::{
    Codec, CompressedCluster, Error, Format, Inflater, Options, ReadAt, Refusal, Sink, Summary, VmdkHeader,
    decoder::Decode,
    error::Reason,
    inspect::{Fields, vmdk::check_footer},
    io::{read_in_order, to_usize},
};

/// The image on its way through. Reading it is no different: the tables are only compared with what came before.
#[derive(Debug)]
pub(crate) struct MarkerStream {
    header: VmdkHeader,
    map_limit: usize,
    /// How much has passed.
    position: u64,
    state: State,
    /// The image's first sector.
    head: Vec<u8>,
    /// The item that is just coming in, with its marker.
    item: Vec<u8>,
    ledger: Ledger,
    inflater: Inflater,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Header and descriptor.
    Overhead,
    Items,
    /// The end-of-stream marker.
    Footed,
    Ended,
}

impl MarkerStream {
    pub(crate) fn new(header: VmdkHeader, options: &Options) -> Self {
        Self {
            map_limit: options.map_limit.max(Options::LEAST_MAP),
            position: 0,
            state: State::Overhead,
            head: Vec::new(),
            item: Vec::new(),
            ledger: Ledger::new(&header),
            inflater: Inflater::new(),
            header,
        }
    }

    fn take(&mut self, mut data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        while !data.is_empty() {
            let wanted = match self.state {
                State::Overhead => self.header.overhead - self.position,
                State::Items | State::Footed => self.item_length()? - self.item.len() as u64,
                State::Ended => return Err(misplaced_end("more data behind the end-of-stream marker").into()),
            };
            let (piece, rest) = data.split_at(data.len().min(to_usize(wanted)));
            self.position += piece.len() as u64;
            data = rest;
            if self.state == State::Overhead {
                let missing = to_usize(SECTOR) - self.head.len();
                self.head.extend_from_slice(&piece[..piece.len().min(missing)]);
                if self.position == self.header.overhead {
                    self.state = State::Items;
                }
                continue;
            }
            self.item.extend_from_slice(piece);
            if self.item.len() as u64 == self.item_length()? {
                self.take_item(sink)?;
                self.item.clear();
            }
        }
        Ok(())
    }

    /// Where the item begins in the image.
    fn item_offset(&self) -> u64 {
        self.position - self.item.len() as u64
    }

    /// How long the item is with its marker, as far as that is known.
    fn item_length(&self) -> Result<u64, Refusal> {
        if (self.item.len() as u64) < SECTOR {
            return Ok(SECTOR);
        }
        let item = Marker::parse(&self.item).item(&self.header, self.item_offset())?;
        Ok(SECTOR + item.body(&self.header))
    }

    /// Takes an item that is whole.
    fn take_item(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        let offset = self.item_offset();
        let item = Marker::parse(&self.item).item(&self.header, offset)?;
        let body = &self.item[to_usize(SECTOR)..];
        match (self.state, item) {
            (State::Footed, Item::EndOfStream) => self.state = State::Ended,
            (State::Footed, _) => return Err(misplaced_end("something else behind the footer").into()),
            (_, Item::EndOfStream) => return Err(misplaced_end("an end-of-stream marker without a footer").into()),
            (_, Item::Grain { offset: disk, size }) => {
                self.ledger.grain(disk / self.header.grain_size, offset)?;
                self.check_ledger()?;
                let grain = CompressedCluster {
                    format: Format::Vmdk,
                    offset: disk,
                    cluster_size: to_usize(self.header.grain_size),
                    length: to_usize((self.header.capacity - disk).min(self.header.grain_size)),
                    data: &self.item[Marker::LENGTH..Marker::LENGTH + size],
                    codec: Codec::Zlib,
                    image_offset: offset + Marker::LENGTH as u64,
                };
                sink.write_compressed(&grain, &mut self.inflater)?;
            }
            (_, Item::GrainTable) => {
                self.ledger.table(body, offset + SECTOR);
                self.check_ledger()?;
            }
            (_, Item::GrainDirectory) => self.ledger.directory(body, self.header.tables(), offset + SECTOR)?,
            (_, Item::Footer) => {
                let fields = |bytes| Fields { format: NAME, bytes };
                let directory = check_footer(&fields(&self.head), &fields(body))?;
                if !self.ledger.has_directory(directory) {
                    return Err(Refusal::new(
                        Reason::BadTable,
                        NAME,
                        "gdOffset of the footer",
                        directory,
                        "the sector of the grain directory before it",
                    )
                    .into());
                }
                self.state = State::Footed;
            }
        }
        Ok(())
    }

    fn check_ledger(&self) -> Result<(), Refusal> {
        let bytes = self.ledger.bytes();
        if bytes <= self.map_limit {
            return Ok(());
        }
        let expected = format_args!("as many as can be compared in {} bytes", self.map_limit).to_string();
        Err(Refusal::new(Reason::TooLarge, NAME, "grain tables", format_args!("{bytes} bytes of digests"), expected))
    }
}

fn misplaced_end(found: &str) -> Refusal {
    Refusal::new(Reason::Truncated, NAME, "footer", found, "footer and end-of-stream marker at the end of the image")
}

impl Decode for MarkerStream {
    fn consumed(&self) -> u64 {
        self.position
    }

    fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        self.take(chunk, sink)
    }

    fn finish(self: Box<Self>, _sink: &mut dyn Sink) -> Result<Summary, Error> {
        if self.state != State::Ended {
            return Err(misplaced_end("an end before them").into());
        }
        Ok(Summary { format: Format::Vmdk, virtual_size: self.header.capacity, image_size: self.position })
    }

    fn finish_at(mut self: Box<Self>, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let from = self.position;
        read_in_order(image, from, |data| self.take(data, sink))?;
        self.finish(sink)
    }
}
