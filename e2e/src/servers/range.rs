//! The part of a file that a request is for (RFC 9110, section 14).

/// What to answer to a `Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The whole file, with 200.
    Whole,
    /// Bytes from the first up to and with the last, with 206.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// Nothing of it is in the file: 416.
    Unsatisfiable,
}

impl Range {
    /// Reads the header's value for a file of `length` bytes. Several ranges at once are answered with the whole file,
    /// as is what is no range at all.
    #[must_use]
    pub fn parse(value: &str, length: u64) -> Self {
        let Some((first, last)) = value.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
            return Self::Whole;
        };
        let number = |text: &str| text.trim().parse::<u64>();
        match (first.trim(), last.trim()) {
            ("", suffix) => match number(suffix) {
                Ok(0) => Self::Unsatisfiable,
                Ok(_) if length == 0 => Self::Unsatisfiable,
                Ok(count) => Self::Part { first: length.saturating_sub(count), last: length - 1 },
                Err(_) => Self::Whole,
            },
            (first, last) => match (number(first), last, number(last)) {
                (Ok(first), _, _) if first >= length => Self::Unsatisfiable,
                (Ok(first), "", _) => Self::Part { first, last: length - 1 },
                (Ok(first), _, Ok(last)) if last >= first => Self::Part { first, last: last.min(length - 1) },
                _ => Self::Whole,
            },
        }
    }
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
