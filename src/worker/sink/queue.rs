//! What the kernel says of a device.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vmdisk_format::zero::GRANULE;

use super::{UNIT, to_usize};

/// The sizes in which a device works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queue {
    /// The unit of direct I/O, in bytes.
    pub(super) sector: u64,
    /// The least that is written or left out, in bytes: a multiple of the sector that divides [`UNIT`].
    pub(super) granule: usize,
    /// In what pieces it allocates, in bytes, as far as it says so.
    pub(super) allocated: Option<u64>,
}

impl Queue {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// The ioctl's.
    pub(super) fn of(device: &File) -> io::Result<Self> {
        let sector = u64::from(rustix::fs::ioctl_blksszget(device)?);
        let allocated = allocation_unit(device.metadata()?.rdev());
        Ok(Self { sector, granule: granule(sector, allocated), allocated })
    }
}

/// In what pieces the device allocates, as far as it says so: what it takes back at least is what it gives out
/// (Documentation/ABI/stable/sysfs-block, `discard_granularity`).
fn allocation_unit(number: u64) -> Option<u64> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    // A partition has its disk's queue.
    [device.join("queue"), device.join("../queue")]
        .iter()
        .find_map(|queue| std::fs::read_to_string(queue.join("discard_granularity")).ok()?.trim().parse().ok())
}

/// A device that allocates in larger pieces gains nothing from smaller writes; one that does not say in which may sit on
/// a file, whose blocks are the smallest there are.
fn granule(sector: u64, allocated: Option<u64>) -> usize {
    let least = sector.max(GRANULE as u64);
    let wanted = allocated.filter(|size| size.is_power_of_two()).map_or(least, |size| size.max(least));
    to_usize(wanted.min(UNIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_granule_is_what_the_device_allocates_within_bounds() {
        for (sector, allocated, expected) in [
            (512, None, 4096),
            (512, Some(0), 4096),
            (512, Some(512), 4096),
            (512, Some(4096), 4096),
            (512, Some(16 << 10), 16 << 10),
            // dm-thin's chunks begin at 64 KiB.
            (512, Some(64 << 10), 64 << 10),
            (512, Some(4 << 20), 64 << 10),
            (512, Some(24 << 10), 4096),
            (4096, None, 4096),
            (4096, Some(512), 4096),
            (16 << 10, Some(4096), 16 << 10),
        ] {
            assert_eq!(granule(sector, allocated), expected, "{sector} {allocated:?}");
        }
    }
}
