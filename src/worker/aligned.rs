//! Memory whose start is aligned for direct I/O.

/// Enough for the direct I/O of every device there is.
const MEMORY_ALIGNMENT: usize = 4096;

/// Bytes at an aligned address.
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` zeros.
    #[must_use]
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + MEMORY_ALIGNMENT];
        let start = memory.as_ptr().align_offset(MEMORY_ALIGNMENT);
        Self { memory, start, length }
    }

    /// The bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// The bytes, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned() {
        for length in [1, 4096, 1 << 20] {
            let buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.bytes().as_ptr().align_offset(MEMORY_ALIGNMENT), 0);
            assert_eq!(buffer.bytes().len(), length);
        }
    }
}
