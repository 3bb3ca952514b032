//! Numbers for the tickers that a parser meets in blocks.
//!
//! Owns which number a ticker has there: they are given in the order in which tickers come. A block carries the list as it was
//! at its end; blocks after which no ticker was new share one, so that what is found out of a ticker need not be asked again.

use std::sync::Arc;

use super::digits::short_word;

type FixedState = foldhash::fast::FixedState;
// The ban is on the random default hasher; this one is fixed.
#[allow(clippy::disallowed_types)]
type Map<K> = std::collections::HashMap<K, u32, FixedState>;

/// Tickers by their numbers: one after the other in one text, and where each ends there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tickers {
    text: String,
    ends: Vec<u32>,
}

impl Tickers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The ticker with this number.
    pub(crate) fn get(&self, number: usize) -> Option<&str> {
        let begin = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        let end = *self.ends.get(number)?;
        self.text.get(begin as usize..end as usize)
    }

    fn push(&mut self, ticker: &[u8]) {
        // It is UTF-8: the parsers have looked.
        self.text.push_str(&String::from_utf8_lossy(ticker));
        self.ends
            .push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }
}

/// The numbers given so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    tickers: Arc<Tickers>,
    /// Tickers that fit into a word, and their numbers: each at the first free place from where its hash says. A power of
    /// two, at least twice as many as there are.
    short: Vec<(u64, u32)>,
    in_short: usize,
    long: Map<Box<[u8]>>,
}

/// Tickers of which a parser remembers the numbers, about: some block may make them a few thousand more.
const MOST: usize = 32_768;

/// Places to begin with.
const PLACES: usize = 2_048;

/// From where its hash says, a word stands no further than this.
const MOST_STEPS: usize = 64;

/// No ticker is empty.
const FREE: (u64, u32) = (0, 0);

impl Names {
    /// Makes ready for a block. Numbers are given anew once there are too many.
    pub(super) fn prepare(&mut self) {
        if self.short.is_empty() || self.tickers.len() >= MOST {
            *self = Names {
                short: vec![FREE; PLACES],
                ..Names::default()
            };
        }
    }

    /// The tickers that have numbers.
    pub(super) fn tickers(&self) -> Arc<Tickers> {
        self.tickers.clone()
    }

    /// The number of a ticker of at most eight bytes, when it has one and that is found at once.
    #[inline]
    pub(super) fn known(&self, word: u64) -> Option<u32> {
        let (other, number) = *self.short.get(self.first_place(word))?;
        (other == word).then_some(number)
    }

    /// Where a word's place is looked for first.
    #[inline]
    fn first_place(&self, word: u64) -> usize {
        // Fibonacci hashing (Knuth, "The Art of Computer Programming", 6.4): the product's highest bits.
        let hash =
            word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - self.short.len().trailing_zeros());
        usize::try_from(hash).unwrap_or(0)
    }

    /// The ticker's number. It is UTF-8.
    pub(super) fn number_of(&mut self, ticker: &[u8]) -> u32 {
        let count = u32::try_from(self.tickers.len()).unwrap_or(u32::MAX);
        let number = match word(ticker).and_then(|word| Some((word, self.place_of(word)?))) {
            Some((word, place)) if self.short[place] == FREE => match self.long.get(ticker) {
                // There was no place for it when it came.
                Some(number) => *number,
                None => {
                    self.short[place] = (word, count);
                    self.in_short += 1;
                    self.make_room();
                    count
                }
            },
            Some((_, place)) => self.short[place].1,
            None => match self.long.get(ticker) {
                Some(number) => *number,
                None => {
                    self.long.insert(ticker.into(), count);
                    count
                }
            },
        };
        if number == count {
            // Copied when a block has it: once a block with new tickers.
            Arc::make_mut(&mut self.tickers).push(ticker);
        }
        number
    }

    /// Where the word stands, or would; `None` when that isn't near: such words have been chosen to meet in one place, and
    /// are kept with the long tickers.
    fn place_of(&self, word: u64) -> Option<usize> {
        let mask = self.short.len() - 1;
        let first = self.first_place(word);
        (0..MOST_STEPS)
            .map(|step| (first + step) & mask)
            .find(|place| self.short[*place] == FREE || self.short[*place].0 == word)
    }

    fn make_room(&mut self) {
        if self.in_short * 2 <= self.short.len() {
            return;
        }
        let more = vec![FREE; self.short.len() * 2];
        for (word, number) in std::mem::replace(&mut self.short, more) {
            if (word, number) == FREE {
                continue;
            }
            match self.place_of(word) {
                Some(place) => self.short[place] = (word, number),
                None => {
                    self.in_short -= 1;
                    let bytes = word.to_le_bytes();
                    let length = bytes
                        .iter()
                        .rposition(|byte| *byte != 0)
                        .map_or(0, |last| last + 1);
                    self.long.insert(bytes[..length].into(), number);
                }
            }
        }
    }
}

/// A text of at most eight bytes as a number of its own: no ticker ends with a byte of zeros that another lacks, but one
/// that has such bytes is no word.
fn word(text: &[u8]) -> Option<u64> {
    match text {
        [] | [.., 0] => None,
        text => short_word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared() -> Names {
        let mut names = Names::default();
        names.prepare();
        names
    }

    #[test]
    fn numbers_outlive_a_block_until_there_are_too_many() {
        let mut names = prepared();
        names.number_of(b"A");
        let first = names.tickers();
        names.prepare();
        assert_eq!((names.number_of(b"A"), names.number_of(b"B")), (0, 1));
        assert_eq!((first.len(), names.tickers().len()), (1, 2));
        for ticker in 0..MOST {
            names.number_of(format!("T{ticker}").as_bytes());
        }
        names.prepare();
        assert_eq!(names.number_of(b"B"), 0);
    }

    #[test]
    fn each_ticker_has_a_number_of_its_own() {
        let tickers: [&[u8]; 7] = [
            b"A",
            b"AB",
            b"A\0",
            b"A\0\0",
            b"\0",
            b"ABCDEFGH",
            b"ABCDEFGHI",
        ];
        let mut names = prepared();
        for _ in 0..2 {
            for (number, ticker) in (0..).zip(tickers) {
                assert_eq!(names.number_of(ticker), number);
            }
        }
        let named = names.tickers();
        assert_eq!(named.len(), 7);
        for (number, ticker) in tickers.iter().enumerate() {
            assert_eq!(named.get(number).map(str::as_bytes), Some(*ticker));
        }
    }

    #[test]
    fn there_is_room_for_many() {
        let mut names = prepared();
        let tickers: Vec<String> = (0..20_000).map(|ticker| format!("T{ticker}")).collect();
        for _ in 0..2 {
            for (number, ticker) in (0..).zip(&tickers) {
                assert_eq!(names.number_of(ticker.as_bytes()), number);
            }
        }
    }

    /// Words whose hashes are all the same: multiples of the constant's inverse.
    #[test]
    fn tickers_that_were_chosen_to_meet_have_numbers_of_their_own() {
        let inverse = 0x9e37_79b9_7f4a_7c15_u64;
        // Newton's iteration modulo 2^64.
        let mut inverted = inverse;
        for _ in 0..6 {
            inverted = inverted.wrapping_mul(2u64.wrapping_sub(inverse.wrapping_mul(inverted)));
        }
        let tickers: Vec<[u8; 8]> = (1..20_000u64)
            .map(|number| number.wrapping_mul(inverted).to_le_bytes())
            .filter(|ticker| ticker[7] != 0)
            .collect();
        let mut names = prepared();
        for _ in 0..2 {
            for (number, ticker) in (0..).zip(&tickers) {
                assert_eq!(names.number_of(ticker), number);
            }
        }
        assert!(names.long.len() > 19_000);
    }
}
