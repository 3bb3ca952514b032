//! Digits, eight at a time.
//!
//! Owns the arithmetic on a word of eight bytes (Daniel Lemire, "Quickly parsing eight digits", 2018). Must never accept a
//! byte that isn't an ASCII digit.

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The number that eight ASCII digits make, the first the most significant; `None` when one of them is no digit.
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

/// The number that `length` ASCII digits make which end before `end`; at most eight of them. `None` when one of them is
/// no digit, or the text doesn't reach so far.
pub(crate) fn upto_eight(text: &[u8], end: usize, length: usize) -> Option<u64> {
    if let Some(begin) = end.checked_sub(8)
        && let Some(word) = text
            .get(begin..end)
            .and_then(|word| word.first_chunk::<8>())
        && let Some(others) = 8usize.checked_sub(length)
    {
        // What stands before them counts as zeros.
        let own = u64::MAX
            .checked_shl(8 * u32::try_from(others).ok()?)
            .unwrap_or(0);
        let word = (u64::from_le_bytes(*word) & own) | (ZEROS & !own);
        return eight(word.to_le_bytes());
    }
    let digits = text.get(end.checked_sub(length)?..end)?;
    digits.iter().try_fold(0, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| sum * 10 + u64::from(digit))
    })
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

    proptest! {
        #[test]
        fn numbers_are_read_wherever_they_stand(before in "[ -~]{0,12}", digits in "[0-9]{1,8}", after in "[ -~]{0,3}") {
            let text = format!("{before}{digits}{after}");
            let end = before.len() + digits.len();
            let read = upto_eight(text.as_bytes(), end, digits.len());
            prop_assert_eq!(read, Some(digits.parse().unwrap()));
            prop_assert_eq!(upto_eight(text.as_bytes(), text.len() + 1, 1), None);
        }

        #[test]
        fn nothing_else_is_a_number(text in "[ -~]{1,8}") {
            let expected: Option<u64> = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap());
            prop_assert_eq!(upto_eight(text.as_bytes(), text.len(), text.len()), expected);
        }
    }
}
