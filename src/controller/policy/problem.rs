//! What is wrong with the policy's `ConfigMap`, and how it is said.

/// An event's note may have 1,024 bytes (`ValidateEventCreate` of the API server).
const NOTE: usize = 1024;

/// A key that could not be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Problem {
    /// The key in the `ConfigMap`.
    pub key: String,
    /// What was found and what is expected.
    pub message: String,
    /// What follows from it.
    pub effect: Effect,
}

/// What follows from a problem, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// No last good value is known: nothing new is admitted.
    Closes,
    /// The last good value stays in force.
    KeepsLast,
    /// Nothing: nobody knows the key.
    None,
}

impl Problem {
    /// A message has room for what was found only in part: one problem must not hide the others.
    pub(super) fn new(key: &str, mut message: String, effect: Effect) -> Self {
        const MESSAGE: usize = 400;
        message.truncate(message.floor_char_boundary(MESSAGE));
        Self { key: key.to_owned(), message, effect }
    }
}

/// The reason and the note of the event that tells of these problems; `None`: there are none.
#[must_use]
pub fn notice(problems: &[Problem]) -> Option<(&'static str, String)> {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.effect);
    let (reason, head) = match sorted.first()?.effect {
        Effect::Closes => (
            "PolicyClosed",
            "Nothing new is admitted until this policy can be read, because no last good value is known; what runs \
             goes on. Correct:",
        ),
        Effect::KeepsLast => ("InvalidPolicy", "The last good value stays in force. Correct:"),
        Effect::None => ("InvalidPolicy", "Some keys have no effect:"),
    };
    let lines = sorted.iter().map(ToString::to_string);
    let mut note = std::iter::once(head.to_owned()).chain(lines).collect::<Vec<_>>().join("\n");
    note.truncate(note.floor_char_boundary(NOTE));
    Some((reason, note))
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
