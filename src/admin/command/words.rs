//! The last words of a command on standard error, fit for a fault: bounded, without what was given to it to keep secret, without what steers a
//! terminal. Pure.

use std::collections::VecDeque;

use crate::base::secret::Secret;

/// Characters of it that are told.
const TOLD: usize = 200;
/// Bytes of it that are looked through.
const KEPT: usize = 64 * 1024;
/// A line of a secret that has several stands for itself from this length on.
const LINE: usize = 6;
const DOTS: &str = "•••";

/// The end of what was written.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    end: VecDeque<u8>,
    cut: bool,
}

impl LastWords {
    /// Takes more; what is older than some KiB is dropped.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.end.extend(bytes);
        let over = self.end.len().saturating_sub(KEPT);
        self.cut |= over > 0;
        self.end.drain(..over);
    }

    /// The last of it as one line; empty when nothing was said.
    pub(super) fn told(&self, secrets: &[Secret<String>]) -> String {
        let mut hidden: Vec<&str> = secrets.iter().flat_map(|secret| pieces(secret.reveal())).collect();
        // The longer one first: a value may hold another.
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let bytes: Vec<u8> = self.end.iter().copied().collect();
        let mut text = hide(String::from_utf8_lossy(&bytes).into_owned(), &hidden);
        if self.cut {
            // The rest of a value that began before what was kept.
            let longest = hidden.iter().map(|text| text.len()).max().unwrap_or(0);
            text = text.chars().skip(longest).collect();
        }
        let plain = |c: char| if c.is_whitespace() { Some(' ') } else { Some(c).filter(|c| !steers(*c)) };
        let text: String = text.chars().filter_map(plain).collect();
        // What stood between the parts of a value is gone now.
        let text = hide(text, &hidden);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        words.chars().skip(words.chars().count().saturating_sub(TOLD)).collect::<String>().trim().to_owned()
    }
}

fn pieces(value: &str) -> impl Iterator<Item = &str> {
    let lines = value.lines().map(str::trim).filter(|line| line.len() >= LINE);
    std::iter::once(value.trim()).filter(|value| !value.is_empty()).chain(lines)
}

fn hide(mut text: String, hidden: &[&str]) -> String {
    for value in hidden {
        text = text.replace(value, DOTS);
    }
    text
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(parts: &[&[u8]], secrets: &[&str]) -> String {
        let mut words = LastWords::default();
        parts.iter().for_each(|part| words.take(part));
        words.told(&secrets.iter().map(|text| Secret::new((*text).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn rec_11_last_words_hold_no_secret_and_nothing_that_steers() {
        assert_eq!(said(&[b"no login with hunt", b"er2\n"], &["hunter2"]), "no login with •••");
        assert_eq!(said(&[b"\x1b]0;x\x07a\x1b[2Jb\xe2\x80\xaec\xff\nd\te"], &[]), "]0;xa[2Jbc\u{fffd} d e");
        assert_eq!(said(&[b"hun\x01ter2 and hun\x1bter2"], &["hunter2"]), "••• and •••", "taken apart by control characters");
        assert_eq!(said(&[b"key: second line"], &["first line\nsecond line\n"]), "key: •••");
        assert_eq!(said(&[b"abcabc"], &["abc", "abcabc"]), "•••", "the longer one first");
        assert_eq!(said(&[b"  \n"], &["", " "]), "");
    }

    #[test]
    fn rec_11_last_words_are_the_last_200_characters_and_no_end_of_a_secret_stands_before_them() {
        let long = "ä".repeat(500);
        assert_eq!(said(&[long.as_bytes(), b"end"], &[]), format!("{}end", "ä".repeat(197)));
        // What is kept begins within a value: its end must not be told.
        let secret: String = (0..60).map(|n| format!("{n:05}")).collect();
        let told = said(&[secret.repeat(250).as_bytes(), b" over"], &[&secret]);
        assert!(told.ends_with("• over") && !told.contains(|c: char| c.is_ascii_digit()), "{told}");
    }
}
