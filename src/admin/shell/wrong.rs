//! What is wrong with a form that was sent, at its field when the form has it. Never keeps what was typed.

use super::sentence;
use crate::base::fault::Fault;

/// It.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// A fault of no field.
    pub general: String,
    /// The field that is wrong.
    bad: String,
    /// What is wrong with it.
    pub sentence: String,
}

impl Wrong {
    /// Of a fault; `fields` are the order's names that the form has, each with the form's own.
    pub fn of(fault: &Fault, fields: &[(&str, &str)]) -> Self {
        let text = sentence(&fault.message);
        let place = fault.place.as_deref();
        let field = fields.iter().find(|(order, _)| place == Some(order));
        match (field, place) {
            (Some((_, field)), _) => Self { bad: (*field).to_owned(), sentence: text, ..Self::default() },
            (None, Some(place)) => Self { general: format!("{place}: {text}"), ..Self::default() },
            (None, None) => Self { general: text, ..Self::default() },
        }
    }

    /// Whether a field is the wrong one.
    pub fn is(&self, field: &str) -> bool {
        self.bad == field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stands_at_its_field_or_above_the_form() {
        let fields = [("name", "name"), ("expires_days", "expires")];
        let wrong = Wrong::of(&Fault::invalid("expires_days", "a whole number"), &fields);
        assert!(
            wrong.is("expires") && !wrong.is("name") && wrong.general.is_empty() && wrong.sentence.starts_with("A whole number")
        );
        let elsewhere = Wrong::of(&Fault::invalid("servers/a.toml:3", "no"), &fields);
        assert!(elsewhere.general.starts_with("servers/a.toml:3: ") && !elsewhere.is("name"));
        assert!(!Wrong::of(&Fault::conflict("taken"), &fields).general.is_empty());
    }
}
