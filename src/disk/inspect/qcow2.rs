//! The qcow2 inspector (docs/interop/qcow2.txt in QEMU): the header and its extensions. Tables are the decoder's.

use super::{
    Details, Inspection,
    field::Fields,
    view::{Stop, View},
};
use crate::{
    Format,
    error::Reason,
    qcow2::{Extension, Header, check_extension},
};

const NAME: &str = "qcow2";

/// Enough for the fixed header, and for a backing file's name as a message shows it.
const HEAD: usize = 4096;

pub(super) fn inspect(view: &View<'_>) -> Result<Inspection, Stop> {
    let head = view.head(HEAD)?;
    let (header, length) = Header::parse(&head)?;
    check_extensions(view, &header, length as u64)?;
    check_size(view, &head, &header)?;
    Ok(Inspection {
        format: Format::Qcow2,
        virtual_size: Some(header.virtual_size),
        details: Details::Qcow2(header),
        scope: view.scope(),
    })
}

/// Walks the extensions ("Header extensions") to their end, at most to the end of the header's cluster.
fn check_extensions(view: &View<'_>, header: &Header, start: u64) -> Result<(), Stop> {
    const FIELD: &str = "header extension";
    let end = header.cluster_size() as u64;
    let mut offset = start;
    while offset + 8 <= end {
        let bytes = view.bytes(offset, 8, NAME, FIELD)?;
        let fields = Fields { format: NAME, bytes: &bytes };
        if check_extension(fields.be32(0))? == Extension::End {
            break;
        }
        let length = u64::from(fields.be32(4));
        let next = offset + 8 + length.next_multiple_of(8);
        fields.require(
            next <= end,
            FIELD,
            format_args!("{length} bytes at offset {offset:#x}"),
            format_args!("an end within the first cluster ({end:#x})"),
        )?;
        offset = next;
    }
    Ok(())
}

/// The tables that the header points to lie inside the image.
fn check_size(view: &View<'_>, head: &[u8], header: &Header) -> Result<(), Stop> {
    let Some(size) = view.size() else {
        return Ok(());
    };
    let fields = Fields { format: NAME, bytes: head };
    let end = header.l1_offset + header.l1_entries as u64 * 8;
    fields.require_or(
        Reason::Truncated,
        end <= size,
        "l1_table_offset",
        format_args!("a table up to {end:#x} in an image of {size:#x} bytes"),
        "a table inside the image",
    )?;
    // Neither is read, but where one lies behind the end, something that came before it is missing too.
    let snapshots = if header.snapshots == 0 { 0 } else { fields.be64(64) };
    for (field, offset) in [("refcount_table_offset", header.refcount_table_offset), ("snapshots_offset", snapshots)] {
        fields.require_or(
            Reason::Truncated,
            offset < size,
            field,
            format_args!("{offset:#x} in an image of {size:#x} bytes"),
            "a table inside the image",
        )?;
    }
    Ok(())
}
