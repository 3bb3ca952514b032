//! Many records at once: what the templates know of them is read field after field, not record after record.
//!
//! Owns that order only. What a field must be, to be read here, is the template's to say ([`super::template`]); a record with a
//! field that isn't so is marked, and is parsed like any other.

use super::ahead::Moments;
use super::digits::{FewDigits, is_plain, number, word_at};
use super::names::Names;
use super::plain::TextUse;
use super::shape::{MOST_TEMPLATES, Shapes};
use super::template::{Template, Text};
use crate::plan::MAX_TICKER_BYTES;
use crate::time::{Date, Micros};

/// Records that are read together: their text stays in the processor's nearest cache from the first field to the last.
const MOST: usize = 64;

/// The columns of as many records as a batch has.
pub(super) struct Columns<'a> {
    /// The text of all of them.
    pub(super) text: &'a [u8],
    pub(super) names: &'a mut Names,
    pub(super) tickers: &'a mut [u32],
    pub(super) event_times: &'a mut [Micros],
    /// Those of records without one stay as they are.
    pub(super) trade_dates: &'a mut [Option<Date>],
    /// The numbers of each record, one after the other, so many a record; as they are where a record has none.
    pub(super) numbers: &'a mut [f64],
    pub(super) width: usize,
    /// Those that are to be parsed like any other.
    pub(super) odd: &'a mut [bool],
}

/// Records that follow one another.
#[derive(Debug)]
pub(super) struct Batch {
    /// Where each begins in the text, and which template knows it.
    starts: [usize; MOST],
    templates: [u8; MOST],
    count: usize,
    /// How many each template knows.
    by_template: [usize; MOST_TEMPLATES],
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            starts: [0; MOST],
            templates: [0; MOST],
            count: 0,
            by_template: [0; MOST_TEMPLATES],
        }
    }
}

/// The records of a batch that are of one template.
struct Own {
    /// Where each begins in the text, and its number in the batch.
    starts: [usize; MOST],
    rows: [usize; MOST],
    /// Nothing, unless the record is to be parsed like any other.
    odd: [u64; MOST],
    count: usize,
}

impl Batch {
    /// Takes the records that templates know, from the one at `at` on, and calls `note` with where each stands.
    pub(super) fn collect(
        &mut self,
        shapes: &Shapes,
        text: &[u8],
        mut at: usize,
        mut note: impl FnMut(usize, usize),
    ) -> usize {
        self.count = 0;
        self.by_template.fill(0);
        let templates = shapes.templates();
        while self.count < MOST {
            let rest = text.get(at..).unwrap_or_default();
            let found = (0u8..).zip(templates).find_map(|(index, template)| {
                let line_end = match rest.get(template.length()..)? {
                    [b'\n', ..] => 1,
                    [b'\r', b'\n', ..] => 2,
                    _ => return None,
                };
                let is_own = template.has_no_id() && template.fits(rest);
                is_own.then_some((index, template.length(), line_end))
            });
            let Some((template, length, line_end)) = found else {
                break;
            };
            self.starts[self.count] = at;
            self.templates[self.count] = template;
            self.count += 1;
            self.by_template[usize::from(template)] += 1;
            note(at, length);
            at += length + line_end;
        }
        at
    }

    /// How many records were taken.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Reads their fields.
    pub(super) fn read(&self, shapes: &mut Shapes, columns: &mut Columns<'_>) {
        let (templates, moments) = shapes.parts();
        let mut own = Own {
            starts: [0; MOST],
            rows: [0; MOST],
            odd: [0; MOST],
            count: 0,
        };
        let mut order = [0; MOST];
        self.sort(&mut order);
        let mut order = order.as_slice();
        for (template, count) in templates.iter_mut().zip(self.by_template) {
            let (rows, others) = order.split_at(count);
            order = others;
            if count == 0 {
                continue;
            }
            own.take(&self.starts, rows);
            own.read_numbers(template, columns);
            let length = template.length();
            for text in &mut template.texts {
                own.read_text(text, length, moments, columns);
            }
            for (row, odd) in own.rows.iter().zip(&own.odd).take(own.count) {
                columns.odd[*row] = *odd != 0;
            }
        }
    }

    /// The records by template.
    fn sort(&self, order: &mut [usize; MOST]) {
        let (mut next, mut begin) = ([0; MOST_TEMPLATES], 0);
        for (next, count) in next.iter_mut().zip(self.by_template) {
            *next = begin;
            begin += count;
        }
        for (row, template) in self.templates.iter().enumerate().take(self.count) {
            let next = &mut next[usize::from(*template)];
            order[*next] = row;
            *next += 1;
        }
    }

    /// Which template the last record is of.
    pub(super) fn last(&self) -> Option<usize> {
        let last = self.count.checked_sub(1)?;
        Some(usize::from(self.templates[last]))
    }
}

impl Own {
    fn take(&mut self, starts: &[usize; MOST], rows: &[usize]) {
        self.count = rows.len();
        self.odd[..rows.len()].fill(0);
        self.rows[..rows.len()].copy_from_slice(rows);
        for (start, row) in self.starts.iter_mut().zip(rows) {
            *start = starts[*row];
        }
    }

    fn read_numbers(&mut self, template: &Template, columns: &mut Columns<'_>) {
        let (mut words, mut quotients) = ([0; MOST], [0f64; MOST]);
        for kept in &template.numbers {
            let words = self.read_digits(kept.digits, columns.text, &mut words);
            for (digits, quotient) in words.iter().zip(&mut quotients) {
                // It has eight digits: no sign is lost.
                *quotient = f64::from(number(*digits).cast_signed());
            }
            // A step of its own: the processor divides several at once.
            for quotient in &mut quotients[..words.len()] {
                *quotient /= kept.divisor;
            }
            for (row, quotient) in self.rows.iter().zip(&quotients).take(words.len()) {
                columns.numbers[row * columns.width + kept.index] = *quotient;
            }
        }
        for digits in &template.others {
            self.read_digits(*digits, columns.text, &mut words);
        }
    }

    /// Each record's eight digits of a number.
    fn read_digits<'a>(
        &mut self,
        digits: FewDigits,
        text: &[u8],
        words: &'a mut [u64; MOST],
    ) -> &'a [u64] {
        let words = &mut words[..self.count];
        for (start, word) in self.starts.iter().zip(words.iter_mut()) {
            let own = text.get(start + digits.begin()..);
            // Nothing is no digit.
            *word = own
                .and_then(|own| own.first_chunk::<8>())
                .map_or(0, |own| u64::from_le_bytes(*own));
        }
        digits.align(words, &mut self.odd);
        words
    }

    fn read_text(
        &mut self,
        own: &mut Text,
        length: usize,
        moments: &mut Moments,
        columns: &mut Columns<'_>,
    ) {
        let text = columns.text;
        let record = |start: usize| text.get(start..start + length).unwrap_or_default();
        let Text {
            start, end, kind, ..
        } = *own;
        let value = |from: usize| record(from).get(start..end).unwrap_or_default();
        let places = self.starts.iter().zip(&self.rows).zip(&mut self.odd);
        let places = places.take(self.count);
        match (kind, &mut own.moment) {
            (Some(TextUse::Ticker), _) => {
                for ((from, row), odd) in places {
                    match ticker(text, from + start, end - start, columns.names) {
                        Some(found) => columns.tickers[*row] = found,
                        None => *odd = 1,
                    }
                }
            }
            (Some(TextUse::EventTime), moment) => {
                for ((from, row), odd) in places {
                    let instant = match moment {
                        Some(moment) => moment.read(record(*from)),
                        None => moments.instant(value(*from)),
                    };
                    match instant {
                        Some(instant) => columns.event_times[*row] = instant,
                        None => *odd = 1,
                    }
                }
            }
            (Some(TextUse::TradeDate), _) => {
                for ((from, row), odd) in places {
                    let date = moments.date(value(*from));
                    columns.trade_dates[*row] = date;
                    *odd |= u64::from(date.is_none());
                }
            }
            (None, _) => {
                for ((from, _), odd) in places {
                    *odd |= u64::from(!is_plain(value(*from)));
                }
            }
            // Such are never collected.
            (Some(TextUse::Id), _) => {
                for (_, odd) in places {
                    *odd = 1;
                }
            }
        }
    }
}

/// The number of the ticker that stands there; `None` when it isn't plain or of no allowed length.
#[inline]
fn ticker(text: &[u8], begin: usize, length: usize, names: &mut Names) -> Option<u32> {
    // A known name has been found sound before.
    if let Some(number) = short(text, begin, length).and_then(|word| names.known(word)) {
        return Some(number);
    }
    let ticker = text.get(begin..begin + length)?;
    let fits = (1..=MAX_TICKER_BYTES).contains(&length) && is_plain(ticker);
    fits.then(|| names.number_of(ticker))
}

/// A text of at most eight bytes as a word of its own; `None` of any other, and when its last byte is a zero.
#[inline]
fn short(text: &[u8], begin: usize, length: usize) -> Option<u64> {
    if !(1..=8).contains(&length) {
        return None;
    }
    let word = word_at(text, begin)? & (u64::MAX >> (64 - 8 * length));
    (word >> (8 * (length - 1)) != 0).then_some(word)
}
