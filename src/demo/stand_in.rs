//! The stand-in for a server that must not be reached: it offers the definitions it is given and answers every call with the same text. Never
//! looks at arguments, and never does anything.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::STAND_IN_FILE;
use super::answer::{self, Era};
use super::serve::{Offer, on_standard_streams};

/// What it says of itself.
pub(super) const ABOUT: &str = "A stand-in: it has the tools of another server and does nothing.";
const ANSWER: &str = "stand-in";

/// The definitions it offers.
pub(super) struct StandIn(Vec<Value>);

/// Runs it on standard input and output, with the definitions in its working directory; the exit status. Makes a runtime of its own.
pub fn run() -> u8 {
    on_standard_streams("stand-in server", || StandIn::read(Path::new(STAND_IN_FILE)).map(Offer::StandIn))
}

impl StandIn {
    /// The definitions in a file.
    ///
    /// # Errors
    /// When it cannot be read or holds no array.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(file).map_err(|fault| io::Error::new(fault.kind(), format!("{}: {fault}", file.display())))?;
        Ok(Self(serde_json::from_slice(&bytes)?))
    }

    /// Every tool.
    pub(super) fn definitions(&self) -> Vec<Value> {
        self.0.clone()
    }

    /// Whether a tool is among them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|definition| definition["name"] == name)
    }

    /// The one answer.
    pub(super) fn answer(era: Era) -> Value {
        let content = json!([{"type": "text", "text": ANSWER}]);
        answer::complete(era, Map::from_iter([("content".to_owned(), content)]))
    }
}
