//! Reading header fields and saying what is wrong with them.

use std::fmt::Display;

use crate::{Refusal, error::Reason};

/// A structure of the image, with the names that its refusals carry. Offsets are those of the specification; one
/// beyond the structure is a mistake in this crate and reads as zeros.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) format: &'static str,
    pub(crate) bytes: &'a [u8],
}

macro_rules! read {
    ($($name:ident: $type:ty = $from:ident;)*) => {
        $(
            pub(crate) fn $name(&self, offset: usize) -> $type {
                <$type>::$from(self.array(offset))
            }
        )*
    };
}

impl Fields<'_> {
    read! {
        be32: u32 = from_be_bytes;
        be64: u64 = from_be_bytes;
        le16: u16 = from_le_bytes;
        le32: u32 = from_le_bytes;
        le64: u64 = from_le_bytes;
    }

    pub(crate) fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    pub(crate) fn refuse(
        &self,
        reason: Reason,
        field: &'static str,
        found: impl Display,
        expected: impl Display,
    ) -> Refusal {
        Refusal::new(reason, self.format, field, found, expected)
    }

    /// Refuses the header unless `holds`.
    pub(crate) fn require(
        &self,
        holds: bool,
        field: &'static str,
        found: impl Display,
        expected: impl Display,
    ) -> Result<(), Refusal> {
        self.require_or(Reason::BadHeader, holds, field, found, expected)
    }

    /// Refuses for `reason` unless `holds`.
    pub(crate) fn require_or(
        &self,
        reason: Reason,
        holds: bool,
        field: &'static str,
        found: impl Display,
        expected: impl Display,
    ) -> Result<(), Refusal> {
        if holds { Ok(()) } else { Err(self.refuse(reason, field, found, expected)) }
    }
}
