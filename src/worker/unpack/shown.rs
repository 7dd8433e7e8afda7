//! Names that strangers gave, in our messages.

/// A path out of an archive, made fit for a message: without control characters, and cut.
pub(crate) fn shown(path: &str) -> String {
    const LIMIT: usize = 100;
    let ellipsis = if path.chars().nth(LIMIT).is_some() { "…" } else { "" };
    let start: String = path.chars().take(LIMIT).collect();
    format!("{}{ellipsis}", start.escape_debug())
}
