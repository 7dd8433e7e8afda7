//! Raw disks, and fixed VHD, which is a raw disk with a footer.

use crate::{
    Error, Format, ReadAt, Sink, Summary,
    aligner::Aligner,
    decoder::Decode,
    error::{Reason, Refusal, quote},
    inspect::vhd::Footer,
    io::{deliver, read_in_order},
    zero::GRANULE,
};

/// Passes a raw disk on as it comes, without its zeros.
///
/// The last 512 bytes are held back until [`RawDecoder::finish`], since only they tell a fixed VHD from a raw disk.
#[derive(Debug)]
pub(crate) struct RawDecoder {
    aligner: Aligner,
    declared: Option<Format>,
}

impl RawDecoder {
    pub(crate) fn new(declared: Option<Format>) -> Self {
        Self { aligner: Aligner::new(GRANULE, Footer::LENGTH), declared }
    }
}

impl Decode for RawDecoder {
    fn consumed(&self) -> u64 {
        self.aligner.pushed()
    }

    fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        self.aligner.push(chunk, |offset, data| deliver(sink, offset, data))
    }

    fn finish(self: Box<Self>, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let (offset, mut tail) = self.aligner.finish();
        let image_size = offset + tail.len() as u64;
        if image_size == 0 {
            return Err(Refusal::new(Reason::Empty, "image", "size", 0, "a disk").into());
        }
        let footer = tail
            .split_last_chunk::<{ Footer::LENGTH }>()
            .map(|(_, last)| Footer::parse_trailing(last, image_size))
            .transpose()?
            .flatten();
        let format = judge(footer.as_ref(), self.declared)?;
        if footer.is_some() {
            tail.truncate(tail.len() - Footer::LENGTH);
        }
        deliver(sink, offset, &tail)?;
        Ok(Summary { format, virtual_size: offset + tail.len() as u64, image_size })
    }

    fn finish_at(mut self: Box<Self>, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let from = self.consumed();
        read_in_order(image, from, |data| self.push(data, sink))?;
        self.finish(sink)
    }
}

/// What the end of a raw-looking image makes it.
fn judge(footer: Option<&Footer>, declared: Option<Format>) -> Result<Format, Refusal> {
    match (footer, declared) {
        (Some(_), None | Some(Format::Vhd)) => Ok(Format::Vhd),
        (None, None | Some(Format::Raw)) => Ok(Format::Raw),
        (Some(_), Some(declared)) => Err(Refusal::new(
            Reason::FormatMismatch,
            "image",
            "last 512 bytes",
            "the footer of a fixed vhd",
            format_args!("none, since {declared} is declared"),
        )),
        (None, Some(declared)) => Err(Refusal::new(
            Reason::FormatMismatch,
            "image",
            "last 512 bytes",
            "no vhd footer",
            format_args!("{}, since {declared} is declared", quote(Footer::COOKIE)),
        )),
    }
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
