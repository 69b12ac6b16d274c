//! What the definitions in `tools/SERVER/TOOL.json` ask of a call: the schema of its arguments, and which of them it must repeat in a
//! header (`x-mcp-header`; 2026-07-28, basic/transports/streamable-http). Never judges a definition: what cannot be read asks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// What calls are asked, by tool, by server.
pub type Definitions = BTreeMap<String, BTreeMap<String, Definition>>;

/// What one tool asks of its calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// Arguments that a call repeats in headers.
    pub mirrored: Vec<MirroredArgument>,
    /// `inputSchema` as it was taken in; `None` where the definition has none.
    pub input: Option<Arc<Value>>,
}

/// The suffix behind `Mcp-Param-`, and the argument as a JSON pointer (RFC 6901).
pub type MirroredArgument = (String, String);

// As deep as an argument is ever looked for.
const DEEPEST: usize = 16;

/// Adds what the definition at `tools/SERVER/FILE.json` asks; other paths add nothing.
pub fn add(all: &mut Definitions, path: &str, definition: &[u8]) {
    let Some((server, file)) = path.strip_prefix("tools/").and_then(|rest| rest.split_once('/')) else { return };
    if !file.ends_with(".json") || file.contains('/') {
        return;
    }
    let Ok(mut definition) = serde_json::from_slice::<Value>(definition) else { return };
    let Some(name) = definition["name"].as_str().map(str::to_owned) else { return };
    let input = definition.get_mut("inputSchema").map(Value::take);
    let mut mirrored = Vec::new();
    collect(input.as_ref().unwrap_or(&Value::Null), "", 0, &mut mirrored);
    all.entry(server.to_owned()).or_default().insert(name, Definition { mirrored, input: input.map(Arc::new) });
}

fn collect(schema: &Value, pointer: &str, depth: usize, found: &mut Vec<MirroredArgument>) {
    let Some(properties) = schema["properties"].as_object().filter(|_| depth < DEEPEST) else { return };
    for (name, property) in properties {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        if let Some(suffix) = property["x-mcp-header"].as_str().filter(|suffix| is_token(suffix)) {
            found.push((suffix.to_owned(), pointer.clone()));
        }
        collect(property, &pointer, depth + 1, found);
    }
}

// RFC 9110 section 5.6.2: no other text can stand in a header's name, so a client cannot send it either.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_headers_are_found_at_any_depth() {
        let definition = br#"{"name":"t","inputSchema":{"type":"object","properties":{
            "a/b":{"type":"string","x-mcp-header":"Region"},
            "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "odd":{"x-mcp-header":"no header\r\n"},"plain":{"type":"string"}}}}"#;
        let mut all = Definitions::new();
        add(&mut all, "tools/s/t.json", definition);
        let expected = [("Region", "/a~1b"), ("N", "/deep/n")].map(|(suffix, at)| (suffix.to_owned(), at.to_owned()));
        assert_eq!(all["s"]["t"].mirrored, expected);
        assert_eq!(all["s"]["t"].input.as_deref().map(|schema| &schema["type"]), Some(&Value::from("object")));
        for (path, text) in
            [("tools/s/u.json", "not JSON"), ("tools/s/u.txt", "{}"), ("vaults/s.toml", ""), ("tools/s/u.json", "{}")]
        {
            let before = all.clone();
            add(&mut all, path, text.as_bytes());
            assert_eq!(all, before, "{path} {text}");
        }
    }
}
