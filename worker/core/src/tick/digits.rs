//! Bytes, eight at a time.
//!
//! Owns the arithmetic on a word of eight bytes (Daniel Lemire, "Quickly parsing eight digits", 2018). Must never accept a
//! byte that isn't an ASCII digit.

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The number that eight ASCII digits make, the first the most significant; `None` when one of them is no digit.
#[inline]
pub(crate) fn eight(digits: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(digits);
    // A digit's upper half is 3, also after six more: 0x39 + 6 is 0x3f.
    let halves = 0xf0f0_f0f0_f0f0_f0f0;
    let is_sound =
        word & halves == ZEROS && word.wrapping_add(0x0606_0606_0606_0606) & halves == ZEROS;
    let digits = word.wrapping_sub(ZEROS);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let (even, odd) = (
        pairs & 0x0000_00ff_0000_00ff,
        (pairs >> 16) & 0x0000_00ff_0000_00ff,
    );
    let number = even
        .wrapping_mul(0x000f_4240_0000_0064)
        .wrapping_add(odd.wrapping_mul(0x0000_2710_0000_0001))
        >> 32;
    is_sound.then_some(number)
}

/// At most eight bytes as a number, the first the least significant; `None` of more.
#[inline]
pub(crate) fn short_word(text: &[u8]) -> Option<u64> {
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // Both halves; they may overlap.
        let others = u32::try_from(8usize.checked_sub(text.len())?).ok()?;
        let high = (u64::from(u32::from_le_bytes(*last)) << 32) >> (8 * others);
        return Some(u64::from(u32::from_le_bytes(*first)) | high);
    }
    let bytes = text.iter().rev();
    Some(bytes.fold(0, |word, byte| (word << 8) | u64::from(*byte)))
}

/// True when there is nothing but printable ASCII, and neither a quote nor a backslash.
#[inline]
pub(crate) fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let odd = words
        .iter()
        .fold(0, |odd, word| odd | odd_bytes(u64::from_le_bytes(*word)));
    let rest = match (short_word(rest), text.last_chunk::<8>()) {
        _ if rest.is_empty() => 0,
        (_, Some(last)) => odd_bytes(u64::from_le_bytes(*last)),
        // Filled up with spaces: less than eight are left.
        (word, None) => {
            let others = 8 - rest.len().min(7);
            odd_bytes(
                word.unwrap_or(0) | (0x2020_2020_2020_2020 & (u64::MAX << (8 * (8 - others)))),
            )
        }
    };
    odd | rest == 0
}

/// The highest bit of every byte that isn't plain, and perhaps of others above one.
#[inline]
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte below `n` borrows into its highest bit, unless that is set (Henry Warren, "Hacker's Delight", 6-1).
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    let quotes = is_zero(word ^ (ONES * u64::from(b'"')));
    let backslashes = is_zero(word ^ (ONES * u64::from(b'\\')));
    (word | controls | quotes | backslashes) & HIGH
}

/// So many digits at the end of eight bytes, with or without a point among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    count: usize,
    /// The bytes that the digits before the point are once it is gone, as a mask of a word.
    whole: u64,
    /// The bytes of those after it.
    fraction: u64,
    point: u32,
}

impl Last {
    /// The last `whole` digits, or if there is a point `whole` digits, it and `decimals` more; at most eight bytes.
    pub(crate) fn new(whole: usize, decimals: Option<usize>) -> Option<Self> {
        let high = |count: usize| {
            let others = u32::try_from(8usize.checked_sub(count)?).ok()?;
            Some(u64::MAX.checked_shl(8 * others).unwrap_or(0))
        };
        let (after, point) = (decimals.unwrap_or(0), u32::from(decimals.is_some()));
        high(whole + after + usize::from(decimals.is_some()))?;
        let fraction = high(after)?;
        Some(Last {
            count: whole + after,
            whole: high(whole + after)? & !fraction,
            fraction,
            point,
        })
    }

    /// The number that the digits make which end before `end`. `None` when one of them is no digit, or the text doesn't
    /// reach so far. What stands in the point's place isn't looked at.
    #[inline]
    pub(crate) fn read(&self, text: &[u8], end: usize) -> Option<u64> {
        let text = text.get(..end)?;
        let word = match text.last_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let mut word = [0; 8];
                let there = text.len();
                if there < self.count + self.point as usize {
                    return None;
                }
                word[8 - there..].copy_from_slice(text);
                u64::from_le_bytes(word)
            }
        };
        // What stands before them counts as zeros.
        let digits = (word & self.fraction) | ((word << (8 * self.point)) & self.whole);
        eight((digits | (ZEROS & !(self.whole | self.fraction))).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_beside_digits_is_refused_at_every_place() {
        for place in 0..8 {
            for byte in 0..=255u8 {
                let mut digits = *b"90817263";
                digits[place] = byte;
                let text = std::str::from_utf8(&digits).ok();
                let expected = text
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok());
                assert_eq!(eight(digits), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn every_byte_is_told_plain_or_not_at_every_place() {
        for length in 1..20 {
            for place in 0..length {
                for byte in 0..=255u8 {
                    let mut text = vec![b'~'; length];
                    text[place] = byte;
                    let expected = (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text), expected, "{byte} at {place} of {length}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    proptest! {
        #[test]
        fn texts_are_plain_when_all_their_bytes_are(text in prop::collection::vec(prop_oneof![9 => 0x20u8..0x80, 1 => any::<u8>()], 0..40)) {
            let plain = |byte: &u8| (0x20..0x80).contains(byte) && *byte != b'"' && *byte != b'\\';
            prop_assert_eq!(is_plain(&text), text.iter().all(plain));
        }

        #[test]
        fn words_hold_their_bytes(text in prop::collection::vec(any::<u8>(), 0..10)) {
            let mut bytes = [0; 8];
            let fits = text.len() <= 8;
            if fits {
                bytes[..text.len()].copy_from_slice(&text);
            }
            prop_assert_eq!(short_word(&text), fits.then_some(u64::from_le_bytes(bytes)));
        }

        #[test]
        fn numbers_are_read_wherever_they_stand(
            before in "[ -~]{0,12}",
            whole in "[0-9]{1,7}",
            fraction in prop::option::of("[0-9]{0,6}"),
            after in "[ -~]{0,3}",
        ) {
            let fraction = fraction.map(|digits| digits[..digits.len().min(7 - whole.len())].to_owned());
            let point = if fraction.is_some() { "." } else { "" };
            let decimals = fraction.as_ref().map(String::len);
            let text = format!("{before}{whole}{point}{}{after}", fraction.as_deref().unwrap_or(""));
            let end = text.len() - after.len();
            let last = Last::new(whole.len(), decimals).unwrap();
            let digits = format!("{whole}{}", fraction.unwrap_or_default());
            prop_assert_eq!(last.read(text.as_bytes(), end), Some(digits.parse().unwrap()));
            prop_assert_eq!(last.read(text.as_bytes(), text.len() + 1), None);
        }

        #[test]
        fn nothing_else_is_a_number(text in "[ -~]{1,8}") {
            let expected: Option<u64> = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap());
            prop_assert_eq!(Last::new(text.len(), None).unwrap().read(text.as_bytes(), text.len()), expected);
            prop_assert_eq!(Last::new(text.len() + 1, None).and_then(|last| last.read(text.as_bytes(), text.len())), None);
        }
    }
}
