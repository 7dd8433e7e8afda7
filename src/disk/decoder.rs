//! The decoders behind one type.

use std::fmt;

use crate::{
    Details, Error, Format, Inspection, ReadAt, Sink, Summary, VhdType,
    extents::ExtentStream,
    qcow2::{self, Qcow2Stream},
    raw::RawDecoder,
    vdi::BlockMap,
    vhd::BlockAllocationTable,
    vhdx,
    vmdk::{GrainTables, MarkerStream},
};

/// How a decoder is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the user says the format is; `None` to go by content.
    pub declared: Option<Format>,
    /// How many bytes (with the bookkeeping for them) a stream decoder keeps of data whose place on the disk it does
    /// not know yet. One byte more ends in [`Error::NeedsRandomAccess`].
    pub orphan_window: usize,
    /// How many bytes a stream decoder keeps of mappings whose data has not come yet.
    pub map_limit: usize,
}

impl Options {
    /// What a table may take while an image is read, however low [`Options::map_limit`] is: below it, overlaps would
    /// go unseen.
    pub(crate) const LEAST_MAP: usize = 1 << 20;
}

impl Default for Options {
    fn default() -> Self {
        Self { declared: None, orphan_window: 32 << 20, map_limit: 32 << 20 }
    }
}

/// Decodes one image from its first byte to its last, in file order.
#[derive(Debug)]
pub struct Decoder(Box<dyn Decode>);

/// What [`Decoder`] asks of a format.
pub(crate) trait Decode: fmt::Debug + Send {
    fn consumed(&self) -> u64;

    fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error>;

    /// Formats whose tables come first by specification gain nothing by it.
    fn look_ahead(&mut self, _image: &dyn ReadAt) -> Result<bool, Error> {
        Ok(false)
    }

    fn finish(self: Box<Self>, sink: &mut dyn Sink) -> Result<Summary, Error>;

    fn finish_at(self: Box<Self>, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error>;
}

impl Decoder {
    /// A decoder for an image that has passed inspection.
    #[must_use]
    pub fn new(inspection: &Inspection, options: &Options) -> Self {
        Self(match &inspection.details {
            Details::Raw { .. } => Box::new(RawDecoder::new(options.declared)),
            Details::Qcow2(header) => Box::new(Qcow2Stream::new(*header, options)),
            Details::Vdi(header) => Box::new(ExtentStream::new(BlockMap::new(*header), options)),
            Details::Vhd { kind: VhdType::Fixed } => Box::new(RawDecoder::new(Some(Format::Vhd))),
            Details::Vhd { kind: VhdType::Dynamic(header) } => {
                Box::new(ExtentStream::new(BlockAllocationTable::new(*header), options))
            }
            Details::Vhdx(header) => Box::new(ExtentStream::new(vhdx::BlockAllocationTable::new(*header), options)),
            Details::Vmdk(header) if header.footer => Box::new(MarkerStream::new(*header, options)),
            Details::Vmdk(header) => Box::new(ExtentStream::new(GrainTables::new(*header), options)),
        })
    }

    /// How many bytes of the image have been pushed.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.0.consumed()
    }

    /// Takes the next bytes of the image, of any number, beginning with the first (those that were inspected included),
    /// and delivers what can be placed.
    ///
    /// # Errors
    ///
    /// After [`Error::NeedsRandomAccess`] the chunk has been taken in: push no more, stage what follows, and call
    /// [`Decoder::finish_at`]. After any other error the decoder is of no use.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        self.0.push(chunk, sink)
    }

    /// After [`Error::NeedsRandomAccess`]: reads the tables that the stream has still to bring, so that it can go on in one
    /// pass. `image` is the image at its source, read in few and small pieces. What is read is compared with what the
    /// stream brings. Whether that helps; if not, nothing has changed.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] and [`Error::Read`]; later, [`Decoder::push`] may say [`Error::Changed`].
    pub fn look_ahead(&mut self, image: &dyn ReadAt) -> Result<bool, Error> {
        self.0.look_ahead(image)
    }

    /// Says that the image ends here.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when something is missing or the end shows that the image is not what it seemed, besides what
    /// [`Decoder::push`] may say. The disk is whole only after this has returned `Ok`.
    pub fn finish(self, sink: &mut dyn Sink) -> Result<Summary, Error> {
        self.0.finish(sink)
    }

    /// Decodes what is left by reading it. `image` has the offsets and the size of the whole image, but only bytes from
    /// [`Decoder::consumed`] on are read from it.
    ///
    /// # Errors
    ///
    /// As [`Decoder::finish`], [`Error::Read`] and [`Error::NeedsWholeImage`] besides.
    pub fn finish_at(self, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        self.0.finish_at(image, sink)
    }
}

/// Decodes an image that has passed inspection and can be read at any offset.
///
/// # Errors
///
/// [`Error::Refused`], [`Error::Read`] or [`Error::Write`].
pub fn decode_at(
    inspection: &Inspection,
    options: &Options,
    image: &dyn ReadAt,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    match &inspection.details {
        Details::Qcow2(header) => qcow2::decode_at(header, image, sink),
        _ => Decoder::new(inspection, options).finish_at(image, sink),
    }
}
