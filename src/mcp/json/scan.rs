//! The scanner behind `check`: a state machine over bytes with a small stack of its own. Never allocates for values, only for open
//! containers and their keys.

use std::borrow::Cow;

use super::plain::{is_space, plain_end};
use super::view::Skips;
use super::{Flaw, JsonFault, JsonLimits};

/// A key in the text: what stands between its quotes.
#[derive(Clone, Copy)]
struct Key {
    start: u32,
    end: u32,
}

/// A container that has begun; where it is noted among the skips, at which place.
struct Open {
    frame: Frame,
    skip: Option<usize>,
}

/// Values at least so long, and not nested deeper, are noted; so many of them.
const LONG: usize = 48;
const NOTED_DEPTH: usize = 4;
const NOTED: usize = 64;

enum Frame {
    /// The keys of this object begin at `first_key` in the stack of keys; `escaped` where one of them holds an escape.
    Object {
        first_key: usize,
        escaped: bool,
    },
    Array,
}

enum Next {
    Value,
    FirstKey,
    Key,
    FirstElement,
    After,
    Done,
}

pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: JsonLimits,
    members: usize,
    frames: Vec<Open>,
    keys: Vec<Key>,
    skips: Skips,
}

type Step<T = Next> = Result<T, JsonFault>;

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: JsonLimits) -> Self {
        Self {
            bytes,
            at: 0,
            limits,
            members: 0,
            frames: Vec::with_capacity(8),
            keys: Vec::with_capacity(16),
            skips: Skips::with_capacity(16),
        }
    }

    /// Reads it all; gives where the long values stand.
    pub(super) fn run(mut self) -> Step<Skips> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => {}
            Some(b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => return Err(self.fault(Flaw::NotObject)),
            _ => return Err(self.fault(Flaw::Syntax("no JSON value"))),
        }
        let mut next = Next::Value;
        loop {
            next = match next {
                Next::Value => self.value()?,
                Next::FirstKey => self.first_key()?,
                Next::Key => self.key()?,
                Next::FirstElement => self.first_element()?,
                Next::After => self.after()?,
                Next::Done => break,
            };
        }
        self.skip_space();
        if self.at == self.bytes.len() { Ok(self.skips) } else { Err(self.fault(Flaw::TrailingBytes)) }
    }

    fn value(&mut self) -> Step {
        self.skip_space();
        match self.peek() {
            Some(b'{') => {
                self.open(Frame::Object { first_key: self.keys.len(), escaped: false })?;
                return Ok(Next::FirstKey);
            }
            Some(b'[') => {
                self.open(Frame::Array)?;
                return Ok(Next::FirstElement);
            }
            Some(b'"') => {
                let start = self.at;
                self.string()?;
                if self.at - start >= LONG {
                    self.note(start, self.at);
                }
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            _ => return Err(self.fault(Flaw::Syntax("a value was due"))),
        }
        Ok(Next::After)
    }

    fn open(&mut self, frame: Frame) -> Step<()> {
        if self.frames.len() >= self.limits.depth {
            return Err(self.fault(Flaw::Depth));
        }
        let skip = self.note(self.at, self.at);
        self.frames.push(Open { frame, skip });
        self.at += 1;
        Ok(())
    }

    /// Notes a value; gives its place among the skips, where it has one. `check` has refused lengths beyond u32.
    fn note(&mut self, start: usize, end: usize) -> Option<usize> {
        if self.frames.len() > NOTED_DEPTH || self.skips.len() >= NOTED {
            return None;
        }
        self.skips.push((start as u32, end as u32));
        Some(self.skips.len() - 1)
    }

    fn first_key(&mut self) -> Step {
        self.skip_space();
        if self.peek() == Some(b'}') { self.close() } else { self.key() }
    }

    fn first_element(&mut self) -> Step {
        self.skip_space();
        if self.peek() == Some(b']') {
            return self.close();
        }
        self.count()?;
        Ok(Next::Value)
    }

    fn key(&mut self) -> Step {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.fault(Flaw::Syntax("a key was due")));
        }
        self.count()?;
        let start = self.at + 1;
        let has_escape = self.string()?;
        // `check` has refused lengths beyond u32.
        self.keys.push(Key { start: start as u32, end: (self.at - 1) as u32 });
        if let Some(Open { frame: Frame::Object { escaped, .. }, .. }) = self.frames.last_mut() {
            *escaped |= has_escape;
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault(Flaw::Syntax("a colon was due")));
        }
        self.at += 1;
        Ok(Next::Value)
    }

    fn after(&mut self) -> Step {
        self.skip_space();
        match (self.frames.last().map(|open| &open.frame), self.peek()) {
            (None, _) => Ok(Next::Done),
            (Some(Frame::Object { .. }), Some(b',')) => {
                self.at += 1;
                Ok(Next::Key)
            }
            (Some(Frame::Array), Some(b',')) => {
                self.at += 1;
                self.count()?;
                Ok(Next::Value)
            }
            (Some(Frame::Object { .. }), Some(b'}')) | (Some(Frame::Array), Some(b']')) => self.close(),
            _ => Err(self.fault(Flaw::Syntax("a comma or the end of a container was due"))),
        }
    }

    fn close(&mut self) -> Step {
        let open = self.frames.pop();
        if let Some(Open { frame: Frame::Object { first_key, escaped }, .. }) = open {
            self.distinct(first_key, escaped)?;
            self.keys.truncate(first_key);
        }
        self.at += 1;
        if let Some((_, end)) = open.and_then(|open| open.skip).and_then(|place| self.skips.get_mut(place)) {
            *end = self.at as u32;
        }
        Ok(Next::After)
    }

    /// Refuses an object that holds a key twice. Small objects are compared pairwise; large ones sorted, so that a hostile set of keys
    /// costs n log n and no hash can be flooded.
    fn distinct(&mut self, first_key: usize, escaped: bool) -> Step<()> {
        const PAIRWISE: usize = 12;
        let bytes = self.bytes;
        let Some(keys) = self.keys.get_mut(first_key..) else { return Ok(()) };
        let twice = if escaped {
            let mut texts: Vec<Cow<'_, [u8]>> = keys.iter().map(|key| unescaped(text_of(bytes, *key))).collect();
            texts.sort_unstable();
            texts.windows(2).any(|pair| matches!(pair, [left, right] if left == right))
        } else if keys.len() <= PAIRWISE {
            keys.iter().enumerate().any(|(n, key)| keys.iter().take(n).any(|old| text_of(bytes, *old) == text_of(bytes, *key)))
        } else {
            keys.sort_unstable_by(|left, right| text_of(bytes, *left).cmp(text_of(bytes, *right)));
            keys.windows(2).any(|pair| matches!(pair, [left, right] if text_of(bytes, *left) == text_of(bytes, *right)))
        };
        if twice { Err(self.fault(Flaw::DuplicateKey)) } else { Ok(()) }
    }

    /// Reads a string from its opening quote to behind its closing one; true where it holds an escape.
    fn string(&mut self) -> Step<bool> {
        self.at += 1;
        let mut has_escape = false;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(has_escape);
                }
                Some(b'\\') => {
                    has_escape = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault(Flaw::Syntax("a control character in a string"))),
                None => return Err(self.fault(Flaw::Syntax("a string without end"))),
            }
        }
    }

    fn escape(&mut self) -> Step<()> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => Err(self.fault(Flaw::Syntax("an unknown escape"))),
        }
    }

    fn unicode_escape(&mut self) -> Step<()> {
        let unit = self.code_unit(self.at)?;
        match unit {
            0xD800..=0xDBFF => {
                let low = match self.bytes.get(self.at + 6..self.at + 8) {
                    Some(b"\\u") => self.code_unit(self.at + 6)?,
                    _ => 0,
                };
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(self.fault(Flaw::Surrogate));
                }
                self.at += 12;
            }
            0xDC00..=0xDFFF => return Err(self.fault(Flaw::Surrogate)),
            _ => self.at += 6,
        }
        Ok(())
    }

    /// The four hexadecimal digits of the `\uXXXX` that begins at `at`.
    fn code_unit(&self, at: usize) -> Step<u16> {
        let digits = self.bytes.get(at + 2..at + 6).unwrap_or_default();
        if digits.len() != 4 {
            return Err(self.fault(Flaw::Syntax("a short unicode escape")));
        }
        let mut unit = 0u16;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return Err(self.fault(Flaw::Syntax("a bad unicode escape")));
            };
            unit = unit << 4 | value as u16;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Step<()> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.fault(Flaw::Syntax("a digit was due"))),
        }
        let mut has_exponent = false;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            has_exponent = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // Without an exponent only a number of more than 300 digits can leave the range of a double.
        if has_exponent || self.at - start > 300 {
            let text = self.bytes.get(start..self.at).and_then(|raw| std::str::from_utf8(raw).ok());
            if !text.and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite) {
                self.at = start;
                return Err(self.fault(Flaw::NumberRange));
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> Step<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault(Flaw::Syntax("a digit was due"))) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static [u8]) -> Step<()> {
        if self.bytes.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.fault(Flaw::Syntax("an unknown word")));
        }
        self.at += word.len();
        Ok(())
    }

    fn count(&mut self) -> Step<()> {
        self.members += 1;
        if self.members > self.limits.members { Err(self.fault(Flaw::Members)) } else { Ok(()) }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, what: Flaw) -> JsonFault {
        JsonFault { offset: self.at, what }
    }
}

fn text_of(bytes: &[u8], key: Key) -> &[u8] {
    bytes.get(key.start as usize..key.end as usize).unwrap_or_default()
}

fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    match super::view::decode(text) {
        Some(Cow::Borrowed(plain)) => Cow::Borrowed(plain.as_bytes()),
        Some(Cow::Owned(plain)) => Cow::Owned(plain.into_bytes()),
        None => Cow::Borrowed(text),
    }
}
