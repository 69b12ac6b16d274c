//! Reads the source as the laws see it: without comments, without the contents of strings, without test modules.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub(super) struct Source {
    /// Path from the top of the project, with slashes.
    pub path: String,
    /// As it stands on disk.
    pub text: String,
    /// Code only: comments and string contents blanked, test modules cut off. Line numbers are those of `text`.
    pub code: String,
}

/// The top of the project.
pub(super) fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder with one of the endings, sorted.
pub(super) fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&top().join(folder), endings, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | ".git") {
                walk(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// Every Rust file of the product.
pub(super) fn sources() -> Vec<Source> {
    files("src", &[".rs"])
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let path = path.strip_prefix(top()).expect("below the top").to_string_lossy().replace('\\', "/");
            let code = if is_test_file(&path) { String::new() } else { product_code(&text) };
            Source { path, text, code }
        })
        .collect()
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| {
        part == "tests" || part == "tests.rs" || part == "testing.rs" || (part.starts_with("tests_") && part.ends_with(".rs"))
    })
}

/// Blanks what is built for tests only, comments and the contents of strings. Line numbers stay.
pub(super) fn product_code(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut code = blank_comments_and_strings(text);
    while let Some(at) = code.find(MARK) {
        let end = at + MARK.len() + item(&code[at + MARK.len()..]);
        let blank: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// Length of the item that begins `rest`: up to its first semicolon, or to the end of its braces.
fn item(rest: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in rest.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |i| i + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if rest.starts_with('"') {
            quoted(rest)
        } else if is_bracket_character(rest) {
            3
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") || rest.starts_with("'\\''") {
            rest[1..].find('\'').map_or(1, |i| if rest.starts_with("'\\''") { 4 } else { i + 2 })
        } else {
            let c = rest.chars().next().expect("inside the text");
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        out.extend(rest[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        at += end;
    }
    out
}

// A bracket as a character opens nothing.
fn is_bracket_character(rest: &str) -> bool {
    let quoted = rest.strip_prefix('\'').filter(|after| after.starts_with(['{', '}', '(', ')', '[', ']', ';']));
    quoted.is_some_and(|after| after[1..].starts_with('\''))
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    if !after[hashes..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - after.len() + hashes + 1;
    rest[start..].find(&close).map(|i| start + i + close.len())
}

fn quoted(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
