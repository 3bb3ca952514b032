//! Bytes, eight at a time.
//!
//! Owns the arithmetic on a word of eight bytes (Daniel Lemire, "Quickly parsing eight digits", 2018). Must never accept a
//! byte that isn't an ASCII digit.

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The number that eight ASCII digits make, the first the most significant; `None` when one of them is no digit.
#[inline]
pub(crate) fn eight(digits: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(digits);
    (not_digits(word) == 0).then(|| u64::from(number(word)))
}

/// Nothing, when all bytes are digits.
#[inline]
fn not_digits(word: u64) -> u64 {
    // A digit's upper half is 3, also after six more: 0x39 + 6 is 0x3f.
    const HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    ((word & HALVES) | (word.wrapping_add(0x0606_0606_0606_0606) & HALVES) >> 4)
        ^ (ZEROS | ZEROS >> 4)
}

/// The number that eight digits make.
#[inline]
pub(crate) fn number(word: u64) -> u32 {
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
    #[allow(clippy::cast_possible_truncation, reason = "below 2^32")]
    let number = number as u32;
    number
}

/// Where a number of at most eight bytes stands, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FewDigits {
    end: usize,
    /// The bytes that the digits before the point are once it is gone, as a mask of the eight up to the end.
    whole: u64,
    /// The bytes of those after it.
    fraction: u64,
    /// By how much the digits before the point move, in bits.
    shift: u32,
    /// The first digit's byte, unless it may be a zero.
    leading: u64,
}

impl FewDigits {
    /// The number that ends before `end` with `whole` digits, or if there is a point `whole` digits, it and `decimals` more.
    /// `None` when that is more than eight bytes, or there aren't eight before the end.
    pub(crate) fn new(end: usize, whole: usize, decimals: Option<usize>) -> Option<Self> {
        let high = |count: usize| {
            let others = u32::try_from(8usize.checked_sub(count)?).ok()?;
            Some(u64::MAX.checked_shl(8 * others).unwrap_or(0))
        };
        let (after, point) = (decimals.unwrap_or(0), decimals.is_some());
        if end < 8 || whole + after + usize::from(point) > 8 {
            return None;
        }
        let fraction = high(after)?;
        let digits = high(whole + after)?;
        Some(FewDigits {
            end,
            whole: digits & !fraction,
            fraction,
            shift: if point { 8 } else { 0 },
            leading: if whole > 1 {
                digits & !high(whole + after - 1)?
            } else {
                0
            },
        })
    }

    /// Where the eight bytes begin that [`FewDigits::read_word`] is given.
    #[inline]
    pub(crate) fn begin(&self) -> usize {
        self.end - 8
    }

    /// The number that the digits make, and whether they aren't such: there is anything but a digit, or a zero before other
    /// digits. What stands in the point's place isn't looked at.
    #[inline]
    pub(crate) fn read(&self, record: &[u8]) -> (u32, bool) {
        match record
            .get(..self.end)
            .and_then(|record| record.last_chunk::<8>())
        {
            Some(word) => self.read_word(u64::from_le_bytes(*word)),
            None => (0, true),
        }
    }

    /// The same, of the eight bytes up to the number's end.
    #[inline]
    fn read_word(&self, word: u64) -> (u32, bool) {
        let (mut words, mut odd) = ([word], [0]);
        self.align(&mut words, &mut odd);
        let ([digits], [odd]) = (words, odd);
        (number(digits), odd != 0)
    }

    /// Turns words of eight bytes up to the end of such a number into eight digits ([`number`]), and adds what is odd of them.
    ///
    /// Without a branch or a multiplication: the processor does several at once.
    #[inline]
    pub(crate) fn align(&self, words: &mut [u64], odd: &mut [u64]) {
        let FewDigits {
            whole,
            fraction,
            shift,
            leading,
            ..
        } = *self;
        let others = ZEROS & !(whole | fraction);
        // The highest bit of a word that is nothing minus one; no other's, for the first digit is looked at without it.
        let zero = if leading == 0 { 0 } else { 1 << 63 };
        for (word, odd) in words.iter_mut().zip(odd) {
            let digits = (*word & fraction) | ((*word << shift) & whole) | others;
            let first = (digits ^ ZEROS) & leading;
            *odd |= not_digits(digits) | (first.wrapping_sub(1) & !first & zero);
            *word = digits;
        }
    }
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

/// A number of at most seven bytes, of which none is looked at but the digits and the point.
pub(crate) struct UptoPoint {
    /// Its digits without the point, after as many zeros as make eight.
    pub(crate) digits: [u8; 8],
    /// Digits before the point, at least one.
    pub(crate) whole: usize,
    /// Digits after it; `None` without a point.
    pub(crate) decimals: Option<usize>,
}

/// The number that begins at `at`; `None` when there is none, or it may be longer.
#[inline]
pub(crate) fn upto_point(text: &[u8], at: usize) -> Option<UptoPoint> {
    let word = word_at(text, at)?;
    // The highest bit of every byte that is no digit: seven bits plus 0x76 reach it from ten on.
    let numbers = word ^ ZEROS;
    let others = (((numbers & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | numbers)
        & 0x8080_8080_8080_8080;
    let whole = others.trailing_zeros() / 8;
    if whole == 0 || whole == 8 {
        return None;
    }
    let own = low_bytes(whole);
    if (word >> (8 * whole)) & 0xff != u64::from(b'.') {
        return Some(UptoPoint {
            digits: aligned(word & own, whole),
            whole: whole as usize,
            decimals: None,
        });
    }
    let end = (others & (others - 1)).trailing_zeros() / 8;
    if end == 8 {
        return None;
    }
    let digits = (word & own) | ((word >> 8) & (low_bytes(end - 1) & !own));
    Some(UptoPoint {
        digits: aligned(digits, end - 1),
        whole: whole as usize,
        decimals: Some((end - 1 - whole) as usize),
    })
}

/// The eight bytes from `at` on; zeros follow the text.
#[inline]
pub(crate) fn word_at(text: &[u8], at: usize) -> Option<u64> {
    let rest = text.get(at..)?;
    match (rest.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(word), _) => Some(u64::from_le_bytes(*word)),
        // Nearly the last: the text's last eight, without those before.
        (None, Some(word)) => {
            let before = u32::try_from(8 - rest.len()).ok()?;
            Some(
                u64::from_le_bytes(*word)
                    .checked_shr(8 * before)
                    .unwrap_or(0),
            )
        }
        (None, None) => short_word(rest),
    }
}

/// A mask of the first bytes; less than eight.
#[inline]
fn low_bytes(count: u32) -> u64 {
    (1u64 << (8 * count)) - 1
}

/// Moves `count` digits, of one to seven, behind zeros.
#[inline]
fn aligned(digits: u64, count: u32) -> [u8; 8] {
    ((digits << (64 - 8 * count)) | (ZEROS >> (8 * count))).to_le_bytes()
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
            after in "([ ,}\n][ -~]{0,12})?",
        ) {
            let fraction = fraction.map(|digits| digits[..digits.len().min(7 - whole.len())].to_owned());
            let point = if fraction.is_some() { "." } else { "" };
            let digits = fraction.clone().unwrap_or_default();
            let text = format!("{before}{whole}{point}{digits}{after}");
            let length = whole.len() + point.len() + digits.len();
            let found = upto_point(text.as_bytes(), before.len());
            if length == 8 {
                // It may be longer.
                prop_assert!(found.is_none());
                return Ok(());
            }
            let found = found.unwrap();
            prop_assert_eq!((found.whole, found.decimals), (whole.len(), fraction.map(|digits| digits.len())));
            prop_assert_eq!(eight(found.digits), Some(format!("{whole}{digits}").parse().unwrap()));
        }

        #[test]
        fn few_digits_are_read_as_they_are_written(
            before in "[ -~]{8,12}",
            whole in "[0-9]{1,8}",
            fraction in prop::option::of("[0-9]{1,6}"),
            damage in prop::option::of((0usize..9, any::<u8>())),
            after in "[ -~]{0,3}",
        ) {
            let fraction = fraction.filter(|digits| whole.len() + 1 + digits.len() <= 8);
            let decimals = fraction.as_ref().map(String::len);
            let number = match &fraction {
                Some(fraction) => format!("{whole}.{fraction}"),
                None => whole.clone(),
            };
            let mut text = format!("{before}{number}{after}").into_bytes();
            let (begin, end) = (before.len(), before.len() + number.len());
            if let Some((place, byte)) = damage
                && place < number.len() && place != whole.len()
            {
                text[begin + place] = byte;
            }
            let digits: Vec<u8> = text[begin..end].iter().copied().enumerate()
                .filter_map(|(place, byte)| (place != whole.len()).then_some(byte)).collect();
            let is_sound = digits.iter().all(u8::is_ascii_digit) && (whole.len() == 1 || digits[0] != b'0');
            let (read, is_odd) = FewDigits::new(end, whole.len(), decimals).unwrap().read(&text);
            prop_assert_eq!(is_odd, !is_sound);
            if is_sound {
                prop_assert_eq!(read, String::from_utf8(digits).unwrap().parse::<u32>().unwrap());
            }
        }

        #[test]
        fn whatever_is_found_stands_there(text in "[0-9.x]{0,12}", at in 0usize..13) {
            if let Some(found) = upto_point(text.as_bytes(), at) {
                let length = found.whole + found.decimals.map_or(0, |decimals| decimals + 1);
                let own = &text[at..at + length];
                prop_assert_eq!(eight(found.digits), Some(own.replace('.', "").parse().unwrap()));
                prop_assert_eq!(own.split('.').count(), 1 + usize::from(found.decimals.is_some()));
                prop_assert!(!text[at + length..].starts_with(|next: char| next.is_ascii_digit()));
            }
        }
    }
}
