//! The last stages of the pipeline: from the bytes of an image to a disk on the target.
//!
//! ```text
//! pieces ─▶ inspect the beginning ─▶ does it fit? ─┬─────────────────────────▶ decode as it comes ─▶ target
//!                                                  ├─ its tables come late ─▶ read them ahead ────▶ target
//!                                                  ├─ and cannot be read ───▶ stage the rest ─────▶ target
//!                                                  └─ its headers come late ▶ stage all of it ────▶ target
//! ```

use std::time::Instant;

use vmdisk_format::{
    CompressedCluster, Decoder, Details, Error as FormatError, Format, Inflater, Inspection, MAX_PREFIX, Options,
    ReadAt, Sink, Summary, Verdict, decode_at, inspect_prefix, inspect_reader,
};

use crate::channel::{Batch, Receiver};
use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;
use crate::report::Findings;
use crate::resume::{self, Resume};
use crate::room::Room;
use crate::sink::{Target, Writer};
use crate::staging::{Scratch, Staged};
use crate::unpack::{Beginning, Length, Piece, StageError};

/// The length of a fixed vhd's footer (Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format").
const VHD_FOOTER: u64 = 512;

/// What decoding one image came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The disk is on the target, and visible.
    Disk,
    /// The blob held no image.
    Nothing,
    /// The image can only be decoded when all of it is staged: fetch it again.
    NeedsWholeImage,
}

/// Everything that decoding needs.
pub struct Decode {
    /// What the user says the format is.
    pub declared: Option<Format>,
    /// Why the blob may not be the one with the disk.
    pub not_the_disk: Option<Failure>,
    /// How large the disk is said to be.
    pub promised_size: Option<u64>,
    /// Where the disk goes.
    pub target: Target,
    /// Where what cannot be streamed is staged.
    pub scratch: Option<Scratch>,
    /// Stage the whole image, because an earlier pass found that nothing else helps.
    pub stage_all: bool,
    /// The blob where it comes from, if it can be read anywhere.
    pub at_source: Option<Box<dyn ReadAt + Send>>,
    /// What the source's bytes are called, where a later attempt may go on with them.
    pub resumable: Option<Resume>,
    /// So much of the target is right already.
    pub keep_below: u64,
    /// What is counted.
    pub counters: Counters,
    /// What is learnt.
    pub findings: Findings,
}

impl Decode {
    /// Takes the pieces of an image until their end and makes the disk visible after it.
    ///
    /// # Errors
    ///
    /// Refusals of the image, of its size, and failures of the target.
    pub fn run(&self, pieces: &mut Receiver<Piece>) -> Result<Decoded, StageError> {
        let Some(image) = begin(pieces, self.declared, &self.findings)? else {
            return Ok(Decoded::Nothing);
        };
        if let Some(failure) = &self.not_the_disk {
            return Err(failure.clone().into());
        }
        let Some(inspection) = image.inspection.clone() else {
            return self.stage(image, pieces);
        };
        self.check_room(&inspection, image.beginning.length)?;
        if self.stage_all {
            return self.stage(image, pieces);
        }
        let decoder = Decoder::new(&inspection, &self.options());
        self.stream(decoder, &inspection, image, pieces)
    }

    /// Refuses before the download what cannot fit, by what the beginning says.
    fn check_room(&self, inspection: &Inspection, length: Length) -> Result<()> {
        let room = self.target.room();
        match (inspection.virtual_size, length) {
            // What looks raw may end in the footer of a fixed vhd, which is no part of the disk.
            (Some(size), _)
                if self.may_have_footer(inspection) && room.check(size.saturating_sub(VHD_FOOTER)).is_ok() =>
            {
                Ok(())
            }
            (Some(size), _) => room.check(size),
            (None, Length::AtLeast(size)) => room.check_at_least(size.saturating_sub(VHD_FOOTER)),
            (None, _) => Ok(()),
        }
    }

    fn may_have_footer(&self, inspection: &Inspection) -> bool {
        matches!(inspection.details, Details::Raw { .. }) && self.declared != Some(Format::Raw)
    }

    fn stream(
        &self,
        mut decoder: Decoder,
        inspection: &Inspection,
        image: Image,
        pieces: &mut Receiver<Piece>,
    ) -> Result<Decoded, StageError> {
        let raw = matches!(inspection.details, Details::Raw { .. });
        let unwrapped = image.beginning.unwrapped;
        let mut sink = self.open(raw && unwrapped && image.beginning.length.exactly().is_some())?;
        let mut next = Some(Batch::from([image.prefix.into()]));
        while let Some(batch) = next {
            let mut batch = batch.into_iter();
            while let Some(piece) = batch.next() {
                match decoder.push(&piece, &mut sink) {
                    Ok(()) => {}
                    Err(FormatError::NeedsRandomAccess { consumed, .. }) => {
                        if unwrapped && self.look_ahead(&mut decoder)? {
                            continue;
                        }
                        return self.stage_rest(decoder, consumed, sink, batch.collect(), pieces);
                    }
                    Err(FormatError::NeedsWholeImage { .. }) => return Ok(Decoded::NeedsWholeImage),
                    Err(error) => return Err(self.failure(error).into()),
                }
            }
            if raw {
                // Zeros are not written, so nothing but this notices an endless stream of them.
                sink.room.check_at_least(decoder.consumed().saturating_sub(VHD_FOOTER))?;
            }
            sink.record()?;
            next = match data(pieces) {
                Ok(next) => next,
                Err(error) => {
                    sink.record_last();
                    return Err(error);
                }
            };
        }
        // The end has come, so every digest has been verified.
        let summary = decoder.finish(&mut sink);
        self.complete(summary, sink)
    }

    /// Reads what the decoder lacks from the image at its source. Whether it can go on.
    fn look_ahead(&self, decoder: &mut Decoder) -> Result<bool> {
        match &self.at_source {
            Some(image) => decoder.look_ahead(image.as_ref()).map_err(|error| self.failure(error)),
            None => Ok(false),
        }
    }

    /// The layout came too late for the decoder's window: keep what follows, then decode it by reading.
    fn stage_rest(
        &self,
        decoder: Decoder,
        consumed: u64,
        mut sink: RoomySink,
        first: Batch,
        pieces: &mut Receiver<Piece>,
    ) -> Result<Decoded, StageError> {
        let mut staged = self.scratch()?.create(consumed)?;
        stage(&mut staged, first, pieces)?;
        self.counters.begin(vmdisk_wire::Stage::Converting, None);
        let summary = decoder.finish_at(&staged, &mut sink);
        self.complete(summary, sink)
    }

    /// Keeps all of an image, looks at all of it, and turns it into a disk.
    fn stage(&self, image: Image, pieces: &mut Receiver<Piece>) -> Result<Decoded, StageError> {
        let staged = self.keep(image, pieces)?;
        let inspection = self.inspect(&staged)?;
        let virtual_size = inspection.virtual_size.unwrap_or_default();
        self.target.room().check(virtual_size)?;
        self.findings.format(inspection.format, Some(virtual_size));
        let mut sink = self.open(false)?;
        self.counters.begin(vmdisk_wire::Stage::Converting, None);
        let summary = decode_at(&inspection, &self.options(), &staged, &mut sink);
        self.complete(summary, sink)
    }

    fn keep(&self, image: Image, pieces: &mut Receiver<Piece>) -> Result<Staged, StageError> {
        let scratch = self.scratch()?;
        if let Length::Exactly(size) | Length::AtLeast(size) = image.beginning.length {
            scratch.check(size)?;
        }
        let mut staged = scratch.create(0)?;
        stage(&mut staged, vec![image.prefix.into()], pieces)?;
        Ok(staged)
    }

    /// Looks at all of a staged image, before anything else opens it.
    fn inspect(&self, staged: &Staged) -> Result<Inspection> {
        let inspection = inspect_reader(staged).map_err(|error| self.failure(error))?;
        if let Some(declared) = self.declared {
            inspection.expect(declared).map_err(|refusal| Failure::refused(&refusal))?;
        }
        Ok(inspection)
    }

    fn complete(&self, summary: Result<Summary, FormatError>, sink: RoomySink) -> Result<Decoded, StageError> {
        let summary = match summary {
            Ok(summary) => summary,
            Err(FormatError::NeedsWholeImage { .. }) => return Ok(Decoded::NeedsWholeImage),
            Err(error) => return Err(self.failure(error).into()),
        };
        sink.room.check(summary.virtual_size)?;
        if let Some(promised) = self.promised_size.filter(|promised| *promised != summary.virtual_size) {
            let found = summary.virtual_size;
            let message =
                format!("the disk has {found} bytes, the manifest promises {promised}; export the disk again");
            return Err(Failure::new(Reason::SizeMismatch, message).into());
        }
        self.findings.format(summary.format, Some(summary.virtual_size));
        self.counters.enter(vmdisk_wire::Stage::Finalizing);
        self.target.finish(sink.writer, summary.virtual_size)?;
        Ok(Decoded::Disk)
    }

    fn open(&self, recorded: bool) -> Result<RoomySink> {
        let journal = match (self.target.journal(), &self.resumable) {
            (Some(journal), Some(resume)) if recorded && journal.takes(resume) => {
                Some((journal.clone(), resume.clone()))
            }
            _ => None,
        };
        let resumed = journal.is_some() && self.keep_below > 0;
        self.findings.resumable(resumed);
        Ok(RoomySink {
            findings: self.findings.clone(),
            counters: self.counters.clone(),
            writer: self.target.writer(self.keep_below, self.counters.clone())?,
            room: self.target.room(),
            journal,
            reached: 0,
            recorded: self.keep_below,
            recorded_at: None,
        })
    }

    fn options(&self) -> Options {
        Options { declared: self.declared, ..Options::default() }
    }

    fn scratch(&self) -> Result<&Scratch> {
        self.scratch.as_ref().ok_or_else(|| {
            Failure::new(
                Reason::ScratchTooSmall,
                "this image cannot be decoded as it comes, and there is no scratch space to stage it; \
                 convert it with qemu-img convert -O qcow2 and upload the result",
            )
        })
    }

    fn failure(&self, error: FormatError) -> Failure {
        Failure::decoding(error, self.target.path())
    }
}

/// An image whose beginning has been read.
#[derive(Debug)]
struct Image {
    /// What the beginning tells; nothing, when the headers lie too far behind it.
    inspection: Option<Inspection>,
    prefix: Vec<u8>,
    beginning: Beginning,
}

/// Reads as much of an image as its inspection needs; `None` when the blob holds none.
fn begin(
    pieces: &mut Receiver<Piece>,
    declared: Option<Format>,
    findings: &Findings,
) -> Result<Option<Image>, StageError> {
    let beginning = match pieces.receive()? {
        None => return Ok(None),
        Some(Piece::Begin(beginning)) => beginning,
        Some(Piece::Data(_)) => Beginning::default(),
    };
    let mut prefix = Vec::new();
    let mut ended = false;
    let mut wanted = 1;
    loop {
        while prefix.len() < wanted && !ended {
            match data(pieces)? {
                Some(batch) => batch.iter().for_each(|piece| prefix.extend_from_slice(piece)),
                None => ended = true,
            }
        }
        let size = match beginning.length {
            _ if ended => Some(prefix.len() as u64),
            Length::Exactly(size) => Some(size),
            Length::AtLeast(_) | Length::Unknown => None,
        };
        match inspect_prefix(&prefix, size).map_err(|refusal| Failure::refused(&refusal))? {
            Verdict::Decided(inspection) => {
                if let Some(declared) = declared {
                    inspection.expect(declared).map_err(|refusal| Failure::refused(&refusal))?;
                }
                findings.format(inspection.format, inspection.virtual_size);
                return Ok(Some(Image { inspection: Some(inspection), prefix, beginning }));
            }
            Verdict::NeedMore(more) if !ended && more > prefix.len() && more <= MAX_PREFIX => wanted = more,
            Verdict::NeedMore(_) | Verdict::NeedsRandomAccess => {
                return Ok(Some(Image { inspection: None, prefix, beginning }));
            }
        }
    }
}

/// Reads the beginning of an image and no more.
///
/// # Errors
///
/// Refusals, and [`Reason::NoDisk`] when the blob holds no image.
pub fn inspect(
    pieces: &mut Receiver<Piece>,
    declared: Option<Format>,
    findings: &Findings,
) -> Result<bool, StageError> {
    Ok(begin(pieces, declared, findings)?.is_some())
}

/// Stages `first` and everything after it.
fn stage(staged: &mut Staged, first: Batch, pieces: &mut Receiver<Piece>) -> Result<(), StageError> {
    let mut next = Some(first);
    while let Some(batch) = next {
        for piece in batch {
            staged.append(&piece)?;
        }
        next = data(pieces)?;
    }
    Ok(())
}

/// The next bytes of the image.
fn data(pieces: &mut Receiver<Piece>) -> Result<Option<Batch>, StageError> {
    loop {
        match pieces.receive()? {
            Some(Piece::Data(batch)) => return Ok(Some(batch)),
            Some(Piece::Begin(_)) => {}
            None => return Ok(None),
        }
    }
}

/// The target's writer, bounded by its room, with a record of what is durable.
struct RoomySink {
    findings: Findings,
    counters: Counters,
    writer: Writer,
    room: Room,
    journal: Option<(resume::Journal, Resume)>,
    /// The end of what was written so far; a raw image comes in order.
    reached: u64,
    recorded: u64,
    recorded_at: Option<Instant>,
}

impl RoomySink {
    /// Records what is durable, now and then.
    fn record(&mut self) -> Result<()> {
        let early = self.recorded_at.is_some_and(|at| at.elapsed() < resume::PAUSE);
        if early || self.reached < self.recorded + resume::INTERVAL {
            return Ok(());
        }
        self.record_now()
    }

    /// Records all that came before the bytes ended too early, so that none of it is paid again.
    fn record_last(&mut self) {
        if let Err(error) = self.record_now() {
            tracing::warn!(%error, "a later attempt goes on at an earlier place");
        }
    }

    fn record_now(&mut self) -> Result<()> {
        let reached = self.writer.recordable(self.reached);
        let Some((journal, resume)) = self.journal.as_mut().filter(|_| reached > self.recorded) else {
            return Ok(());
        };
        self.writer
            .checkpoint(reached)
            .map_err(|error| Failure::new(Reason::TargetIo, format!("failed to flush the disk: {error}")))?;
        resume.bytes = reached;
        journal.write(resume)?;
        self.findings.resumable(true);
        if self.recorded_at.is_none() {
            self.counters.wake();
        }
        self.recorded = reached;
        self.recorded_at = Some(Instant::now());
        Ok(())
    }
}

impl Sink for RoomySink {
    fn write(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let end = offset + data.len() as u64;
        self.room.check_at_least(end).map_err(std::io::Error::other)?;
        self.reached = self.reached.max(end);
        self.writer.write(offset, data).map_err(std::io::Error::other)
    }

    fn write_compressed(&mut self, cluster: &CompressedCluster<'_>, _: &mut Inflater) -> Result<(), FormatError> {
        let end = cluster.offset + cluster.length as u64;
        self.room.check_at_least(end).map_err(|failure| FormatError::Write {
            offset: cluster.offset,
            length: cluster.length,
            source: std::io::Error::other(failure),
        })?;
        self.writer.write_compressed(cluster)
    }
}
