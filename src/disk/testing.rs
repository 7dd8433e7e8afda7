//! What the unit tests of the decoders share.

use crate::{Decoder, Error, Options, Reason, Sink, decode_at, inspect_reader};

/// A disk in memory.
#[derive(Debug, Default)]
pub(crate) struct Disk(pub(crate) Vec<u8>);

impl Sink for Disk {
    fn write(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        self.0.resize(self.0.len().max(start + data.len()), 0);
        self.0[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// The disk in an image that comes in chunks of this size, or with 0 is read; without the zeros at its end.
pub(crate) fn decode(image: &[u8], chunk: usize) -> Result<Vec<u8>, Error> {
    let inspection = inspect_reader(&image)?;
    let options = Options::default();
    let mut disk = Disk::default();
    if chunk == 0 {
        decode_at(&inspection, &options, &image, &mut disk)?;
    } else {
        let mut decoder = Decoder::new(&inspection, &options);
        for piece in image.chunks(chunk) {
            decoder.push(piece, &mut disk)?;
        }
        decoder.finish(&mut disk)?;
    }
    let length = disk.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    disk.0.truncate(length);
    Ok(disk.0)
}

/// Why an image is refused. A stream that gives up is not.
pub(crate) fn refusal(image: &[u8], chunk: usize) -> Option<Reason> {
    decode(image, chunk).err().and_then(|error| error.refusal().map(|refusal| refusal.reason))
}
