//! Takes out of what a server says of itself everything that it was sent as a secret: it may answer with what it was shown, whole, in part or written in
//! another way, and what it says goes to the ledger, the log and viewers.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::base::fault::Fault;
use crate::policy::feed::Probed;
use crate::policy::snapshot::ServerSecrets;

/// What stands in its place.
const DOTS: &str = "•••";
/// A piece of a value that is this long is taken out as well: what a server says of itself is cut.
const PIECE: usize = 12;
/// A shorter value would blacken half of every text.
const SHORTEST: usize = 4;

/// Values that must not be repeated, in every way they may be written in.
pub(super) struct Mask(Vec<Vec<char>>);

impl Mask {
    /// Every secret of some sets.
    pub(super) fn of<'a>(sets: impl IntoIterator<Item = &'a ServerSecrets>) -> Self {
        let values = sets.into_iter().flat_map(|set| {
            let pairs = set.headers.iter().chain(&set.env).map(|(_, value)| value);
            pairs.chain(&set.client).map(|value| value.reveal().as_str())
        });
        let mut forms: Vec<Vec<char>> = values.flat_map(forms).map(|form| form.chars().collect()).collect();
        // The longest first: none is left over because a part of it was taken out.
        forms.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        forms.dedup();
        Self(forms)
    }

    /// A text without them.
    pub(super) fn text(&self, text: &str) -> String {
        let all: Vec<char> = text.chars().collect();
        let (mut left, mut at) = (String::with_capacity(text.len()), 0);
        while at < all.len() {
            match self.0.iter().filter_map(|form| common(&all[at..], form)).max() {
                Some(found) => {
                    left.push_str(DOTS);
                    at += found;
                }
                None => {
                    left.push(all[at]);
                    at += 1;
                }
            }
        }
        left
    }

    /// What a look saw, without them.
    pub(super) fn probed(&self, probed: Probed) -> Probed {
        let server_info = self.text(&probed.server_info);
        Probed { server_info, protocol: self.text(&probed.protocol), ..probed }
    }

    /// Why a look failed, without them.
    pub(super) fn fault(&self, fault: Fault) -> Fault {
        Fault { message: self.text(&fault.message), ..fault }
    }
}

/// How much of the beginning of a text is a value, or a piece of one that is long enough.
fn common(text: &[char], form: &[char]) -> Option<usize> {
    let least = PIECE.min(form.len());
    let head = text.get(..least)?;
    let starts = (0..=form.len() - least).filter(|start| form[*start..*start + least] == *head);
    starts.map(|start| text.iter().zip(&form[start..]).take_while(|(one, other)| one == other).count()).max()
}

/// A value as it is, its words (a header may hold a scheme before it), and each in base64 and percent-encoded.
fn forms(value: &str) -> Vec<String> {
    let words = value.split_whitespace().filter(|word| *word != value && word.len() >= 2 * SHORTEST);
    let plain: Vec<&str> = std::iter::once(value.trim()).chain(words).filter(|text| text.len() >= SHORTEST).collect();
    let written = |text: &&str| {
        let percent = text.bytes().map(|byte| match byte {
            b'-' | b'_' | b'~' | b'.' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        let percent: String = percent.collect();
        let base64 = |text: String| text.trim_end_matches('=').to_owned();
        [(*text).to_owned(), percent.to_lowercase(), percent, base64(STANDARD.encode(*text)), base64(URL_SAFE.encode(*text))]
    };
    plain.iter().flat_map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn mask(values: &[&str]) -> Mask {
        let env = values.iter().map(|value| ("A".to_owned(), Secret::new((*value).to_owned()))).collect();
        Mask::of([&ServerSecrets { env, ..ServerSecrets::default() }])
    }

    #[test]
    fn a_secret_is_taken_out_however_it_is_written() {
        let (old, new) = ("Bearer old-s3cret/value+1", "Bearer new-s3cret/value+2");
        let mask = mask(&[old, new]);
        for text in [
            old.to_owned(),
            new.to_owned(),
            "new-s3cret/value+2".to_owned(),
            STANDARD.encode(new),
            URL_SAFE.encode("old-s3cret/value+1"),
            "new-s3cret%2Fvalue%2B2".to_owned(),
            "new-s3cret%2fvalue%2b2".to_owned(),
            // Cut, as what a server says of itself is.
            "Bearer new-s3cret/v".to_owned(),
        ] {
            let masked = mask.text(&format!("echo {text} 1.0"));
            assert!(masked.starts_with("echo") && masked.contains("•••") && masked.ends_with(" 1.0"), "{text}: {masked}");
            assert!(!masked.contains("s3cret") && masked.len() < 30, "{text}: {masked}");
        }
        assert_eq!(mask.text("notes 1.0 (Bearer token)"), "notes 1.0 (Bearer token)");
        let fault = mask.fault(Fault::unavailable(format!("it said: {old}")));
        assert_eq!(fault.message, "it said: •••");
    }

    #[test]
    fn what_is_too_short_to_be_a_secret_blackens_nothing() {
        assert_eq!(mask(&["", "1", "abc"]).text("abc 1.0"), "abc 1.0");
        assert_eq!(mask(&["abcd"]).text("x abcd"), "x •••");
    }
}
