//! Compares numbers as written, by value and exactly: 42 and 42.0 and 4.2e1 are one number, 2^53 and 2^53+1 are two. Never rounds.

/// A number in normal form: `0.digits × 10^exponent`, no zeros at either end.
#[derive(PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

/// True where both are JSON numbers of the same value.
pub(super) fn equal(left: &str, right: &str) -> bool {
    matches!((normal(left), normal(right)), (Some(left), Some(right)) if left == right)
}

fn normal(text: &str) -> Option<Decimal> {
    let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if digits.is_empty() {
        return Some(Decimal { is_negative: false, digits, exponent: 0 });
    }
    let exponent = i64::from(exponent) + whole.len() as i64 - leading as i64;
    Some(Decimal { is_negative, digits, exponent })
}

#[cfg(test)]
mod tests {
    use super::equal;

    #[test]
    fn numbers_compare_by_value() {
        for (left, right) in [("42", "42.0"), ("42", "4.2e1"), ("-0", "0"), ("0.5", "5e-1"), ("1e3", "1000"), ("007.0e0", "7")] {
            assert_eq!(equal(left, right), left != "007.0e0", "{left} {right}");
        }
    }

    #[test]
    fn large_integers_are_not_rounded() {
        assert!(!equal("9007199254740992", "9007199254740993"));
        assert!(equal("12345678901234567890123", "12345678901234567890123.00"));
    }

    #[test]
    fn words_are_no_numbers() {
        for word in ["", "-", "+1", "1.", ".5", "0x10", "1e", "NaN", "1_000", " 1"] {
            assert!(!equal(word, word), "{word:?}");
        }
    }
}
