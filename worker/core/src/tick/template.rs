//! The fastest way to read a record: a template of records of one length.
//!
//! Owns templates: of one shape ([`super::shape`]) and length, with every field at the same place. Whether a record is one of
//! them is seen at once, many bytes at a time; then its fields need not be looked for. A template accepts nothing that
//! its shape doesn't: what varies is checked where it is read, and a digit for a digit is all that may vary in a number.

use super::ahead::{Ahead, Moments};
use super::digits::{FewDigits, is_plain};
use super::moment::Moment;
use super::plain::{Field, Layout, Literal, NumberUse, POWERS, TextUse, layout_of};
use crate::plan::{MAX_ID_BYTES, MAX_TICKER_BYTES};

/// The longest record that a template is made of, in bytes: every line that happens to be as long is compared with it.
const LONGEST: usize = 4_096;

/// A record of one length, with every field at a place of its own.
#[derive(Debug)]
pub(super) struct Template {
    length: usize,
    /// Its bytes, and which of them are the same in every record. The last ones may overlap those before.
    parts: Vec<Part>,
    last: Part,
    pub(super) texts: Vec<Text>,
    pub(super) numbers: Vec<Kept>,
    /// Numbers that are only looked at.
    pub(super) others: Vec<FewDigits>,
}

/// Bytes that are looked at together.
const PART: usize = 32;

/// So many bytes of a record: those under the mask are the same in every one.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    bytes: [u64; PART / 8],
    mask: [u64; PART / 8],
}

#[derive(Debug)]
pub(super) struct Text {
    pub(super) start: usize,
    pub(super) end: usize,
    /// `None` of one that nobody asks for.
    pub(super) kind: Option<TextUse>,
    /// An event time of a usual form.
    pub(super) moment: Option<Moment>,
}

/// A number, and where it goes.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) digits: FewDigits,
    /// A power of ten; negative of a negative number.
    pub(super) divisor: f64,
    pub(super) index: usize,
}

impl Template {
    /// The template of the records of these fields that are as this one. `None` when there is none: the record isn't of these
    /// fields, is short or very long, or has a number of many digits.
    pub(super) fn of(fields: &[Field], end: &Literal, record: &[u8]) -> Option<Self> {
        if record.len() > LONGEST {
            return None;
        }
        let mut template = Template {
            length: record.len(),
            parts: Vec::new(),
            last: Part::default(),
            texts: Vec::new(),
            numbers: Vec::new(),
            others: Vec::new(),
        };
        let mut varies = vec![false; record.len()];
        for layout in layout_of(fields, end, record)? {
            let Layout { start, end, .. } = layout;
            let own = record.get(start..end)?;
            let moment = Moment::of(own, start).filter(|_| layout.texts == [TextUse::EventTime]);
            let varies = varies.get_mut(start..end)?;
            for (place, (byte, varies)) in own.iter().zip(varies).enumerate() {
                *varies = match &moment {
                    Some(moment) => moment.varies_at(place) && byte.is_ascii_digit(),
                    None => layout.number.is_none() || byte.is_ascii_digit(),
                };
            }
            template.add(&layout, moment)?;
        }
        let (parts, _) = record.as_chunks::<PART>();
        let (masks, _) = varies.as_chunks::<PART>();
        let parts = parts.iter().zip(masks);
        template.parts = parts
            .map(|(bytes, varies)| Part::of(bytes, varies))
            .collect();
        template.last = Part::of(record.last_chunk()?, varies.last_chunk()?);
        Some(template)
    }

    fn add(&mut self, layout: &Layout<'_>, moment: Option<Moment>) -> Option<()> {
        let (start, end) = (layout.start, layout.end);
        let Some(number) = &layout.number else {
            let kinds = layout.texts.iter().map(|kind| Some(*kind));
            let kinds = kinds.chain(layout.texts.is_empty().then_some(None));
            self.texts.extend(kinds.map(|kind| Text {
                start,
                end,
                kind,
                moment: moment.clone(),
            }));
            return Some(());
        };
        let digits = FewDigits::new(end, number.whole, number.decimals)?;
        let scale = *POWERS.get(number.decimals.unwrap_or(0))?;
        let mut is_kept = false;
        for kind in number.uses {
            match *kind {
                NumberUse::Whole(_) if number.decimals.is_some() => return None,
                NumberUse::Double(Some(index)) | NumberUse::Whole(Some(index)) => {
                    is_kept = true;
                    self.numbers.push(Kept {
                        digits,
                        divisor: if number.is_negative { -scale } else { scale },
                        index,
                    });
                }
                NumberUse::Double(None) | NumberUse::Whole(None) => {}
                NumberUse::Id => return None,
            }
        }
        if !is_kept {
            self.others.push(digits);
        }
        Some(())
    }

    /// How long its records are, in bytes.
    #[inline]
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// True when its records can be told from each other by their tickers and event times alone.
    pub(super) fn has_no_id(&self) -> bool {
        self.texts.iter().all(|text| text.kind != Some(TextUse::Id))
    }

    /// True when what begins the text is the same as all records of the template wherever they are.
    #[inline]
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        let Some((record, last)) = text
            .get(..self.length)
            .and_then(|record| Some((record, record.last_chunk()?)))
        else {
            return false;
        };
        let (parts, _) = record.as_chunks::<PART>();
        let mut differences = [0; PART / 8];
        self.last.compare(last, &mut differences);
        for (part, bytes) in self.parts.iter().zip(parts) {
            part.compare(bytes, &mut differences);
        }
        differences.iter().fold(0, |all, own| all | own) == 0
    }

    /// Reads the record that begins the text, if it is one of the template. `None` also when a field isn't as plain as it must
    /// be; the numbers may then hold anything.
    pub(super) fn read<'a>(
        &self,
        text: &'a [u8],
        moments: &mut Moments,
        numbers: &mut [f64],
    ) -> Option<Ahead<'a>> {
        let record = text.get(..self.length)?;
        if !self.fits(record) {
            return None;
        }
        let mut is_odd = false;
        for Kept {
            digits,
            divisor,
            index,
        } in &self.numbers
        {
            let (number, odd) = digits.read(record);
            is_odd |= odd;
            *numbers.get_mut(*index)? = f64::from(number) / divisor;
        }
        for digits in &self.others {
            is_odd |= digits.read(record).1;
        }
        if is_odd {
            return None;
        }
        let (mut ticker, mut event_time, mut trade_date, mut id) = (None, None, None, None);
        for Text {
            start, end, kind, ..
        } in &self.texts
        {
            let text = record.get(*start..*end)?;
            let fits = |most| (1..=most).contains(&text.len()) && is_plain(text);
            match kind {
                None => is_plain(text).then_some(())?,
                Some(TextUse::Ticker) => ticker = Some(fits(MAX_TICKER_BYTES).then_some(text)?),
                Some(TextUse::EventTime) => event_time = Some(moments.instant(text)?),
                Some(TextUse::TradeDate) => trade_date = Some(moments.date(text)?),
                Some(TextUse::Id) => id = Some(fits(MAX_ID_BYTES).then_some(text)?),
            }
        }
        Some(Ahead {
            ticker: ticker?,
            event_time: event_time?,
            trade_date,
            id,
        })
    }
}

impl Part {
    fn of(record: &[u8; PART], varies: &[bool; PART]) -> Self {
        let mut part = Part::default();
        let words = record.as_chunks::<8>().0.iter();
        let words = words.zip(varies.as_chunks::<8>().0);
        for ((bytes, mask), (record, varies)) in
            part.bytes.iter_mut().zip(&mut part.mask).zip(words)
        {
            *mask = u64::from_le_bytes(varies.map(|varies| if varies { 0 } else { 0xff }));
            *bytes = u64::from_le_bytes(*record) & *mask;
        }
        part
    }

    /// Adds what differs, if anything.
    #[inline]
    fn compare(&self, record: &[u8; PART], differences: &mut [u64; PART / 8]) {
        let (words, _) = record.as_chunks::<8>();
        for index in 0..PART / 8 {
            let word = u64::from_le_bytes(words[index]);
            differences[index] |= (word & self.mask[index]) ^ self.bytes[index];
        }
    }
}
