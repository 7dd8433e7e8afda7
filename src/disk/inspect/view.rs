//! The part of an image that an inspection may look at.

use std::borrow::Cow;

use super::{MAX_PREFIX, Scope};
use crate::{
    Error, ReadAt, Refusal,
    error::Reason,
    io::{read_at, to_usize},
};

/// An image: its first bytes, or all of it behind a reader.
pub(super) struct View<'a> {
    prefix: &'a [u8],
    size: Option<u64>,
    reader: Option<&'a dyn ReadAt>,
}

/// Why an inspection stops.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    NeedMore(usize),
    NeedReader,
    Read(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<'a> View<'a> {
    pub(super) fn prefix(prefix: &'a [u8], size: Option<u64>) -> Self {
        Self { prefix, size, reader: None }
    }

    pub(super) fn reader(reader: &'a dyn ReadAt) -> Self {
        Self { prefix: &[], size: Some(reader.size()), reader: Some(reader) }
    }

    /// The length of the image, when it is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn scope(&self) -> Scope {
        let whole = self.reader.is_some() || self.size == Some(self.prefix.len() as u64);
        if whole { Scope::Whole } else { Scope::Prefix }
    }

    /// `length` bytes at `offset`; an image that ends before is refused as truncated, naming `format` and `field`.
    pub(super) fn bytes(
        &self,
        offset: u64,
        length: usize,
        format: &'static str,
        field: &'static str,
    ) -> Result<Cow<'a, [u8]>, Stop> {
        let end = offset.checked_add(length as u64);
        if let (Some(size), true) = (self.size, end.is_none_or(|end| Some(end) > self.size)) {
            return Err(Refusal::new(
                Reason::Truncated,
                format,
                field,
                format_args!("an image of {size} bytes"),
                format_args!("{length} bytes at offset {offset}"),
            )
            .into());
        }
        if let (Some(reader), Some(_)) = (self.reader, end) {
            let mut buffer = vec![0; length];
            read_at(reader, &mut buffer, offset).map_err(Stop::Read)?;
            return Ok(buffer.into());
        }
        match end.map(to_usize) {
            Some(end) if end <= self.prefix.len() => Ok(self.prefix[end - length..end].into()),
            Some(end) if end <= MAX_PREFIX => Err(Stop::NeedMore(end)),
            _ => Err(Stop::NeedReader),
        }
    }

    /// The first `length` bytes, or all there are.
    pub(super) fn head(&self, length: usize) -> Result<Cow<'a, [u8]>, Stop> {
        let there = self.size.map_or(length, |size| length.min(to_usize(size)));
        self.bytes(0, there, "image", "head")
    }
}
