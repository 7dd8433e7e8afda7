//! Raw disks: anything that is no other format.

use super::{
    Details, Inspection,
    vhd::{Footer, VhdType},
    view::{Stop, View},
};
use crate::Format;

/// What the first bytes of a raw disk show. Information only: a raw disk may hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawContent {
    /// Nothing that is known here: a bare file system, or nothing yet.
    Unknown,
    /// A master boot record.
    Mbr,
    /// A GUID partition table.
    Gpt,
    /// An ISO 9660 file system (hybrid boot images have an MBR and a GPT besides).
    Iso9660,
    /// A UDF file system.
    Udf,
}

pub(super) fn inspect(view: &View<'_>, content: RawContent) -> Result<Inspection, Stop> {
    let footer_offset = view.size().and_then(|size| size.checked_sub(Footer::LENGTH as u64));
    if let Some(offset) = footer_offset {
        match view.bytes(offset, Footer::LENGTH, "image", "last 512 bytes") {
            Ok(last) => {
                if let Some(footer) = Footer::parse_trailing(&last, offset + Footer::LENGTH as u64)? {
                    return Ok(footer.inspection(VhdType::Fixed, view.scope()));
                }
            }
            // The end of a stream is the decoder's to judge.
            Err(Stop::NeedMore(_) | Stop::NeedReader) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(Inspection {
        format: Format::Raw,
        virtual_size: view.size(),
        details: Details::Raw { content },
        scope: view.scope(),
    })
}
