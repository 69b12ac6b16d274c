//! Which arguments of a tool its calls must repeat in a header: `x-mcp-header` in the input schema of `tools/SERVER/TOOL.json` (2026-07-28,
//! basic/transports/streamable-http). Never judges a definition: what cannot be read declares nothing.

use std::collections::BTreeMap;

use serde_json::Value;

/// Headers by tool, by server.
pub type Mirrored = BTreeMap<String, BTreeMap<String, Vec<MirroredArgument>>>;

/// The suffix behind `Mcp-Param-`, and the argument as a JSON pointer (RFC 6901).
pub type MirroredArgument = (String, String);

// As deep as an argument is ever looked for.
const DEEPEST: usize = 16;

/// Adds what the definition at `tools/SERVER/FILE.json` declares; other paths add nothing.
pub fn add(all: &mut Mirrored, path: &str, definition: &[u8]) {
    let Some((server, file)) = path.strip_prefix("tools/").and_then(|rest| rest.split_once('/')) else { return };
    if !file.ends_with(".json") || file.contains('/') {
        return;
    }
    let Ok(definition) = serde_json::from_slice::<Value>(definition) else { return };
    let Some(name) = definition["name"].as_str() else { return };
    let mut found = Vec::new();
    collect(&definition["inputSchema"], "", 0, &mut found);
    if !found.is_empty() {
        all.entry(server.to_owned()).or_default().insert(name.to_owned(), found);
    }
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
        let mut all = Mirrored::new();
        add(&mut all, "tools/s/t.json", definition);
        let expected = [("Region", "/a~1b"), ("N", "/deep/n")].map(|(suffix, at)| (suffix.to_owned(), at.to_owned()));
        assert_eq!(all["s"]["t"], expected);
        for (path, text) in
            [("tools/s/u.json", "not JSON"), ("tools/s/u.txt", "{}"), ("vaults/s.toml", ""), ("tools/s/u.json", "{}")]
        {
            let before = all.clone();
            add(&mut all, path, text.as_bytes());
            assert_eq!(all, before, "{path} {text}");
        }
    }
}
