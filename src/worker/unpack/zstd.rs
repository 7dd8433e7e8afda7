//! Zstandard (RFC 8878): any number of frames, skippable ones too. Small frames (pzstd, seekable files, zstd:chunked
//! layers) are decoded in parallel; a large one, as `zstd` writes it, as it comes.

use std::io::{self, BufRead, Read};

use ::zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name, get_frame_content_size};
use bytes::{Buf, Bytes};

use super::parallel::Ordered;
use super::stream::{Buffers, Chunks, cut, damaged};

/// 128 MiB, what `zstd --long` needs and no more (a frame may ask for terabytes).
const WINDOW_LOG_MAX: u32 = 27;

/// A frame is small when neither it nor its content is larger than this.
const MAX_SMALL: usize = 16 << 20;

/// No block's content is longer (section 3.1.1.2.4).
const MAX_BLOCK: usize = 128 << 10;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The content of a Zstandard file.
pub(super) struct Frames<R> {
    compressed: R,
    decoded: Ordered<(Vec<u8>, usize), io::Result<Bytes>>,
    /// Found, and waiting for those before it.
    next: Option<Frame>,
    /// A large frame that is being decoded.
    large: Option<Large>,
    ended: bool,
    buffers: Buffers,
}

/// A frame that has been looked through.
enum Frame {
    /// All of it, and how long its content may be.
    Small(Vec<u8>, usize),
    /// The beginning of one that is too large, or strange.
    Large(Vec<u8>),
}

/// A frame that is decoded as it comes.
struct Large {
    context: DCtx<'static>,
    beginning: Bytes,
    ended: bool,
}

impl<R: BufRead> Frames<R> {
    /// The content of `compressed`.
    #[must_use]
    pub(super) fn new(compressed: R) -> Self {
        Self {
            compressed,
            decoded: Ordered::new(decode),
            next: None,
            large: None,
            ended: false,
            buffers: Buffers::default(),
        }
    }

    /// Looks for frames and gives them to the threads while there is room.
    fn look_ahead(&mut self) -> io::Result<()> {
        loop {
            match self.next.take() {
                Some(Frame::Small(frame, content)) if self.decoded.has_room(frame.len() + content) => {
                    let weight = frame.len() + content;
                    self.decoded.give((frame, content), weight);
                }
                Some(frame) => {
                    self.next = Some(frame);
                    return Ok(());
                }
                None if self.ended || !self.decoded.has_room(0) => return Ok(()),
                None => {
                    self.next = next_frame(&mut self.compressed)?;
                    self.ended = self.next.is_none();
                }
            }
        }
    }
}

impl<R: BufRead> Chunks for Frames<R> {
    fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(large) = &mut self.large {
                let mut buffer = self.buffers.take();
                let filled = large.decode(&mut self.compressed, &mut buffer)?;
                buffer.truncate(filled);
                if large.ended {
                    self.large = None;
                }
                if filled > 0 {
                    return Ok(self.buffers.lend(buffer));
                }
                continue;
            }
            self.look_ahead()?;
            match self.decoded.take()? {
                Some(content) => {
                    let content = content?;
                    if !content.is_empty() {
                        return Ok(content);
                    }
                }
                None => match self.next.take() {
                    Some(Frame::Large(beginning)) => self.large = Some(Large::new(beginning)?),
                    Some(small) => self.next = Some(small),
                    None => return Ok(Bytes::new()),
                },
            }
        }
    }
}

impl Large {
    fn new(beginning: Vec<u8>) -> io::Result<Self> {
        let mut context = context()?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(fault)?;
        Ok(Self { context, beginning: beginning.into(), ended: false })
    }

    /// Fills `output`, or less at the end of the frame.
    fn decode(&mut self, rest: &mut impl BufRead, output: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < output.len() {
            let here = self.beginning.has_remaining();
            let input: &[u8] = if here { &self.beginning } else { rest.fill_buf()? };
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut output[filled..]));
            let hint = self.context.decompress_stream(&mut to, &mut from).map_err(fault)?;
            let (consumed, produced, last) = (from.pos(), to.pos(), input.is_empty());
            filled += produced;
            if here {
                self.beginning.advance(consumed);
            } else {
                rest.consume(consumed);
            }
            if hint == 0 {
                self.ended = true;
                break;
            }
            if last && produced == 0 {
                return Err(cut());
            }
        }
        Ok(filled)
    }
}

/// The next frame that is not skippable; `None` at the end.
fn next_frame(compressed: &mut impl BufRead) -> io::Result<Option<Frame>> {
    loop {
        let mut frame = Vec::new();
        if compressed.fill_buf()?.is_empty() {
            return Ok(None);
        }
        gather(compressed, &mut frame, 8)?;
        let [magic @ .., size_0, size_1, size_2, size_3] = &frame[..] else { return Err(cut()) };
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18] = magic {
            let size = u64::from(u32::from_le_bytes([*size_0, *size_1, *size_2, *size_3]));
            if io::copy(&mut compressed.by_ref().take(size), &mut io::sink())? < size {
                return Err(cut());
            }
            continue;
        }
        if magic != MAGIC {
            return Err(damaged("something other than zstd follows it"));
        }
        return look_through(compressed, frame).map(Some);
    }
}

/// Finds the end of the frame that `frame` begins (section 3.1.1).
fn look_through(compressed: &mut impl BufRead, mut frame: Vec<u8>) -> io::Result<Frame> {
    let descriptor = frame[4];
    let one_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(one_segment),
        power => 1 << power,
    };
    let mut end = 5 + usize::from(!one_segment) + dictionary + content_size;
    gather(compressed, &mut frame, end)?;
    // The window of one segment is its content (section 3.1.1.1.1.2). One that is beyond what is small, or smaller than a
    // block, is for the decoder that refuses such: decoding a frame at once does not look at it.
    let window = if one_segment { declared(&frame[end - content_size..end]) } else { window(frame[5]) };
    if window > MAX_SMALL as u64 || declared(&frame[end - content_size..end]) > MAX_SMALL as u64 {
        return Ok(Frame::Large(frame));
    }
    let longest = usize::try_from(window).unwrap_or(MAX_BLOCK).min(MAX_BLOCK);
    let mut content = 0;
    loop {
        gather(compressed, &mut frame, end + 3)?;
        let header = u32::from_le_bytes([frame[end], frame[end + 1], frame[end + 2], 0]);
        let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
        let (in_frame, in_content) = match header >> 1 & 3 {
            0 => (size, size),
            1 => (1, size),
            _ => (size, MAX_BLOCK),
        };
        end += 3 + in_frame;
        content += in_content;
        if end > MAX_SMALL || content > MAX_SMALL || size > longest {
            return Ok(Frame::Large(frame));
        }
        gather(compressed, &mut frame, end)?;
        if header & 1 != 0 {
            break;
        }
    }
    gather(compressed, &mut frame, end + usize::from(descriptor & 4))?;
    Ok(Frame::Small(frame, content))
}

/// The size of the content in a frame's header (section 3.1.1.1.4).
fn declared(field: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..field.len()].copy_from_slice(field);
    // Two bytes need not say what one can.
    u64::from_le_bytes(bytes) + if field.len() == 2 { 256 } else { 0 }
}

/// The size of the window that a descriptor asks for (section 3.1.1.1.2).
fn window(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

/// Reads until `frame` has `length` bytes.
fn gather(compressed: &mut impl BufRead, frame: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let missing = length.saturating_sub(frame.len()) as u64;
    compressed.by_ref().take(missing).read_to_end(frame)?;
    if frame.len() < length { Err(cut()) } else { Ok(()) }
}

/// The content of a small frame, which is no longer than `most`.
fn decode((frame, most): (Vec<u8>, usize)) -> io::Result<Bytes> {
    let declared = get_frame_content_size(&frame).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let mut content = Vec::with_capacity(declared.map_or(most, |declared| declared.min(most)));
    context()?.decompress(&mut content, &frame).map_err(fault)?;
    Ok(content.into())
}

fn context() -> io::Result<DCtx<'static>> {
    DCtx::try_create().ok_or_else(|| io::Error::other("no memory for its decoder"))
}

fn fault(code: usize) -> io::Error {
    match get_error_name(code) {
        // ZSTD_error_frameParameter_windowTooLarge
        "Frame requires too much memory for decoding" => damaged(&format!(
            "its window is beyond {} MiB; compress it with zstd --long={WINDOW_LOG_MAX} at most",
            1_u32 << (WINDOW_LOG_MAX - 20)
        )),
        name => damaged(&name.to_lowercase()),
    }
}

#[cfg(test)]
#[path = "zstd_tests.rs"]
mod tests;
