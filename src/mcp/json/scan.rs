//! The scanner behind `check`: a state machine over bytes with a small stack of its own. Never allocates for values, only for open
//! containers and their keys.

use std::borrow::Cow;

use super::{Flaw, JsonFault, JsonLimits};

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A key in the text: what stands between its quotes.
#[derive(Clone, Copy)]
struct Key {
    start: u32,
    end: u32,
}

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
    frames: Vec<Frame>,
    keys: Vec<Key>,
}

type Step<T = Next> = Result<T, JsonFault>;

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: JsonLimits) -> Self {
        Self { bytes, at: 0, limits, members: 0, frames: Vec::with_capacity(8), keys: Vec::with_capacity(16) }
    }

    pub(super) fn run(mut self) -> Step<()> {
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
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault(Flaw::TrailingBytes)) }
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
                self.string()?;
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
        self.frames.push(frame);
        self.at += 1;
        Ok(())
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
        if let Some(Frame::Object { escaped, .. }) = self.frames.last_mut() {
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
        match (self.frames.last(), self.peek()) {
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
        if let Some(Frame::Object { first_key, escaped }) = self.frames.pop() {
            self.distinct(first_key, escaped)?;
            self.keys.truncate(first_key);
        }
        self.at += 1;
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

/// Index of the first byte from `at` on that a plain run of a string cannot hold: quote, backslash or control character. Many bytes a step,
/// because nearly all bytes of a message stand in strings.
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>())
        && is_plain(chunk)
    {
        at += chunk.len();
    }
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|chunk| <[u8; 8]>::try_from(chunk).ok()) {
        let word = u64::from_le_bytes(chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        // A borrow can mark bytes above a true hit, never below it: the lowest mark is right.
        let hit = control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5C));
        if hit != 0 {
            return at + hit.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// Looks at every byte whatever it finds, so that the compiler makes vector instructions of it.
fn is_plain(chunk: &[u8; 32]) -> bool {
    chunk.iter().fold(0, |stops, byte| stops | u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\')) == 0
}
