//! Faults as pages and parts. Never shows a cause: that is for the log.

use askama::Template;

use super::{Shell, Solo};
use crate::base::fault::{Fault, FaultKind};
use crate::web::Context;

/// A fault as a page shows it.
#[derive(Clone, Debug)]
pub struct FaultView {
    /// A few words.
    pub title: &'static str,
    /// What failed and what to do.
    pub text: String,
    /// The field or line.
    pub place: String,
    /// The request id.
    pub id: String,
    /// `warn`: a refusal is not a fire.
    pub tone: &'static str,
}

impl FaultView {
    /// The words for a fault.
    pub fn of(fault: &Fault, context: &Context) -> Self {
        let title = match fault.kind {
            FaultKind::NotFound => "Not here",
            FaultKind::Invalid => "Not done: something is wrong in the form",
            FaultKind::Conflict => "Not done: it is in the way of something",
            FaultKind::Denied => "Not allowed",
            FaultKind::Stale => "Sign in again",
            FaultKind::Unavailable => "Not done: something does not answer",
            FaultKind::Bug => "Not done: a fault of Lifeboat",
        };
        Self {
            title,
            text: sentence(&fault.message),
            place: fault.place.clone().unwrap_or_default(),
            id: context.id.clone(),
            tone: "warn",
        }
    }
}

/// A message with a capital and a full stop.
pub fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let word = message.split_whitespace().next().unwrap_or_default();
    // A name or a command is written as it is typed.
    let is_name = word.trim_end_matches([':', ',']).contains(['/', ':', '.', '_']) || word == "lifeboat";
    let first: String = chars.next().map(|c| if is_name { c.to_string() } else { c.to_uppercase().collect() }).unwrap_or_default();
    let end = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// A fault as a whole page.
#[derive(Template)]
#[template(path = "shell/fault.html")]
pub struct FaultPage {
    /// Around it.
    pub shell: Shell,
    /// The fault.
    pub fault: FaultView,
}

/// A fault as a part.
#[derive(Template)]
#[template(path = "shell/fault_part.html")]
pub struct FaultPart {
    /// The fault.
    pub fault: FaultView,
}

/// A fault before anybody is signed in.
#[derive(Template)]
#[template(path = "shell/solo_fault.html")]
pub struct SoloFault {
    /// Around it.
    pub shell: Solo,
    /// The fault.
    pub fault: FaultView,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_capital_and_a_name_or_command_as_it_is_typed() {
        for (message, said) in [
            ("there is no client ci", "There is no client ci."),
            ("lifeboat server approve sec", "lifeboat server approve sec."),
            ("upstream/sec2:API_TOKEN: it has no value", "upstream/sec2:API_TOKEN: it has no value."),
            ("servers/demo.toml: is no TOML", "servers/demo.toml: is no TOML."),
            ("the disk: it is full!", "The disk: it is full!"),
            ("", "."),
        ] {
            assert_eq!(sentence(message), said);
        }
    }
}
