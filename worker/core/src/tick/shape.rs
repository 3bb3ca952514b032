//! A faster parser before the strict one: records of a stream look alike.
//!
//! Owns shapes: what is the same in all records of one layout (braces, keys, spaces, `null`s), learned from records that
//! the strict parser has accepted. A record that agrees with a shape byte for byte where nothing varies, and has plain
//! strings and plain numbers where something does, is sound JSON with the same keys in the same order, so reading its
//! fields gives what the strict parser would give. Whatever isn't as plain as that is left to the strict parser:
//! escapes, letters outside ASCII, exponents, numbers that a double doesn't hold exactly before they are scaled, and
//! every value that a role refuses, since the reason for a dead letter is the strict parser's to give.

use std::borrow::Cow;

use super::ahead::{Ahead, Moments};
use super::digits::is_plain;
use super::numbers::ABSENT;
use super::scalar::Scalar;
use super::template::Template;
use super::{Fields, Role, Tick, TickParser};

/// Layouts that are kept.
const MOST_SHAPES: usize = 8;

/// Lists of templates.
const LENGTHS: usize = 64;

/// Templates of a list. Few lengths have more: the same fields, one of them longer and another shorter.
const MOST_TEMPLATES: usize = 8;

/// With that many templates, each of so many further records makes a new one: a stream whose records are all of other
/// forms shan't pay for templates.
const TEMPLATE_PATIENCE: u32 = 32;

/// Records in a row that no shape fits, after which only each of so many is learned from: a stream without a layout
/// shan't pay for learning.
const PATIENCE: u32 = 64;

/// Integers up to this are doubles exactly, and scaled by a power of ten up to 10^22 they are rounded once, as a decimal
/// is (Clinger 1990, "How to read floating point numbers accurately").
pub(super) const EXACT: u64 = 1 << 53;

/// So many digits make no more than a `u64` holds.
const WRAPS_NOT: usize = 19;

/// The powers of ten that are doubles exactly.
pub(super) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The layouts that were met last.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// The one that fitted last comes first.
    shapes: Vec<Shape>,
    /// Records in a row that none fitted.
    misses: u32,
    moments: Moments,
    /// By the records' length, modulo [`LENGTHS`]; the one that fitted last comes first.
    templates: Vec<Vec<Template>>,
    /// Records that a shape read and no template.
    without_template: u32,
}

/// One layout: text that is the same in each record, and a field after each piece of it but the last.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) fields: Vec<Field>,
    /// What follows the last field.
    end: Box<[u8]>,
}

/// A field, and the text before it.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) before: Box<[u8]>,
    pub(super) kind: Kind,
    /// None for a key that nobody asks for.
    pub(super) roles: Box<[Role]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Between quotes, which belong to the text around it.
    Text,
    Number,
}

impl Shapes {
    /// The tick, when a shape fits; its numbers in `numbers`, which are as before otherwise.
    pub(super) fn read<'a>(
        &mut self,
        data: &'a [u8],
        volume: Option<usize>,
        numbers: &mut [f64],
    ) -> Option<Tick<'a>> {
        if let Some(ahead) = self.read_ahead(data, numbers) {
            return tick_of_ahead(&ahead);
        }
        for index in 0..self.shapes.len() {
            let shape = &self.shapes[index];
            if let Some(tick) = shape.read(data, volume, numbers, &mut self.moments) {
                self.misses = 0;
                self.shapes[..=index].rotate_right(1);
                self.learn_template(data, volume, numbers.len());
                return Some(tick);
            }
            numbers.fill(ABSENT);
        }
        None
    }

    /// The same by templates only.
    pub(super) fn read_ahead<'a>(
        &mut self,
        data: &'a [u8],
        numbers: &mut [f64],
    ) -> Option<Ahead<'a>> {
        let list = self.templates.get_mut(data.len() % LENGTHS)?;
        let index = list.iter().position(|template| template.fits(data))?;
        if index > 0 {
            list[..=index].rotate_right(1);
        }
        let ahead = list[0].read(data, &mut self.moments, numbers);
        if ahead.is_none() {
            numbers.fill(ABSENT);
        }
        ahead
    }

    /// Makes a template of a record that the first shape has read.
    fn learn_template(&mut self, data: &[u8], volume: Option<usize>, numbers: usize) {
        if self.templates.is_empty() {
            self.templates.resize_with(LENGTHS, Vec::new);
        }
        let list = &mut self.templates[data.len() % LENGTHS];
        self.without_template = self.without_template.wrapping_add(1);
        let is_full = list.len() >= MOST_TEMPLATES;
        if is_full && !self.without_template.is_multiple_of(TEMPLATE_PATIENCE) {
            return;
        }
        if let Some(template) = self
            .shapes
            .first()
            .and_then(|shape| Template::of(shape, data, volume, numbers))
        {
            list.truncate(MOST_TEMPLATES - 1);
            list.insert(0, template);
        }
    }

    /// True when a record that no shape fitted is to be learned from, should it be sound.
    pub(super) fn wants_to_learn(&mut self) -> bool {
        self.misses = self.misses.saturating_add(1);
        self.misses <= PATIENCE || self.misses.is_multiple_of(PATIENCE)
    }

    /// Learns the layout of a record that the strict parser has accepted.
    pub(super) fn learn(&mut self, data: &[u8], roles: impl Fn(&str) -> Vec<Role>) {
        let Some(shape) = Shape::of(data, roles) else {
            return;
        };
        self.shapes.truncate(MOST_SHAPES - 1);
        self.shapes.insert(0, shape);
    }
}

impl Shape {
    /// `None` for a layout that can't be kept: objects and arrays within, escapes in keys or texts.
    fn of(data: &[u8], roles: impl Fn(&str) -> Vec<Role>) -> Option<Self> {
        let mut scan = Scan { data, at: 0 };
        let (mut fields, mut begun) = (Vec::new(), 0);
        scan.spaces();
        scan.byte(b'{')?;
        scan.spaces();
        if scan.peek()? == b'}' {
            return None;
        }
        loop {
            scan.byte(b'"')?;
            let key = scan.text_with_any_letters()?;
            scan.byte(b'"')?;
            scan.spaces();
            scan.byte(b':')?;
            scan.spaces();
            let kind = match scan.peek()? {
                b'"' => {
                    scan.at += 1;
                    Some(Kind::Text)
                }
                b'-' | b'0'..=b'9' => Some(Kind::Number),
                b't' | b'f' | b'n' => None,
                _ => return None,
            };
            let value = scan.at;
            match kind {
                Some(Kind::Text) => drop(scan.text_with_any_letters()?),
                Some(Kind::Number) => {
                    scan.skip(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                }
                None => scan.skip(|byte| byte.is_ascii_alphabetic()),
            }
            if let Some(kind) = kind {
                fields.push(Field {
                    before: data.get(begun..value)?.into(),
                    kind,
                    roles: roles(key).into(),
                });
                begun = scan.at;
                if kind == Kind::Text {
                    scan.at += 1;
                }
            }
            scan.spaces();
            match scan.next()? {
                b',' => scan.spaces(),
                b'}' => break,
                _ => return None,
            }
        }
        Some(Shape {
            fields,
            end: data.get(begun..)?.into(),
        })
    }

    fn read<'a>(
        &self,
        data: &'a [u8],
        volume: Option<usize>,
        numbers: &mut [f64],
        moments: &mut Moments,
    ) -> Option<Tick<'a>> {
        let mut rest = data;
        let mut fields = Fields::default();
        for field in &self.fields {
            rest = rest.strip_prefix(field.before.as_ref())?;
            match field.kind {
                Kind::Text => {
                    let (text, after) = plain_text(rest)?;
                    rest = after;
                    for role in &field.roles {
                        give_text(*role, text, moments, &mut fields)?;
                    }
                }
                Kind::Number => {
                    let (number, after) = Number::read(rest)?;
                    for role in &field.roles {
                        let token = &rest[..rest.len() - after.len()];
                        number.give(*role, token, volume, numbers, &mut fields)?;
                    }
                    rest = after;
                }
            }
        }
        if rest != self.end.as_ref() {
            return None;
        }
        tick_of(fields)
    }
}

/// A shape is learned from ticks only, so its ticker and time are there.
fn tick_of(fields: Fields<'_>) -> Option<Tick<'_>> {
    Some(Tick {
        ticker: fields.ticker?,
        event_time: fields.event_time?,
        trade_date: fields.trade_date,
        id: fields.id,
    })
}

/// The texts are ASCII.
fn tick_of_ahead<'a>(ahead: &Ahead<'a>) -> Option<Tick<'a>> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
    Some(Tick {
        ticker: text(ahead.ticker)?,
        event_time: ahead.event_time,
        trade_date: ahead.trade_date,
        id: match ahead.id {
            Some(id) => Some(text(id)?),
            None => None,
        },
    })
}

/// A text of printable ASCII without escapes, up to its closing quote, and what follows, the quote included.
fn plain_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'"')?;
    let (text, after) = bytes.split_at(end);
    is_plain(text).then_some((text, after))
}

fn give_text<'a>(
    role: Role,
    text: &'a [u8],
    moments: &mut Moments,
    fields: &mut Fields<'a>,
) -> Option<()> {
    let scalar = || {
        std::str::from_utf8(text)
            .ok()
            .map(|text| Scalar::Text(Cow::Borrowed(text)))
    };
    match role {
        Role::Ticker => fields.ticker = Some(super::ticker(&scalar()?).ok()?),
        Role::EventTime => fields.event_time = Some(moments.instant(text)?),
        Role::TradeDate => fields.trade_date = Some(moments.date(text)?),
        Role::Id => fields.id = Some(super::id(&scalar()?).ok()?),
        Role::Volume | Role::Number(_) => return None,
    }
    Some(())
}

/// A JSON number without an exponent (RFC 8259, section 6).
pub(super) struct Number {
    pub(super) negative: bool,
    /// Its digits without the point; more than [`EXACT`] when there are too many.
    pub(super) digits: u64,
    /// Digits after the point; `None` without a point.
    pub(super) decimals: Option<usize>,
}

impl Number {
    /// The number, and what follows it. An exponent is what follows: no shape has one there.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (negative, mut rest) = match bytes.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, bytes),
        };
        let mut digits = 0;
        let whole = take_digits(&mut rest, 0, &mut digits)?;
        if whole.len() > 1 && whole[0] == b'0' {
            return None;
        }
        let mut decimals = None;
        if let Some(mut fraction) = rest.strip_prefix(b".") {
            let taken = take_digits(&mut fraction, whole.len(), &mut digits)?;
            decimals = Some(taken.len());
            rest = fraction;
        }
        let number = Number {
            negative,
            digits,
            decimals,
        };
        Some((number, rest))
    }

    fn value(&self) -> Option<f64> {
        if self.digits > EXACT {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
        let whole = self.digits as f64;
        let value = whole / POWERS.get(self.decimals.unwrap_or(0))?;
        Some(if self.negative { -value } else { value })
    }

    fn give<'a>(
        &self,
        role: Role,
        token: &'a [u8],
        volume: Option<usize>,
        numbers: &mut [f64],
        fields: &mut Fields<'a>,
    ) -> Option<()> {
        match role {
            Role::Number(None) => {
                self.value()?;
            }
            Role::Number(Some(index)) => *numbers.get_mut(index)? = self.value()?,
            Role::Volume => {
                let value = self.value().filter(|value| value.fract() == 0.0)?;
                if let Some(index) = volume {
                    *numbers.get_mut(index)? = value;
                }
            }
            Role::Id => {
                if self.negative || self.decimals.is_some() || self.digits > EXACT {
                    return None;
                }
                fields.id = Some(Cow::Borrowed(std::str::from_utf8(token).ok()?));
            }
            Role::Ticker | Role::EventTime | Role::TradeDate => return None,
        }
        Some(())
    }
}

/// Takes at least one digit, and adds them to those before, of which there are `before`.
fn take_digits<'a>(rest: &mut &'a [u8], before: usize, digits: &mut u64) -> Option<&'a [u8]> {
    let mut count = 0;
    for byte in *rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        count += 1;
        *digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    if before + count > WRAPS_NOT {
        *digits = u64::MAX;
    }
    let (taken, after) = rest.split_at(count);
    *rest = after;
    (count > 0).then_some(taken)
}

/// A walk over a record that is known to be sound JSON.
struct Scan<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn byte(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn skip(&mut self, belongs: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
    }

    fn spaces(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Up to the closing quote, which stays. `None` when there is an escape.
    fn text_with_any_letters(&mut self) -> Option<&'a str> {
        let from = self.at;
        self.skip(|byte| !matches!(byte, b'"' | b'\\'));
        if self.peek()? != b'"' {
            return None;
        }
        std::str::from_utf8(self.data.get(from..self.at)?).ok()
    }
}

impl TickParser {
    /// Every role of a key, in the order in which they are given its value.
    pub(super) fn roles_of(&self, key: &str) -> Vec<Role> {
        let own = self.roles.iter().filter(|(own, _)| own == key);
        own.map(|(_, role)| *role).collect()
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
