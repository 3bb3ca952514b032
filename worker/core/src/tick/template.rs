//! The fastest way to read a record: a template of records of one length.
//!
//! Owns templates: of one shape ([`super::shape`]) and length, with every field at the same place. Whether a record is one of
//! them is seen at once, many bytes at a time; then its fields need not be looked for. A template accepts nothing that
//! its shape doesn't: what varies is checked where it is read, and a digit for a digit is all that may vary in a number.

use super::Role;
use super::shape::{Kind, Number, Shape};

/// A record of one length, with every field at a place of its own.
#[derive(Debug)]
pub(super) struct Template {
    length: usize,
    /// Eight bytes at a time; the last eight may overlap those before.
    words: Vec<Word>,
    last: Word,
    pub(super) fields: Vec<Place>,
}

/// Eight bytes of a record: those under the mask are the same in every one.
#[derive(Clone, Copy, Debug)]
struct Word {
    bytes: u64,
    mask: u64,
}

impl Word {
    fn of(record: [u8; 8], varies: [bool; 8]) -> Self {
        let mask = u64::from_le_bytes(varies.map(|varies| if varies { 0 } else { 0xff }));
        Word {
            bytes: u64::from_le_bytes(record) & mask,
            mask,
        }
    }

    /// What differs, if anything.
    fn difference(self, record: [u8; 8]) -> u64 {
        (u64::from_le_bytes(record) & self.mask) ^ self.bytes
    }
}

/// Where a field stands, and what it is for.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) form: Form,
    pub(super) roles: Box<[Role]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    /// Digits before the point, and after it.
    Number {
        negative: bool,
        whole: usize,
        decimals: Option<usize>,
    },
}

impl Template {
    /// The template of a record that the shape reads; `None` when it is too short to pay.
    pub(super) fn of(shape: &Shape, record: &[u8]) -> Option<Self> {
        let (mut fields, mut varies, mut at) = (Vec::new(), vec![false; record.len()], 0);
        for field in &shape.fields {
            at += field.before.len();
            let rest = record.get(at..)?;
            let (length, form) = match field.kind {
                Kind::Text => (rest.iter().position(|byte| *byte == b'"')?, Form::Text),
                Kind::Number => {
                    let (number, after) = Number::read(rest)?;
                    let length = rest.len() - after.len();
                    let point = usize::from(number.decimals.is_some());
                    let decimals = number.decimals.unwrap_or(0);
                    let whole = length - usize::from(number.negative) - point - decimals;
                    let form = Form::Number {
                        negative: number.negative,
                        whole,
                        decimals: number.decimals,
                    };
                    (length, form)
                }
            };
            for (byte, varies) in rest.iter().zip(&mut varies[at..]).take(length) {
                *varies = matches!(form, Form::Text) || byte.is_ascii_digit();
            }
            fields.push(Place {
                start: at,
                length,
                form,
                roles: field.roles.clone(),
            });
            at += length;
        }
        let (words, _) = record.as_chunks::<8>();
        let (masks, _) = varies.as_chunks::<8>();
        let words = words.iter().zip(masks);
        Some(Template {
            length: record.len(),
            words: words
                .map(|(bytes, varies)| Word::of(*bytes, *varies))
                .collect(),
            last: Word::of(*record.last_chunk()?, *varies.last_chunk()?),
            fields,
        })
    }

    /// True when the record has this length, and is the same wherever records of the template are.
    pub(super) fn fits(&self, record: &[u8]) -> bool {
        let (true, Some(last)) = (record.len() == self.length, record.last_chunk()) else {
            return false;
        };
        let (words, _) = record.as_chunks::<8>();
        let difference = words
            .iter()
            .zip(&self.words)
            .fold(self.last.difference(*last), |all, (bytes, word)| {
                all | word.difference(*bytes)
            });
        difference == 0
    }
}

impl Place {
    /// The number that stands here; `None` when there is anything but digits, or a zero before other digits.
    pub(super) fn number(&self, token: &[u8]) -> Option<Number> {
        let Form::Number {
            negative,
            whole,
            decimals,
        } = self.form
        else {
            return None;
        };
        let first = usize::from(negative);
        if whole > 1 && token[first] == b'0' {
            return None;
        }
        let point = first + whole;
        let (mut digits, mut odd) = (0u64, false);
        let fraction = token.get(point + 1..).unwrap_or_default();
        for byte in token[first..point].iter().chain(fraction) {
            let digit = byte.wrapping_sub(b'0');
            odd |= digit > 9;
            digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        (!odd).then(|| Number::of(negative, digits, whole, decimals))
    }
}
