//! What strangers wrote, in our messages: without control characters, and no longer than helps a human.

/// A name, a header's value, a word: as much as a table's column takes.
const NAME: usize = 100;

/// A sentence, such as a server's own word on why it refuses.
const SENTENCE: usize = 300;

/// A URL; longer ones are presigned, and lose that part anyway.
const LOCATION: usize = 300;

/// A whole message of ours. It goes to a status, an event (which has room for 1,024) and a terminal.
const MESSAGE: usize = 1000;

/// A name that a stranger gave, made fit for a message: without control characters, and cut.
pub(crate) fn shown(name: &str) -> String {
    limited(name.escape_debug(), NAME)
}

/// As [`shown`], for text that explains something; its quotes stay as they are.
pub(crate) fn sentence(text: &str) -> String {
    cut(text, SENTENCE)
}

/// As [`shown`], for a URL.
pub(crate) fn location(url: &str) -> String {
    cut(url, LOCATION)
}

/// A message of ours that may hold what no other function here has seen, such as the text of a library's error.
pub(crate) fn message(text: &str) -> String {
    cut(text, MESSAGE)
}

fn cut(text: &str, limit: usize) -> String {
    limited(text.chars().flat_map(printable), limit)
}

/// What cannot be printed is escaped; quotes and backslashes end nothing in a sentence.
fn printable(character: char) -> impl Iterator<Item = char> {
    let plain = matches!(character, '\'' | '"' | '\\').then_some(character);
    let escape = plain.is_none().then(|| character.escape_debug());
    plain.into_iter().chain(escape.into_iter().flatten())
}

/// As many of `characters` as take `limit` bytes, the ellipsis included.
fn limited(characters: impl Iterator<Item = char>, limit: usize) -> String {
    const ELLIPSIS: char = '…';
    let mut text = String::new();
    for character in characters {
        if text.len() + character.len_utf8() > limit {
            text.truncate(text.floor_char_boundary(limit - ELLIPSIS.len_utf8()));
            text.push(ELLIPSIS);
            break;
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
