//! How much may be unpacked for nothing.
//!
//! 64 GiB of zeros are 2 MiB of zstd. As a disk they are refused where they do not fit; but an archive may hold them
//! beside the disk, or an image behind all that its tables use, and then they would only be made and dropped, for
//! minutes. So whatever a decompressor makes has to be paid for:
//!
//! - by the image that it is, or is in: byte for byte, up to the size of the disk;
//! - by what was fetched: each byte pays for [`RATIO`];
//! - and by a credit as large as the disk. It is full at the beginning, and what was used of it comes back.
//!
//! Nothing honest is refused by this. The layer of a containerDisk holds nothing of size beside its disk; files shrink
//! to a tenth, logs perhaps to a fiftieth, the raw disk of another machine, mostly holes, to a two hundredth. Only the
//! holes themselves shrink further, and the credit is for those. Whoever abuses it gains what an empty disk would
//! have cost as well.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use volume_quantity::human;

use crate::failure::{Failure, Reason};

const MIB: u64 = 1 << 20;

/// How many bytes may be made for each that is fetched, whatever they are.
const RATIO: u64 = 256;

/// The credit beside a smaller disk.
const LEAST_CREDIT: u64 = 64 * MIB;

/// What the whole of a blob brings, and what comes of it.
pub(super) struct Budget {
    /// The size of the disk at most.
    room: u64,
    fetched: Cell<u64>,
    /// What went to the disk.
    delivered: Cell<u64>,
    /// What is just being unpacked, for the message.
    place: RefCell<String>,
}

impl Budget {
    /// The budget of a blob whose disk has `room` bytes at most.
    pub(super) fn new(room: u64) -> Rc<Self> {
        let place = RefCell::new("the image".to_owned());
        Rc::new(Self { room, fetched: Cell::default(), delivered: Cell::default(), place })
    }

    /// So much more of the blob was taken.
    pub(super) fn fetch(&self, bytes: usize) {
        self.fetched.set(self.fetched.get() + bytes as u64);
    }

    /// So much more of the image was sent on.
    pub(super) fn deliver(&self, bytes: usize) {
        self.delivered.set((self.delivered.get() + bytes as u64).min(self.room));
    }

    /// What is unpacked from here on, as the subject of a sentence.
    pub(super) fn enter(&self, place: String) {
        *self.place.borrow_mut() = place;
    }

    fn credit(&self) -> u64 {
        self.room.max(LEAST_CREDIT)
    }
}

/// What one decompressor has made of it.
pub(super) struct Account {
    budget: Rc<Budget>,
    now: Balance,
    /// When the credit was last full.
    full: Balance,
}

#[derive(Clone, Copy, Default)]
struct Balance {
    made: u64,
    fetched: u64,
    delivered: u64,
}

impl Account {
    /// An account of `budget`.
    pub(super) fn new(budget: &Rc<Budget>) -> Self {
        let mut account = Self { budget: Rc::clone(budget), now: Balance::default(), full: Balance::default() };
        account.update();
        account.full = account.now;
        account
    }

    /// So much more was made.
    pub(super) fn make(&mut self, bytes: usize) {
        self.now.made += bytes as u64;
    }

    /// Whether more may be made.
    ///
    /// # Errors
    ///
    /// The credit is used up.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.update();
        let made = self.now.made - self.full.made;
        let fetched = self.now.fetched - self.full.fetched;
        let wasted = made.saturating_sub(self.now.delivered - self.full.delivered);
        let beyond = wasted.saturating_sub(fetched.saturating_mul(RATIO));
        if beyond == 0 {
            self.full = self.now;
        }
        if beyond <= self.budget.credit() {
            return Ok(());
        }
        Err(Failure::new(
            Reason::UnsupportedImage,
            format!(
                "{} unpacks to more than {} beside the disk from {} fetched, expected at most {} and {RATIO} times what is \
                 fetched; upload the disk image by itself",
                self.budget.place.borrow(),
                human(wasted / MIB * MIB),
                human(fetched),
                human(self.budget.credit())
            ),
        ))
    }

    fn update(&mut self) {
        self.now.fetched = self.budget.fetched.get();
        self.now.delivered = self.budget.delivered.get();
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
