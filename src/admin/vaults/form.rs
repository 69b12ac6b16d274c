//! The form that adds a vault: as it was typed, as an order, and as it is shown again with what is wrong. Pure; a variable's value is never
//! shown again.

use super::AddVault;
use super::preset::Preset;
use crate::admin::shell::Wrong;
use crate::base::fault::Fault;
use crate::web::Fields;

/// As it was typed.
#[derive(Clone, Debug, Default)]
pub struct AddForm {
    /// `path`, `command` or `preset`.
    pub kind: String,
    /// Field.
    pub name: String,
    /// Field.
    pub server: String,
    /// Field.
    pub path: String,
    /// Field, one a line.
    pub exclude: String,
    /// Field.
    pub command: String,
    /// Field.
    pub preset: String,
    /// Field.
    pub place: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl AddForm {
    /// From the fields.
    pub fn typed(fields: &Fields) -> Self {
        let get = |name: &str| fields.get(name).to_owned();
        Self {
            kind: get("kind"),
            name: get("name"),
            server: get("server"),
            path: get("path"),
            exclude: get("exclude"),
            command: get("command"),
            preset: get("preset"),
            place: get("place"),
            ..Self::default()
        }
    }

    /// With what is wrong, at its field when the form has it.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(fault, &[("name", "name"), ("path", "path"), ("command", "command"), ("server", "server")]);
        self
    }

    /// Whether this kind is chosen; without a choice it is a path.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind == kind || self.kind.is_empty() && kind == "path"
    }

    /// The presets there are.
    pub fn presets(&self) -> Vec<&'static str> {
        Preset::ALL.map(Preset::word).to_vec()
    }
}

/// The form as an order: only the fields of the kind that is chosen count.
pub(super) fn order(fields: &Fields) -> AddVault {
    let given = |name: &str| Some(fields.get(name).to_owned()).filter(|text| !text.is_empty());
    let common = AddVault { name: fields.get("name").to_owned(), server: given("server"), ..AddVault::default() };
    match fields.get("kind") {
        "command" => AddVault { command: Some(fields.get("command").to_owned()), env: given("env"), ..common },
        "preset" => AddVault { preset: Some(fields.get("preset").to_owned()), path: fields.get("place").to_owned(), ..common },
        _ => {
            let lines = fields.get("exclude").lines().map(str::trim).filter(|line| !line.is_empty());
            AddVault { path: fields.get("path").to_owned(), exclude: lines.map(str::to_owned).collect(), ..common }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fields_of_the_chosen_kind_count() {
        let rest = "name=notes&server=&path=/a&exclude=b%0A%0Ac&command=/bin/d+e&env=F=g&preset=basic-memory&place=/h";
        let read = |kind: &str| order(&Fields::parse(&format!("kind={kind}&{rest}")));
        let path = read("path");
        assert_eq!((path.path.as_str(), path.exclude, path.command, path.preset), ("/a", vec!["b".into(), "c".into()], None, None));
        let command = read("command");
        assert_eq!(
            (command.path.as_str(), command.command.as_deref(), command.env.as_deref()),
            ("", Some("/bin/d e"), Some("F=g"))
        );
        let preset = read("preset");
        assert_eq!((preset.path.as_str(), preset.preset.as_deref(), preset.server), ("/h", Some("basic-memory"), None));
        let form = AddForm::typed(&Fields::parse(rest)).faulted(&Fault::invalid("command", "no such thing"));
        assert!(form.wrong.is("command") && form.is_kind("path") && form.wrong.general.is_empty());
    }
}
