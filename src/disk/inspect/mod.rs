//! The format inspector: what is this image, is it safe to read, how large is its disk?
//!
//! Every format's signature is looked for, wherever it lies; more than one match is refused, because two readers could
//! then see two disks. What matched is checked field by field by the format's own file in this folder. What is raw may
//! hold anything except what the next reader would take for another format.
//!
//! The rules follow `OpenStack`'s `oslo_utils.imageutils.format_inspector` (whose lesson is that not even `qemu-img info`
//! may run before such a check) and go beyond it where that leaves an image to QEMU's own parser.

mod crc32c;
mod field;
mod qcow2;
mod raw;
mod signature;
mod vdi;
pub(crate) mod vhd;
pub(crate) mod vhdx;
mod view;
pub(crate) mod vmdk;
mod vmdk_descriptor;

pub(crate) use field::Fields;
pub use raw::RawContent;
pub use vdi::VdiHeader;
pub use vhd::{VhdHeader, VhdType};
pub use vhdx::VhdxHeader;
pub use vmdk::{VmdkHeader, VmdkSubformat};

use self::{
    signature::Container,
    view::{Stop, View},
};
use crate::{Error, Format, ReadAt, Refusal, error::Reason, qcow2::Header};

/// The longest prefix of a stream that [`inspect_prefix`] asks for. Most images need 64 KiB; vhdx up to about 3 MiB.
pub const MAX_PREFIX: usize = 4 << 20;

/// An image that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The format of the content.
    pub format: Format,
    /// The size of the disk in bytes. `None` for a raw stream whose length is not known.
    pub virtual_size: Option<u64>,
    /// What is particular to the format.
    pub details: Details,
    /// How much of the image was looked at.
    pub scope: Scope,
}

/// How much of an image an inspection covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The beginning. What looks raw may still be a fixed vhd; a vmdk's footer and sizes that need the length of the
    /// image have not been checked. The native decoders check that themselves; before `qemu-img` runs,
    /// [`inspect_reader`] must.
    Prefix,
    /// Everything that is ever checked.
    Whole,
}

/// What is particular to a format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Details {
    /// A raw disk.
    Raw {
        /// What its first bytes show.
        content: RawContent,
    },
    /// A qcow2 image: its header.
    Qcow2(Header),
    /// A vmdk image: what its header says.
    Vmdk(VmdkHeader),
    /// A vdi image: its header.
    Vdi(VdiHeader),
    /// A vhd image.
    Vhd {
        /// Its disk type.
        kind: VhdType,
    },
    /// A vhdx image: what its headers and metadata say.
    Vhdx(VhdxHeader),
}

/// What a prefix tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The image has passed, as far as its prefix goes.
    Decided(Inspection),
    /// Come again with a prefix of at least this many bytes, or with the length of the image if it ends before.
    NeedMore(usize),
    /// What is needed lies beyond [`MAX_PREFIX`]: stage the image and use [`inspect_reader`].
    NeedsRandomAccess,
}

impl Inspection {
    /// Compares what the user declared with what the content says.
    ///
    /// After a [`Scope::Prefix`] inspection, what looks raw also passes as vhd: the decoder judges when it has seen the
    /// end, given the same format as [`Options::declared`](crate::Options::declared).
    ///
    /// # Errors
    ///
    /// [`Reason::FormatMismatch`] when they differ. In particular nothing that looks like another format passes as raw:
    /// the next reader of the disk would probe it.
    pub fn expect(&self, declared: Format) -> Result<(), Refusal> {
        let undecided = self.scope == Scope::Prefix && self.format == Format::Raw && declared == Format::Vhd;
        if self.format == declared || undecided {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::FormatMismatch,
            "image",
            "format",
            self.format,
            format_args!("{declared}, as declared"),
        ))
    }
}

/// Inspects the first bytes of an image. Pure: keep the bytes, add to them, and ask again.
///
/// `size` is the length of the image, when it is known; with a `prefix` of that length nothing is left open.
///
/// # Errors
///
/// The [`Refusal`] that the whole image would get.
pub fn inspect_prefix(prefix: &[u8], size: Option<u64>) -> Result<Verdict, Refusal> {
    match inspect(&View::prefix(prefix, size)) {
        Ok(inspection) => Ok(Verdict::Decided(inspection)),
        Err(Stop::Refused(refusal)) => Err(refusal),
        Err(Stop::NeedMore(length)) => Ok(Verdict::NeedMore(length)),
        // Without a reader there are no read errors.
        Err(Stop::NeedReader | Stop::Read(_)) => Ok(Verdict::NeedsRandomAccess),
    }
}

/// Inspects an image that can be read anywhere.
///
/// # Errors
///
/// [`Error::Refused`] or [`Error::Read`].
pub fn inspect_reader(image: &dyn ReadAt) -> Result<Inspection, Error> {
    inspect(&View::reader(image)).map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal.into(),
        Stop::Read(error) => error,
        // A view with a reader has no need of anything else.
        Stop::NeedMore(_) | Stop::NeedReader => {
            Refusal::new(Reason::Truncated, "image", "size", image.size(), "a whole image").into()
        }
    })
}

fn inspect(view: &View<'_>) -> Result<Inspection, Stop> {
    match signature::detect(view)? {
        Container::Qcow2 => qcow2::inspect(view),
        Container::Vmdk => vmdk::inspect(view),
        Container::Vdi => vdi::inspect(view),
        Container::Vhd => vhd::inspect(view),
        Container::Vhdx => vhdx::inspect(view),
        Container::None(content) => raw::inspect(view, content),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
