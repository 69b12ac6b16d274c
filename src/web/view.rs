//! Small pieces that many pages show: tones, badges, tiles, moments, lines of code. Plain data for templates; never knows a noun.

use crate::base::clock::Timestamp;
use crate::web::human;

/// The meaning of a colour; the word beside it carries it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// The ordinary case.
    #[default]
    Plain,
    /// Proved.
    Ok,
    /// Needs somebody, refused, unknown.
    Warn,
    /// On fire.
    Fire,
    /// Running, chosen, new.
    Sea,
}

impl Tone {
    /// The class in the sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fire => "fire",
            Self::Sea => "sea",
        }
    }

    /// The icon whose shape says the same without colour; empty for the ordinary case.
    pub fn icon(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Ok => "check",
            Self::Warn | Self::Fire => "warn",
            Self::Sea => "now",
        }
    }
}

/// A word with a tone.
#[derive(Clone, Debug, Default)]
pub struct Badge {
    /// Its meaning.
    pub tone: Tone,
    /// The word.
    pub text: String,
}

impl Badge {
    /// A badge.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }
}

/// One tile of the status strip: never a value without its age or target.
#[derive(Clone, Debug, Default)]
pub struct Tile {
    /// What it is.
    pub label: &'static str,
    /// Its value.
    pub value: String,
    /// Age, target or proof.
    pub note: String,
    /// Its meaning.
    pub tone: Tone,
}

impl Tile {
    /// A tile.
    pub fn new(label: &'static str, tone: Tone, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { label, value: value.into(), note: note.into(), tone }
    }
}

/// A point in time as a page shows it.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// For machines: RFC 3339.
    pub datetime: String,
    /// For people.
    pub text: String,
}

impl Moment {
    /// Day and minute.
    pub fn when(at: Timestamp, now: Timestamp) -> Self {
        Self { datetime: at.to_string(), text: human::when(at, now) }
    }

    /// Time of day with milliseconds.
    pub fn exact(at: Timestamp) -> Self {
        Self { datetime: at.to_string(), text: human::clock_ms(at) }
    }

    /// How long ago.
    pub fn ago(at: Timestamp, now: Timestamp) -> Self {
        Self { datetime: at.to_string(), text: human::ago(at, now) }
    }
}

/// A block of text to copy.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// What it is for.
    pub label: String,
    /// The text.
    pub text: String,
}

impl Code {
    /// A block.
    pub fn new(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self { label: label.into(), text: text.into() }
    }
}

/// The command and the call that give the same as a page.
#[derive(Clone, Debug, Default)]
pub struct SameAs {
    /// `lifeboat …`.
    pub command: String,
    /// `GET /api/v1/…`; empty when there is none.
    pub call: String,
}

impl SameAs {
    /// Both.
    pub fn new(command: impl Into<String>, call: impl Into<String>) -> Self {
        Self { command: command.into(), call: call.into() }
    }
}
