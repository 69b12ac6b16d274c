//! A unified difference as two columns: what was on the left, what is on the right, line beside line. Pure.

/// One row of two columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Number on the left; empty where nothing was.
    pub left_line: String,
    /// Text on the left.
    pub left: String,
    /// Number on the right.
    pub right_line: String,
    /// Text on the right.
    pub right: String,
    /// `del`, or nothing.
    pub left_class: &'static str,
    /// `add`, or nothing.
    pub right_class: &'static str,
    /// Lines that are alike were left out here.
    pub gap: bool,
}

/// The rows of one file's unified difference.
pub fn rows(patch: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let (mut left, mut right) = (0usize, 0usize);
    // Lines that went, waiting for those that came in their place.
    let mut waiting = 0usize;
    for line in patch.lines().skip_while(|line| !line.starts_with("@@")) {
        if let Some(place) = line.strip_prefix("@@") {
            (left, right) = starts(place);
            waiting = 0;
            if !rows.is_empty() {
                rows.push(Row { gap: true, left: "…".into(), right: "…".into(), ..Row::default() });
            }
            continue;
        }
        let (kind, text) = line.split_at(line.char_indices().nth(1).map_or(line.len(), |(at, _)| at));
        match kind {
            "-" => {
                rows.push(Row { left_line: left.to_string(), left: text.into(), left_class: "del", ..Row::default() });
                (left, waiting) = (left + 1, waiting + 1);
            }
            "+" => {
                let at = rows.len() - waiting.min(rows.len());
                if waiting > 0
                    && let Some(row) = rows.get_mut(at)
                {
                    (row.right_line, row.right, row.right_class) = (right.to_string(), text.into(), "add");
                    waiting -= 1;
                } else {
                    rows.push(Row { right_line: right.to_string(), right: text.into(), right_class: "add", ..Row::default() });
                }
                right += 1;
            }
            " " => {
                waiting = 0;
                let (left_line, right_line) = (left.to_string(), right.to_string());
                rows.push(Row { left_line, left: text.into(), right_line, right: text.into(), ..Row::default() });
                (left, right) = (left + 1, right + 1);
            }
            _ => {}
        }
    }
    rows
}

/// First lines of `-12,3 +14,5`.
fn starts(place: &str) -> (usize, usize) {
    let number = |sign: char| {
        let rest = place.split(sign).nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    (number('-').unwrap_or(0), number('+').unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_and_what_came_stand_beside_each_other() {
        let patch = "--- a\n+++ b\n@@ -3,4 +3,5 @@ x\n same\n-old\n-gone\n+new\n end\n+more\n@@ -20 +21 @@\n-é\n+è\n";
        let shown: Vec<(String, String)> = rows(patch).into_iter().map(|row| (row.left, row.right)).collect();
        let right = [("same", "same"), ("old", "new"), ("gone", ""), ("end", "end"), ("", "more"), ("…", "…"), ("é", "è")];
        assert_eq!(shown, right.map(|(left, right)| (left.to_owned(), right.to_owned())));
        let lines: Vec<(String, String)> = rows(patch).into_iter().map(|row| (row.left_line, row.right_line)).collect();
        assert_eq!(lines[0], ("3".to_owned(), "3".to_owned()));
        assert_eq!(lines[4], (String::new(), "6".to_owned()));
        assert_eq!(lines[6], ("20".to_owned(), "21".to_owned()));
        assert!(rows("").is_empty() && rows("+x").is_empty());
    }
}
