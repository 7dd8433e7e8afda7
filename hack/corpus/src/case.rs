//! What a file of the corpus is.

use std::{fmt, sync::Arc};

/// One file.
#[derive(Clone)]
pub struct Case {
    /// Its name, fit for a file and a URL: the group, then the fault.
    pub name: String,
    /// The format that it is or pretends to be.
    pub group: &'static str,
    /// Where the fault lies.
    pub layer: Layer,
    /// What is wrong with it, or particular about it.
    pub fault: String,
    /// What must come of it.
    pub expected: Expected,
    pub(crate) make: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
}

/// Who has to find the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The inspector or decoder of a disk format: the file is an image.
    Image,
    /// Whoever makes the disk visible: the image is in order, and what it holds misleads the next reader.
    Disk,
    /// Whoever unpacks: the file is compressed or an archive.
    Wrapping,
}

/// What must come of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A disk.
    Disk,
    /// No disk, nothing visible, nothing left.
    Refused {
        /// The class of the failure.
        class: Class,
        /// What the message must contain: the name of the field, or of the thing that is wrong.
        names: &'static str,
    },
}

/// The class of a refusal, as the worker's exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It holds more than [`ROOM`](crate::ROOM).
    DoesNotFit,
    /// It is no image, a damaged one, or one that must not be read.
    Malformed,
}

impl Class {
    /// The worker's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::DoesNotFit => 13,
            Self::Malformed => 15,
        }
    }
}

impl Case {
    /// The content of the file. It is made anew at each call.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        (self.make)()
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name, self.fault)
    }
}
