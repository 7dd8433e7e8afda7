//! Lines of a log, none of them longer than a worker's: what writes a log decides how long a line is, and a reader that
//! waits for its end would take whatever comes until then into memory.

use std::io;

use futures::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is kept. A worker's are a tenth of that.
const LIMIT: usize = 16 << 10;

/// The lines of a stream.
pub(super) struct Lines<R> {
    stream: R,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream }
    }

    /// The next line that is not too long; those that are, are passed over. `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let buffer = self.stream.fill_buf().await?;
            if buffer.is_empty() {
                return Ok((!line.is_empty() && !too_long).then(|| text(&line)));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= line.len() + piece.len() > LIMIT;
            if too_long {
                line = Vec::new();
            } else {
                line.extend_from_slice(piece);
            }
            let taken = end.map_or(buffer.len(), |end| end + 1);
            self.stream.consume_unpin(taken);
            if end.is_some() {
                if !too_long {
                    return Ok(Some(text(&line)));
                }
                too_long = false;
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn lines(log: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(Cursor::new(log));
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_come_whole_and_endless_ones_not_at_all() {
        let long = "x".repeat(LIMIT + 1);
        let longest = "y".repeat(LIMIT);
        assert_eq!(lines(b"a\n\nb").await, ["a", "", "b"]);
        assert_eq!(lines(format!("a\n{long}\nb\n{longest}\n").as_bytes()).await, ["a", "b", &longest]);
        assert_eq!(lines(format!("a\n{long}").as_bytes()).await, ["a"]);
        assert_eq!(lines(b"").await, [""; 0]);
    }
}
