//! How large a disk may be, and how large it becomes. Pure.

use volume_quantity::human;

use crate::failure::{Failure, Reason, Result};

/// Disks are whole multiples of this (KubeVirt `AlignImageSizeTo1MiB`).
pub const ALIGNMENT: u64 = 1 << 20;

/// What a volume offers to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The largest disk that fits, in bytes.
    pub bytes: u64,
    /// The size that the disk is grown to; absent: its own.
    grow: Option<u64>,
    volume: Volume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Volume {
    Filesystem { available: u64, requested: Option<u64>, overhead_per_mille: u32 },
    Block,
}

impl Room {
    /// The room on a file system with `available` bytes, for a claim that requests `requested`.
    ///
    /// A file system may be shared (NFS, host directories), so the request bounds the disk even where there is more.
    #[must_use]
    pub fn on_filesystem(available: u64, requested: Option<u64>, overhead_per_mille: u32) -> Self {
        let usable = requested.map_or(available, |requested| requested.min(available));
        let bytes = round_down(scale(usable, 1000, 1000 + u64::from(overhead_per_mille)));
        Self {
            bytes,
            grow: requested.map(|_| bytes),
            volume: Volume::Filesystem { available, requested, overhead_per_mille },
        }
    }

    /// The room on a block device.
    #[must_use]
    pub fn on_device(size: u64) -> Self {
        Self { bytes: size, grow: None, volume: Volume::Block }
    }

    /// Refuses a disk of `virtual_size` bytes that does not fit.
    ///
    /// # Errors
    ///
    /// [`Reason::DoesNotFit`] with both sizes and the least claim that fits.
    pub fn check(&self, virtual_size: u64) -> Result<()> {
        self.refuse_beyond(virtual_size, "")
    }

    /// Refuses a disk that has at least `size` bytes, when more than fits has come already.
    ///
    /// # Errors
    ///
    /// As [`Room::check`].
    pub fn check_at_least(&self, size: u64) -> Result<()> {
        self.refuse_beyond(size, "at least ")
    }

    fn refuse_beyond(&self, size: u64, qualifier: &str) -> Result<()> {
        if self.disk_size_unchecked(size) <= self.bytes {
            return Ok(());
        }
        let offered = match self.volume {
            Volume::Block => format!("the device has {}", human(self.bytes)),
            Volume::Filesystem { overhead_per_mille: 0, .. } => format!("the volume offers {}", human(self.bytes)),
            Volume::Filesystem { available, overhead_per_mille, .. } => format!(
                "the volume offers {} ({} available, {}.{} % kept for the file system)",
                human(self.bytes),
                human(available),
                overhead_per_mille / 10,
                overhead_per_mille % 10
            ),
        };
        Err(Failure::new(
            Reason::DoesNotFit,
            format!(
                "the disk has {qualifier}{}, {offered}; request at least {}",
                human(size),
                human(self.least_claim(size))
            ),
        ))
    }

    /// The size of the file that a disk of `virtual_size` bytes becomes: whole mebibytes, grown to the room of the
    /// claim, never shrunk. On a device, the disk's own.
    #[must_use]
    pub fn disk_size(&self, virtual_size: u64) -> u64 {
        let own = self.disk_size_unchecked(virtual_size);
        self.grow.map_or(own, |room| room.max(own))
    }

    fn disk_size_unchecked(&self, virtual_size: u64) -> u64 {
        match self.volume {
            Volume::Filesystem { .. } => round_up(virtual_size),
            Volume::Block => virtual_size,
        }
    }

    /// The least request that a disk of `size` bytes fits into.
    ///
    /// What the file system takes for itself shows in the present volume and grows in proportion, but by steps (ext4
    /// doubles its journal at certain sizes), hence one percent on top.
    fn least_claim(&self, size: u64) -> u64 {
        let Volume::Filesystem { available, requested, overhead_per_mille } = self.volume else {
            return round_up(size);
        };
        let needed = scale_up(round_up(size), 1000 + u64::from(overhead_per_mille), 1000);
        match requested {
            Some(requested) if available > 0 && available < requested => {
                round_up(scale_up(scale_up(needed, requested, available), 101, 100))
            }
            _ => round_up(needed),
        }
    }
}

/// `value * numerator / denominator`, rounded down, without overflow in between.
fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// As [`scale`], rounded up.
fn scale_up(value: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = (u128::from(value) * u128::from(numerator)).div_ceil(u128::from(denominator.max(1)));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn round_down(bytes: u64) -> u64 {
    bytes / ALIGNMENT * ALIGNMENT
}

fn round_up(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
