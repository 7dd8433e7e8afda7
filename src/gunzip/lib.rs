//! gzip (RFC 1952) by ISA-L, Intel's library, which inflates half as fast again as anything in Rust.
//!
//! This is the one place in the project with unsafe code, and all that it does is to call three functions of ISA-L on
//! memory that is borrowed for the call. The crates that bind ISA-L keep pointers between calls, take a second step
//! without output for damage, and don't tell where a member ends.
//!
//! ```text
//! Member::new ─▶ step(input, output) ─▶ consumed, produced ─▶ … ─▶ done ─▶ restart for the next member
//! ```

use std::ptr::null_mut;

use isal_sys::igzip_lib as isal;

/// One member of a gzip file on its way: header, deflate stream, trailer.
pub struct Member {
    state: Box<isal::inflate_state>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many bytes of the input are used up.
    pub consumed: usize,
    /// So many bytes of the output are filled.
    pub produced: usize,
    /// The member ends behind what was consumed; its length and CRC are right.
    pub done: bool,
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no gzip header, or one of a compression that is not deflate.
    #[error("its header is not one of gzip")]
    Header,
    /// The deflate stream is damaged.
    #[error("its deflate stream is damaged")]
    Data,
    /// Length or CRC differ from those in the trailer.
    #[error("its content has another CRC or length than its trailer says")]
    Checksum,
}

impl Member {
    /// A member whose first byte is still to come.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: the state is a C structure of integers, arrays of them, and pointers that may be null; zeros are valid.
        let mut state: Box<isal::inflate_state> = unsafe { Box::new_zeroed().assume_init() };
        // SAFETY: the function writes to the structure that it is given and keeps no pointer to it.
        unsafe { isal::isal_inflate_init(&raw mut *state) };
        state.crc_flag = isal::ISAL_GZIP;
        Self { state }
    }

    /// Begins with another member.
    pub fn restart(&mut self) {
        // SAFETY: the function writes to the structure that it is given and keeps no pointer to it.
        unsafe { isal::isal_inflate_reset(&raw mut *self.state) };
    }

    /// Takes bytes of the member and gives bytes of its content, as many as there are and as there is room for.
    ///
    /// A step without progress means that more input is needed. Nothing is read behind the member's end.
    ///
    /// # Errors
    ///
    /// What is wrong with the member, which is of no use then.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Error> {
        let available_in = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let available_out = u32::try_from(output.len()).unwrap_or(u32::MAX);
        // The input is only read, though the structure has no pointer to constant bytes.
        self.state.next_in = input.as_ptr().cast_mut();
        self.state.avail_in = available_in;
        self.state.next_out = output.as_mut_ptr();
        self.state.avail_out = available_out;
        // SAFETY: both pointers come from slices that are borrowed for longer than the call, with lengths that are not
        // larger than theirs. ISA-L reads and writes within these, and keeps what it needs of either in the structure.
        let code = unsafe { isal::isal_inflate(&raw mut *self.state) };
        let consumed = (available_in - self.state.avail_in) as usize;
        let produced = (available_out - self.state.avail_out) as usize;
        (self.state.next_in, self.state.next_out) = (null_mut(), null_mut());
        (self.state.avail_in, self.state.avail_out) = (0, 0);
        match code {
            isal::ISAL_INVALID_WRAPPER | isal::ISAL_UNSUPPORTED_METHOD => Err(Error::Header),
            isal::ISAL_INCORRECT_CHECKSUM => Err(Error::Checksum),
            code if code < 0 => Err(Error::Data),
            _ => {
                let done = self.state.block_state == isal::isal_block_state_ISAL_BLOCK_FINISH;
                Ok(Step { consumed, produced, done })
            }
        }
    }
}

impl Default for Member {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Member").field("total_out", &self.state.total_out).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
