//! `policy-tests/NAME.toml`: what the policy is meant to decide, case by case. Never decides anything itself, and nothing in these files
//! changes what runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::{Class, ConfigFault};

/// The whole of `policy-tests/NAME.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTests {
    /// What is meant, one `[[case]]` each.
    #[serde(default, rename = "case", skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<PolicyCase>,
}

/// One `[[case]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyCase {
    /// Name of a client.
    pub client: String,
    /// `SERVER/TOOL`, or a facet such as `SERVER/@resources`.
    pub tool: String,
    /// What must come out.
    pub expect: Expected,
    /// The reason a refusal must give, such as `policy.class`; any will do when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The grant that must permit it, `ROLE#N`; any will do when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The class it must count as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
}

/// What a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// The call is permitted.
    Permit,
    /// The call is refused.
    Refuse,
}

impl Expected {
    /// The word in files and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Refuse => "refuse",
        }
    }
}

/// A case and the line it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The file it stands in.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What is meant.
    pub case: PolicyCase,
}

/// Reads one file of cases.
///
/// # Errors
/// Every fault of it, by line.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Placed>, Vec<ConfigFault>> {
    let document = Document::parse(file, bytes)?;
    let tests: PolicyTests = document.read()?;
    let mut faults = Vec::new();
    let mut placed = Vec::new();
    for (index, case) in tests.cases.into_iter().enumerate() {
        let at = index.to_string();
        let fault = |key: &str, message: &str| document.at(&["case", &at, key], message);
        if !case.tool.contains('/') {
            faults.push(fault("tool", "a tool is named SERVER/TOOL"));
        }
        if case.reason.is_some() && case.expect == Expected::Permit {
            faults.push(fault("reason", "only a refusal gives a reason"));
        }
        if case.grant.is_some() && case.expect == Expected::Refuse {
            faults.push(fault("grant", "no grant refuses; a refusal gives a reason"));
        }
        placed.push(Placed { file: file.to_owned(), line: fault("client", "").line, case });
    }
    if faults.is_empty() { Ok(placed) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_know_their_lines_and_faults_theirs() {
        let text = "# what CI may do\n[[case]]\nclient = \"ci\"\ntool = \"demo/add\"\nexpect = \"permit\"\n\n[[case]]\nclient = \"ci\"\ntool = \"demo/wipe\"\nexpect = \"refuse\"\nreason = \"policy.class\"\n";
        let placed = read("policy-tests/ci.toml", text.as_bytes()).unwrap();
        assert_eq!(placed.iter().map(|one| one.line).collect::<Vec<_>>(), [3, 8]);
        let faults = |text: &str| {
            let found = read("policy-tests/ci.toml", text.as_bytes()).unwrap_err();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let bad = "[[case]]\nclient = \"ci\"\ntool = \"add\"\nexpect = \"permit\"\nreason = \"x\"\n";
        assert_eq!(
            faults(bad),
            "policy-tests/ci.toml:3: a tool is named SERVER/TOOL\npolicy-tests/ci.toml:5: only a refusal gives a reason"
        );
        assert!(faults("[[case]]\nclient = \"ci\"\ntool = \"a/b\"\nexpect = \"allow\"\n").starts_with("policy-tests/ci.toml:4:"));
        assert!(faults("[[cases]]\n").contains("cases"));
    }
}
