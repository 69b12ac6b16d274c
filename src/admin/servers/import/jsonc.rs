//! JSON as editors keep it, made plain: comments and commas before a closing bracket become spaces, so that every place stays where it
//! was. Never changes a string.

/// The text with blanks where comments and needless commas stood; as long as before, byte for byte.
pub(super) fn plain(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    // Editors on other systems begin a file with this mark; no reader of JSON takes it.
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes[..3].fill(b' ');
    }
    let mut at = 0;
    let mut comma = None;
    // The last byte that means something: a comma without a value before it stays the fault it is.
    let mut last = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = end_of_string(&bytes, at);
                comma = None;
                last = b'"';
                continue;
            }
            b'/' if matches!(bytes.get(at + 1), Some(b'/' | b'*')) => {
                let end = end_of_comment(&bytes, at);
                for byte in &mut bytes[at..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
                continue;
            }
            b',' => comma = (!matches!(last, 0 | b'{' | b'[' | b',')).then_some(at),
            b'}' | b']' => {
                if let Some(needless) = comma.take() {
                    bytes[needless] = b' ';
                }
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => comma = None,
        }
        last = bytes[at];
        at += 1;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

// Just behind the closing quote, or the end of the text.
fn end_of_string(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn end_of_comment(bytes: &[u8], begin: usize) -> usize {
    let rest = &bytes[begin..];
    let length = if bytes[begin + 1] == b'/' {
        rest.iter().position(|byte| *byte == b'\n')
    } else {
        rest.get(2..).and_then(|inner| inner.windows(2).position(|pair| pair == b"*/")).map(|found| found + 4)
    };
    begin + length.unwrap_or(rest.len())
}

/// Line and column of a byte, both from 1; the column counts characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_needless_commas_become_blanks() {
        let text = "{ // über\n \"a\": [1, 2, /* x, */ ], \"b\": \"// no, ] comment \\\" /*\",\n}";
        let made = plain(text);
        assert_eq!(made.len(), text.len());
        let value: serde_json::Value = serde_json::from_str(&made).expect("plain JSON");
        assert_eq!(value, serde_json::json!({"a": [1, 2], "b": "// no, ] comment \" /*"}));
        for odd in ["/*", "//", "/", "\"", "\"\\", "{,}", "[,,]", "\u{feff}{}", "/*/"] {
            assert_eq!(plain(odd).len(), odd.len(), "{odd}");
        }
        for fault in ["[1,,]", "{,}", "[,]"] {
            assert_eq!(plain(fault), fault, "a comma without a value stays a fault");
        }
    }

    #[test]
    fn a_place_is_line_and_column() {
        assert_eq!(place("ab\ncü!", 6), (2, 3));
        assert_eq!(place("", 9), (1, 1));
    }
}
