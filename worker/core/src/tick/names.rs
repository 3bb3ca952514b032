//! Numbers for the tickers of a block.
//!
//! Owns which number a ticker has there: they are given in the order in which tickers come.

use super::digits::short_word;

type FixedState = foldhash::fast::FixedState;
// The ban is on the random default hasher; this one is fixed.
#[allow(clippy::disallowed_types)]
type Map<K> = std::collections::HashMap<K, u32, FixedState>;

/// The numbers given so far.
#[derive(Debug)]
pub(super) struct Names {
    /// Tickers that fit into a word, and their numbers: each at the first free place from where its hash says. A power of
    /// two, at least twice as many as there are.
    short: Vec<(u64, u32)>,
    in_short: usize,
    long: Map<Box<[u8]>>,
    count: u32,
}

/// Places to begin with.
const PLACES: usize = 2_048;

/// No ticker is empty.
const FREE: (u64, u32) = (0, 0);

impl Default for Names {
    fn default() -> Self {
        Names {
            short: vec![FREE; PLACES],
            in_short: 0,
            long: Map::default(),
            count: 0,
        }
    }
}

impl Names {
    /// The ticker's number, and before it is given the first time, `note`.
    pub(super) fn number_of(&mut self, ticker: &[u8], note: impl FnOnce()) -> u32 {
        let count = self.count;
        let number = match word(ticker) {
            Some(word) => {
                let place = self.place_of(word);
                if self.short[place] == FREE {
                    self.short[place] = (word, count);
                    self.in_short += 1;
                    self.make_room();
                    count
                } else {
                    self.short[place].1
                }
            }
            None => match self.long.get(ticker) {
                Some(number) => *number,
                None => {
                    self.long.insert(ticker.into(), count);
                    count
                }
            },
        };
        if number == count {
            self.count += 1;
            note();
        }
        number
    }

    /// Where the word stands, or would. There is always a free place.
    fn place_of(&self, word: u64) -> usize {
        let mask = self.short.len() - 1;
        // Fibonacci hashing (Knuth, "The Art of Computer Programming", 6.4).
        let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        #[allow(clippy::cast_possible_truncation, reason = "32 bits")]
        let mut place = hash as usize & mask;
        while self.short[place] != FREE && self.short[place].0 != word {
            place = (place + 1) & mask;
        }
        place
    }

    fn make_room(&mut self) {
        if self.in_short * 2 <= self.short.len() {
            return;
        }
        let more = vec![FREE; self.short.len() * 2];
        for entry in std::mem::replace(&mut self.short, more) {
            if entry != FREE {
                let place = self.place_of(entry.0);
                self.short[place] = entry;
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
        let (mut names, mut noted) = (Names::default(), 0);
        for _ in 0..2 {
            for (number, ticker) in (0..).zip(tickers) {
                assert_eq!(names.number_of(ticker, || noted += 1), number);
            }
        }
        assert_eq!(noted, 7);
    }

    #[test]
    fn there_is_room_for_many() {
        let mut names = Names::default();
        let tickers: Vec<String> = (0..20_000).map(|ticker| format!("T{ticker}")).collect();
        for _ in 0..2 {
            for (number, ticker) in (0..).zip(&tickers) {
                assert_eq!(names.number_of(ticker.as_bytes(), || ()), number);
            }
        }
    }
}
