//! Text that is safe to print, and numbers for people.
//!
//! Owns what may reach a terminal. Names and messages come from ticks, stores and users: nothing of them may move
//! the cursor, reorder a line or be wider than its place.

use ratatui::text::Span;

/// Longest text that is looked at, in characters; the rest can't be seen in any column.
const MAX_CHARACTERS: usize = 1_000;

/// `text` with every character that isn't plainly visible spelt out (`\u{1b}`), cut to `width` columns with `…`.
///
/// Spelt out are control characters, characters without width (joiners, accents on nothing, direction marks) and
/// letters of right-to-left scripts, which would make a terminal reorder the line.
#[must_use]
pub fn visible(text: &str, width: usize) -> String {
    let mut pieces: Vec<(String, usize)> = Vec::new();
    let mut total = 0;
    for character in text.chars().take(MAX_CHARACTERS) {
        let (piece, columns) = piece(character);
        total += columns;
        pieces.push((piece, columns));
        if total > width {
            break;
        }
    }
    if total <= width {
        return pieces.into_iter().map(|(piece, _)| piece).collect();
    }
    while total + 1 > width {
        let Some((_, columns)) = pieces.pop() else {
            break;
        };
        total -= columns;
    }
    let mut cut: String = pieces.into_iter().map(|(piece, _)| piece).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// A character as it is shown, and its columns.
fn piece(character: char) -> (String, usize) {
    let shown = character.to_string();
    let columns = Span::raw(shown.as_str()).width();
    if character.is_control() || columns == 0 || is_right_to_left(character) {
        let escaped: String = character.escape_unicode().collect();
        let columns = escaped.len();
        return (escaped, columns);
    }
    (shown, columns)
}

/// Blocks of right-to-left scripts (Unicode's DerivedBidiClass defaults R and AL).
const fn is_right_to_left(character: char) -> bool {
    matches!(
        character,
        '\u{590}'..='\u{8ff}'
            | '\u{fb1d}'..='\u{fdff}'
            | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}'
    )
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure with four decimals, or `-` when there is none. Huge and tiny ones in powers of ten.
#[must_use]
pub fn figure(value: Option<f64>) -> String {
    match value {
        Some(value) if !value.is_finite() => "-".to_owned(),
        Some(value) if value != 0.0 && !(1e-4..1e10).contains(&value.abs()) => {
            format!("{value:.4e}")
        }
        Some(value) => format!("{value:.4}"),
        None => "-".to_owned(),
    }
}

/// Bytes in binary units.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "rounded to one decimal")]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = value as f64;
    let mut shown = "B";
    for unit in UNITS {
        if scaled < 1_024.0 {
            break;
        }
        scaled /= 1_024.0;
        shown = unit;
    }
    if shown == "B" {
        format!("{value} B")
    } else {
        format!("{scaled:.1} {shown}")
    }
}

/// A span of seconds as `3d 4h`, `4h 5m`, `5m 6s` or `6s`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// How far behind, from milliseconds.
#[must_use]
pub fn lag(millis: Option<u64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(0) => "0s".to_owned(),
        Some(millis) if millis < 10_000 => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
        Some(millis) => duration(millis / 1_000),
    }
}

/// The time of day (UTC) of a time in microseconds since 1970, or `-`.
#[must_use]
pub fn clock(micros: Option<i64>) -> String {
    let time = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    time.map_or_else(
        || "-".to_owned(),
        |time| time.strftime("%H:%M:%S").to_string(),
    )
}

/// The date and time (UTC) of a time in microseconds since 1970, or `-`.
#[must_use]
pub fn date_and_clock(micros: Option<i64>) -> String {
    let time = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    time.map_or_else(
        || "-".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_spelt_out() {
        assert_eq!(visible("BRK.B", 10), "BRK.B");
        assert_eq!(visible("\u{1b}[2J", 20), "\\u{1b}[2J");
        assert_eq!(visible("a\u{202e}b", 20), "a\\u{202e}b");
        assert_eq!(visible("e\u{301}", 20), "e\\u{301}");
        assert_eq!(visible("\u{5d0}", 20), "\\u{5d0}");
        assert_eq!(visible("A\nB\u{9b}", 20), "A\\u{a}B\\u{9b}");
    }

    #[test]
    fn text_is_cut_to_its_columns_and_wide_characters_count_twice() {
        assert_eq!(visible("ABCDEFGH", 5), "ABCD…");
        assert_eq!(visible("ABCDE", 5), "ABCDE");
        assert_eq!(visible("東証東証", 8), "東証東証");
        assert_eq!(visible("東証東証", 5), "東証…");
        assert_eq!(visible("東証東証", 4), "東…");
        assert_eq!(visible("AB", 0), "");
    }

    proptest! {
        #[test]
        fn any_text_fits_and_holds_nothing_that_moves_the_cursor(text in any::<String>(), width in 0usize..40) {
            let shown = visible(&text, width);
            prop_assert!(Span::raw(shown.as_str()).width() <= width);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_right_to_left(c)));
        }
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(
            (count(0), count(999), count(1_000), count(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into(),)
        );
        assert_eq!(figure(Some(185.64251)), "185.6425");
        assert_eq!(figure(Some(1e300)), "1.0000e300");
        assert_eq!(figure(Some(-0.00001)), "-1.0000e-5");
        assert_eq!(
            (figure(None), figure(Some(f64::NAN)), figure(Some(0.0))),
            ("-".into(), "-".into(), "0.0000".into())
        );
        assert_eq!(
            (bytes(1_023), bytes(1_536), bytes(u64::MAX)),
            ("1023 B".into(), "1.5 KiB".into(), "16.0 EiB".into())
        );
        assert_eq!(
            (
                duration(6),
                duration(306),
                duration(14_700),
                duration(273_600)
            ),
            ("6s".into(), "5m 6s".into(), "4h 5m".into(), "3d 4h".into())
        );
        assert_eq!(
            (lag(None), lag(Some(250)), lag(Some(72_000))),
            ("-".into(), "0.2s".into(), "1m 12s".into())
        );
        assert_eq!(
            (clock(Some(61_000_000)), clock(None), clock(Some(i64::MAX))),
            ("00:01:01".into(), "-".into(), "-".into())
        );
    }
}
