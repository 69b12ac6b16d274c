//! Why an admin verb failed, for a person: a kind to branch on, a sentence, and where it is wrong. Never carries a secret.

use std::error::Error;
use std::fmt;

/// What went wrong, as far as a caller branches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The named thing does not exist.
    NotFound,
    /// The input is wrong; `place` names the field, file and line, or JSON pointer.
    Invalid,
    /// Somebody else changed it first, or it exists already.
    Conflict,
    /// The operator's role does not allow it.
    Denied,
    /// The operator may do it, but gave its password too long ago.
    Stale,
    /// A file, database or peer did not answer; it may later.
    Unavailable,
    /// A state that should be impossible.
    Bug,
}

impl FaultKind {
    /// The word for `error.kind` in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Denied | Self::Stale => "denied",
            Self::Unavailable => "unavailable",
            Self::Bug => "bug",
        }
    }

    /// The kind of a word that came over the socket.
    pub fn from_word(word: &str) -> Self {
        [Self::NotFound, Self::Invalid, Self::Conflict, Self::Denied, Self::Unavailable]
            .into_iter()
            .find(|kind| kind.word() == word)
            .unwrap_or(Self::Bug)
    }

    /// The exit status of a command that ends with this fault (docs/CONTRACT.md: 1 fault, 3 refused, 64 bad usage or configuration).
    pub fn exit(self) -> u8 {
        match self {
            Self::Denied | Self::Stale => 3,
            Self::Invalid => 64,
            _ => 1,
        }
    }
}

/// A failed verb.
#[derive(Debug)]
pub struct Fault {
    /// What to branch on.
    pub kind: FaultKind,
    /// One sentence for the operator, no full stop needed.
    pub message: String,
    /// The field, `file:line` or JSON pointer that is wrong, when there is one.
    pub place: Option<String>,
    /// The cause, for the log only.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault of the given kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, source: None }
    }

    /// The thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, message)
    }

    /// The input is wrong at `place`.
    pub fn invalid(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: Some(place.into()), ..Self::new(FaultKind::Invalid, message) }
    }

    /// Somebody was first.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Conflict, message)
    }

    /// Not allowed.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Denied, message)
    }

    /// Did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unavailable, message)
    }

    /// Should be impossible.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Bug, message)
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|cause| cause.as_ref() as &(dyn Error + 'static))
    }
}

/// The result of a verb.
pub type Verb<T> = Result<T, Fault>;
