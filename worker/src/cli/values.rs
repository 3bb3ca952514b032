//! Values of options that need more than clap's own parsers.

use std::str::FromStr;

/// A size in bytes: `1000`, `64KiB`, `512MiB`, `2GiB`, `1TiB`, or with decimal units `2GB`. At least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let factor = match unit.trim_start() {
            "" => Some(1),
            unit => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor),
        };
        let size = digits
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor));
        match size {
            Some(size) if size > 0 => Ok(Self(size)),
            _ => Err("allowed is a whole number above 0 with an optional unit (KiB, MiB, GiB, TiB), such as 512MiB"
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, size) in [
            ("1", 1),
            ("64KiB", 65_536),
            ("2 gib", 2 << 30),
            ("3GB", 3_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(size)), "{text}");
        }
    }

    #[test]
    fn bad_sizes_are_refused() {
        for text in [
            "",
            "0",
            "0GiB",
            "-1",
            "1.5GiB",
            "GiB",
            "5 parsecs",
            "18446744073709551615KiB",
        ] {
            assert!(
                text.parse::<ByteSize>()
                    .unwrap_err()
                    .contains("such as 512MiB"),
                "{text}"
            );
        }
    }
}
