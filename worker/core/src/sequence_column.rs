//! Sequence numbers of many rows.
//!
//! Owns that form: those of files are counts and take two to eight bytes each, those of streams are shared texts.

use crate::narrow::Narrow;
use crate::sequence::SequenceNumber;

/// A list of sequence numbers.
#[derive(Clone, Debug)]
pub(crate) enum SequenceColumn {
    /// All of them are short.
    Short(Narrow),
    /// Some may be.
    Any(Vec<SequenceNumber>),
}

impl Default for SequenceColumn {
    fn default() -> Self {
        SequenceColumn::Short(Narrow::default())
    }
}

impl SequenceColumn {
    pub(crate) fn len(&self) -> usize {
        match self {
            SequenceColumn::Short(numbers) => numbers.len(),
            SequenceColumn::Any(numbers) => numbers.len(),
        }
    }

    pub(crate) fn push(&mut self, number: SequenceNumber) {
        match (&mut *self, number.as_short()) {
            (SequenceColumn::Short(numbers), Some(number)) => numbers.push(number),
            (SequenceColumn::Short(numbers), None) => {
                let mut all: Vec<_> = numbers.iter().map(SequenceNumber::from).collect();
                all.push(number);
                *self = SequenceColumn::Any(all);
            }
            (SequenceColumn::Any(numbers), _) => numbers.push(number),
        }
    }

    /// The number at `index`, which is known to be there.
    pub(crate) fn at(&self, index: usize) -> SequenceNumber {
        match self {
            SequenceColumn::Short(numbers) => SequenceNumber::from(numbers.get(index)),
            SequenceColumn::Any(numbers) => numbers[index].clone(),
        }
    }

    /// The numbers when all are short.
    pub(crate) fn as_short(&self) -> Option<&Narrow> {
        match self {
            SequenceColumn::Short(numbers) => Some(numbers),
            SequenceColumn::Any(_) => None,
        }
    }
}

impl From<Vec<SequenceNumber>> for SequenceColumn {
    fn from(numbers: Vec<SequenceNumber>) -> Self {
        let short = numbers.iter().map(SequenceNumber::as_short).collect();
        match short {
            Some(short) => SequenceColumn::Short(short),
            None => SequenceColumn::Any(numbers),
        }
    }
}
