//! What a running worker says on its standard output.

use serde::{Deserialize, Serialize};

/// One line of progress. The worker prints one at each change of stage and at most one a second otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What the worker is doing.
    pub stage: Stage,
    /// Bytes received from the source in this attempt, repeated ones included.
    pub bytes_fetched: u64,
    /// Bytes written to the target in this attempt; holes are not written.
    pub bytes_written: u64,
    /// How much of the work is done, 0 to 100; absent while the source's length is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

impl Progress {
    /// The progress in one line of a worker's log; `None` for any other line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// The stages of a sync, in their order. Staging and converting happen only for formats that cannot be streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Reaching the source; nothing is known of it yet.
    Connecting,
    /// Reading headers: format, virtual size, whether the disk fits.
    Inspecting,
    /// Bytes flow from the source; whatever can be streamed is decoded and written as they come.
    Fetching,
    /// A format that needs the whole file is being turned into a raw disk.
    Converting,
    /// Zeroing, growing, flushing; the disk is not visible yet.
    Finalizing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_found_among_other_lines() {
        let progress = Progress { stage: Stage::Fetching, bytes_fetched: 7, bytes_written: 0, percent: Some(42) };
        let line = serde_json::to_string(&progress).unwrap();
        assert_eq!(Progress::parse(&line), Some(progress));
        for other in ["", "starting", r#"{"level":"INFO"}"#, r#"{"stage":"Dancing","bytesFetched":1,"bytesWritten":1}"#]
        {
            assert_eq!(Progress::parse(other), None, "{other}");
        }
    }
}
