//! Tools that a person or an agent may take for one another: the same name at two servers, or names that look alike (Unicode UTS 39). Only
//! tells; a call is decided by its name byte for byte, whatever it looks like.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

use super::Snapshot;

/// One tool: its server, its name there.
type Tool<'a> = (&'a str, &'a str);

/// Two tools that may be taken for one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// `SERVER/TOOL`, the later of the two by name.
    pub tool: String,
    /// `SERVER/TOOL` of the other.
    pub other: String,
    /// Whether both are written the same and only their servers differ.
    pub same_name: bool,
}

impl Alike {
    /// For the operator; what is no plain ASCII is written out, so that the difference is seen.
    pub fn sentence(&self) -> String {
        let (tool, other) = (plain(&self.tool), plain(&self.other));
        match self.same_name {
            true => format!("{tool} has the name of {other}; a call goes to the server in its address and to no other"),
            false => format!("{tool} looks like {other}; whoever reads their names may take one for the other"),
        }
    }

    /// Whether one of the two is a tool of `server`.
    pub fn concerns(&self, server: &str) -> bool {
        [&self.tool, &self.other].into_iter().any(|name| name.split_once('/').is_some_and(|(of, _)| of == server))
    }

    /// Whether it is about this tool.
    pub fn names(&self, full: &str) -> bool {
        self.tool == full || self.other == full
    }
}

/// Every pair among the tools of a policy.
pub fn among(snapshot: &Snapshot) -> Vec<Alike> {
    alike(tools_of(snapshot).collect())
}

/// Every pair once `server` has these tools instead of those it has in the policy.
pub fn with<'a>(snapshot: &'a Snapshot, server: &'a str, tools: impl Iterator<Item = &'a str>) -> Vec<Alike> {
    alike(tools_of(snapshot).filter(|(of, _)| *of != server).chain(tools.map(|tool| (server, tool))).collect())
}

fn tools_of(snapshot: &Snapshot) -> impl Iterator<Item = Tool<'_>> {
    snapshot.servers.iter().flat_map(|(name, entry)| entry.config.tools.keys().map(move |tool| (name.as_str(), tool.as_str())))
}

/// Each tool with the first one before it that looks the same: as many pairs as tools at most.
fn alike(tools: BTreeSet<Tool<'_>>) -> Vec<Alike> {
    let mut first: BTreeMap<String, Tool<'_>> = BTreeMap::new();
    let mut pairs = Vec::new();
    for tool in tools {
        let looks = looks(tool.1);
        if let Some(other) = looks.iter().find_map(|look| first.get(look)) {
            let full = |tool: &Tool<'_>| format!("{}/{}", tool.0, tool.1);
            pairs.push(Alike { tool: full(&tool), other: full(other), same_name: tool.1 == other.1 });
        }
        for look in looks {
            first.entry(look).or_insert(tool);
        }
    }
    pairs
}

/// How a name looks, in capitals as written and without regard to case: two names with one look in common are alike.
fn looks(name: &str) -> [String; 2] {
    let seen: String = name.nfkc().filter(|c| !is_unseen(*c)).collect();
    let seen = seen.trim_matches(|c: char| c.is_whitespace() || c == '.');
    let look = |text: &str| skeleton(text).collect::<String>().to_lowercase();
    [look(seen), look(&seen.to_lowercase())]
}

/// Characters without a shape of their own (Default_Ignorable_Code_Point, as far as names can hold them).
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(tools: &[Tool<'_>]) -> Vec<String> {
        alike(tools.iter().copied().collect()).iter().map(Alike::sentence).collect()
    }

    #[test]
    fn atk_p14_names_that_look_alike_are_found() {
        let confusables = [
            "d\u{435}lete",
            "delete\u{200b}",
            "\u{ff44}\u{ff45}\u{ff4c}\u{ff45}\u{ff54}\u{ff45}",
            "delete ",
            "delete.",
            "Delete",
            "DELETE",
            "de1ete",
            "deIete",
            "delet\u{212f}",
            "de\u{2060}lete",
            "del\u{fe0f}ete",
        ];
        for other in confusables {
            assert_eq!(pairs(&[("s", "delete"), ("s", other)]).len(), 1, "{other:?}");
        }
        assert_eq!(pairs(&[("s", "caf\u{e9}"), ("s", "cafe\u{301}")]).len(), 1, "composed and decomposed");
        let found = pairs(&[("s", "delete"), ("s", "d\u{435}lete")]);
        assert_eq!(found, ["s/d\\u{435}lete looks like s/delete; whoever reads their names may take one for the other"]);
        assert!(pairs(&[("s", "delete"), ("s", "delete_all"), ("s", "read"), ("t", "list"), ("t", "add")]).is_empty());
    }

    #[test]
    fn atk_p15_the_same_name_at_two_servers_is_found_once() {
        let found = alike([("a", "read"), ("b", "read"), ("c", "read"), ("c", "write")].into_iter().collect());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|pair| pair.same_name && pair.other == "a/read"));
        assert!(found[0].concerns("a") && found[0].concerns("b") && !found[0].concerns("c") && found[0].names("b/read"));
    }
}
