//! Whole numbers of which those near each other lie close together.
//!
//! Owns that form: of every thousand the least is kept, and how far the others are above it, in as few bytes as the farthest
//! needs. Instants, counts and places of rows that close together so take two bytes instead of eight, or none.

/// Numbers that share what is kept of them.
const TOGETHER: usize = 1_024;

/// A list of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    blocks: Vec<Block>,
    /// The last ones, fewer than a block has.
    rest: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Block {
    least: u64,
    above: Above,
}

/// How far each number is above the least.
#[derive(Clone, Debug)]
enum Above {
    /// Not at all.
    Nothing,
    One(Box<[u8]>),
    Two(Box<[u16]>),
    Four(Box<[u32]>),
    Eight(Box<[u64]>),
}

impl Block {
    fn of(numbers: &[u64]) -> Self {
        let least = numbers.iter().copied().min().unwrap_or(0);
        let most = numbers.iter().copied().max().unwrap_or(0);
        let above = numbers.iter().map(|number| number - least);
        // Each fits: the farthest does.
        #[allow(clippy::cast_possible_truncation)]
        let above = match most - least {
            0 => Above::Nothing,
            1..=0xff => Above::One(above.map(|above| above as u8).collect()),
            0x100..=0xffff => Above::Two(above.map(|above| above as u16).collect()),
            0x1_0000..=0xffff_ffff => Above::Four(above.map(|above| above as u32).collect()),
            _ => Above::Eight(above.collect()),
        };
        Block { least, above }
    }

    #[inline]
    fn get(&self, index: usize) -> u64 {
        self.least
            + match &self.above {
                Above::Nothing => 0,
                Above::One(above) => u64::from(above[index]),
                Above::Two(above) => u64::from(above[index]),
                Above::Four(above) => u64::from(above[index]),
                Above::Eight(above) => above[index],
            }
    }
}

impl Narrow {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len() * TOGETHER + self.rest.len()
    }

    /// True when there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a number.
    #[inline]
    pub(crate) fn push(&mut self, number: u64) {
        self.rest.push(number);
        if self.rest.len() == TOGETHER {
            self.blocks.push(Block::of(&self.rest));
            self.rest.clear();
        }
    }

    /// The number at `index`, which is known to be there.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> u64 {
        match self.blocks.get(index / TOGETHER) {
            Some(block) => block.get(index % TOGETHER),
            None => self.rest[index % TOGETHER],
        }
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<u64> {
        Some(self.get(self.len().checked_sub(1)?))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl FromIterator<u64> for Narrow {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut list = Narrow::default();
        for number in numbers {
            list.push(number);
        }
        list
    }
}

/// A number with a sign, so that those close together stay so.
#[inline]
pub(crate) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned() ^ (1 << 63)
}

/// The inverse of [`unsigned`].
#[inline]
pub(crate) fn signed(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            spreads in prop::collection::vec((any::<u64>(), prop::sample::select(vec![1u64, 0x100, 0x1_0000, 1 << 32, u64::MAX])), 1..4),
            each in 1usize..1_500,
            step in any::<u64>(),
        ) {
            let numbers: Vec<u64> = spreads
                .iter()
                .flat_map(|(base, spread)| {
                    (0..each as u64).map(move |number| base.wrapping_add(number.wrapping_mul(step) % spread))
                })
                .collect();
            let list: Narrow = numbers.iter().copied().collect();
            prop_assert_eq!(list.len(), numbers.len());
            prop_assert_eq!(list.last(), numbers.last().copied());
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), numbers);
        }

        #[test]
        fn signs_come_back_and_keep_their_order(one in any::<i64>(), two in any::<i64>()) {
            prop_assert_eq!(signed(unsigned(one)), one);
            prop_assert_eq!(unsigned(one).cmp(&unsigned(two)), one.cmp(&two));
        }
    }
}
