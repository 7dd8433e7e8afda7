//! The decoders behind one type.

use crate::{
    Details, Error, Format, Inspection, ReadAt, Sink, Summary, VhdType,
    io::read_in_order,
    qcow2::{self, Qcow2Stream},
    raw::RawDecoder,
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

impl Default for Options {
    fn default() -> Self {
        Self { declared: None, orphan_window: 32 << 20, map_limit: 32 << 20 }
    }
}

/// Decodes one image from its first byte to its last, in file order.
#[derive(Debug)]
pub struct Decoder(Kind);

#[derive(Debug)]
enum Kind {
    Raw(RawDecoder),
    Qcow2(Box<Qcow2Stream>),
}

impl Decoder {
    /// A decoder for an image that has passed inspection.
    ///
    /// # Errors
    ///
    /// [`Error::NoDecoder`] where this crate has none for its format.
    pub fn new(inspection: &Inspection, options: &Options) -> Result<Self, Error> {
        let kind = match &inspection.details {
            Details::Raw { .. } => Kind::Raw(RawDecoder::new(options.declared)),
            Details::Qcow2(header) => Kind::Qcow2(Box::new(Qcow2Stream::new(*header, options))),
            Details::Vhd { kind: VhdType::Fixed } => Kind::Raw(RawDecoder::new(Some(Format::Vhd))),
            _ => {
                return Err(Error::NoDecoder { format: inspection.format });
            }
        };
        Ok(Self(kind))
    }

    /// How many bytes of the image have been pushed.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        match &self.0 {
            Kind::Raw(raw) => raw.consumed(),
            Kind::Qcow2(qcow2) => qcow2.consumed(),
        }
    }

    /// Takes the next bytes of the image, of any number, beginning with the first (those that were inspected included),
    /// and delivers what can be placed.
    ///
    /// # Errors
    ///
    /// After [`Error::NeedsRandomAccess`] the chunk has been taken in: push no more, stage what follows, and call
    /// [`Decoder::finish_at`]. After any other error the decoder is of no use.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        match &mut self.0 {
            Kind::Raw(raw) => raw.push(chunk, sink),
            Kind::Qcow2(qcow2) => qcow2.push(chunk, sink),
        }
    }

    /// Says that the image ends here.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when something is missing or the end shows that the image is not what it seemed, besides what
    /// [`Decoder::push`] may say. The disk is whole only after this has returned `Ok`.
    pub fn finish(self, sink: &mut dyn Sink) -> Result<Summary, Error> {
        match self.0 {
            Kind::Raw(raw) => raw.finish(sink),
            Kind::Qcow2(qcow2) => qcow2.finish(sink),
        }
    }

    /// Decodes what is left by reading it. `image` has the offsets and the size of the whole image, but only bytes from
    /// [`Decoder::consumed`] on are read from it.
    ///
    /// # Errors
    ///
    /// As [`Decoder::finish`], [`Error::Read`] and [`Error::NeedsWholeImage`] besides.
    pub fn finish_at(self, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        match self.0 {
            Kind::Raw(mut raw) => {
                let from = raw.consumed();
                read_in_order(image, from, |data| raw.push(data, sink))?;
                raw.finish(sink)
            }
            Kind::Qcow2(qcow2) => qcow2.finish_at(image, sink),
        }
    }
}

/// Decodes an image that has passed inspection and can be read at any offset.
///
/// # Errors
///
/// [`Error::NoDecoder`], [`Error::Refused`], [`Error::Read`] or [`Error::Write`].
pub fn decode_at(
    inspection: &Inspection,
    options: &Options,
    image: &dyn ReadAt,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    match &inspection.details {
        Details::Qcow2(header) => qcow2::decode_at(header, image, sink),
        _ => Decoder::new(inspection, options)?.finish_at(image, sink),
    }
}
