//! The bytes that are passed over: white space, and the inside of strings. Never looks at what they mean.

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
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
