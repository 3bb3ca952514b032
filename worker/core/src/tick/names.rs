//! Numbers for the tickers of a block.
//!
//! Owns which number a ticker has there: they are given in the order in which tickers come.

type FixedState = foldhash::fast::FixedState;
// The ban is on the random default hasher; this one is fixed.
#[allow(clippy::disallowed_types)]
type Map<K> = std::collections::HashMap<K, u32, FixedState>;

/// The numbers given so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Most tickers fit into a word.
    short: Map<u64>,
    long: Map<Box<[u8]>>,
    count: u32,
}

impl Names {
    /// The ticker's number, and before it is given the first time, `note`.
    pub(super) fn number_of(&mut self, ticker: &[u8], note: impl FnOnce()) -> u32 {
        let count = self.count;
        let number = match word(ticker) {
            Some(word) => *self.short.entry(word).or_insert(count),
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
}

/// A text of at most eight bytes as a number of its own: no ticker ends with a byte of zeros that another lacks, but one
/// that has such bytes is no word.
fn word(text: &[u8]) -> Option<u64> {
    if text.len() > 8 || text.last() == Some(&0) {
        return None;
    }
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    Some(u64::from_le_bytes(bytes))
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
}
