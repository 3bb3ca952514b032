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
use super::numbers::ABSENT;
use super::plain::{self, Field, Literal, NumberUse, TextUse};
use super::template::Template;
use super::{Role, Tick, TickParser};

/// Layouts that are kept.
const MOST_SHAPES: usize = 8;

/// Templates that are kept. Each that doesn't fit costs a look at its length, and seldom at more.
pub(super) const MOST_TEMPLATES: usize = 16;

/// With that many templates, each of so many further records makes a new one: a stream whose records are all of other
/// lengths shan't pay for templates.
const TEMPLATE_PATIENCE: u32 = 32;

/// Records in a row that no shape fits, after which only each of so many is learned from: a stream without a layout
/// shan't pay for learning.
const PATIENCE: u32 = 64;

/// The layouts that were met last.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// The one that fitted last comes first.
    shapes: Vec<Shape>,
    /// Records in a row that none fitted.
    misses: u32,
    moments: Moments,
    /// Those that fit most often come first.
    templates: Vec<Template>,
    /// Records that a shape read and no template.
    without_template: u32,
}

/// One layout: text that is the same in each record, and a field after each piece of it but the last.
#[derive(Debug)]
struct Shape {
    fields: Vec<Field>,
    /// What follows the last field.
    end: Literal,
    /// There is no line's end within, nor a part of one at its end.
    is_line: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

impl Shapes {
    /// The tick, when a shape fits; its numbers in `numbers`, which are [`ABSENT`] before, and otherwise.
    pub(super) fn read<'a>(&mut self, data: &'a [u8], numbers: &mut [f64]) -> Option<Ahead<'a>> {
        if let Some((ahead, _)) = self.read_by_template(data, numbers, |rest| rest.is_empty()) {
            return Some(ahead);
        }
        for index in 0..self.shapes.len() {
            match self.read_by(index, data, numbers) {
                Some((ahead, end)) if end == data.len() => {
                    self.misses = 0;
                    if index > 0 {
                        self.shapes[..=index].rotate_right(1);
                    }
                    self.learn_template(data);
                    return Some(ahead);
                }
                _ => numbers.fill(ABSENT),
            }
        }
        None
    }

    /// The tick that begins a text of lines, when it has the shape of the one before; and where its line's content ends.
    pub(super) fn read_line<'a>(
        &mut self,
        text: &'a [u8],
        numbers: &mut [f64],
    ) -> Option<(Ahead<'a>, usize)> {
        let ends_line = |rest: &[u8]| matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]);
        // No line's end is within: no text has one, and neither has the template nor the shape.
        if let Some(found) = self.read_by_template(text, numbers, ends_line) {
            return Some(found);
        }
        if !self.shapes.first()?.is_line {
            return None;
        }
        match self.read_by(0, text, numbers) {
            Some((ahead, end)) if ends_line(&text[end..]) => {
                self.learn_template(&text[..end]);
                Some((ahead, end))
            }
            _ => {
                numbers.fill(ABSENT);
                None
            }
        }
    }

    /// The templates, those that fit most often first.
    pub(super) fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The same, and the moments that were named last.
    pub(super) fn parts(&mut self) -> (&mut [Template], &mut Moments) {
        (&mut self.templates, &mut self.moments)
    }

    /// Takes note of the template that fitted last.
    pub(super) fn prefer(&mut self, index: usize) {
        if index > 0 && index < self.templates.len() {
            self.templates.swap(index - 1, index);
        }
    }

    fn read_by<'a>(
        &mut self,
        index: usize,
        text: &'a [u8],
        numbers: &mut [f64],
    ) -> Option<(Ahead<'a>, usize)> {
        let Shape { fields, end, .. } = self.shapes.get_mut(index)?;
        plain::read(fields, end, text, &mut self.moments, numbers)
    }

    #[inline]
    fn read_by_template<'a>(
        &mut self,
        text: &'a [u8],
        numbers: &mut [f64],
        ends: impl Fn(&[u8]) -> bool,
    ) -> Option<(Ahead<'a>, usize)> {
        for index in 0..self.templates.len() {
            let template = &self.templates[index];
            let length = template.length();
            if !text.get(length..).is_some_and(&ends) {
                continue;
            }
            if let Some(ahead) = template.read(text, &mut self.moments, numbers) {
                self.prefer(index);
                return Some((ahead, length));
            }
            numbers.fill(ABSENT);
        }
        None
    }

    /// Makes a template of a record that the first shape has read and no template.
    fn learn_template(&mut self, record: &[u8]) {
        self.without_template = self.without_template.wrapping_add(1);
        let is_full = self.templates.len() >= MOST_TEMPLATES;
        if is_full && !self.without_template.is_multiple_of(TEMPLATE_PATIENCE) {
            return;
        }
        // One with a line's end within must not be taken for a line.
        let shape = self.shapes.first().filter(|shape| shape.is_line);
        let template = shape.and_then(|shape| Template::of(&shape.fields, &shape.end, record));
        if let Some(template) = template {
            self.templates.truncate(MOST_TEMPLATES - 1);
            self.templates.push(template);
        }
    }

    /// True when a record that no shape fitted is to be learned from, should it be sound.
    pub(super) fn wants_to_learn(&mut self) -> bool {
        self.misses = self.misses.saturating_add(1);
        self.misses <= PATIENCE || self.misses.is_multiple_of(PATIENCE)
    }

    /// Learns the layout of a record that the strict parser has accepted. The volume's number is kept at `volume`.
    pub(super) fn learn(
        &mut self,
        data: &[u8],
        volume: Option<usize>,
        roles: impl Fn(&str) -> Vec<Role>,
    ) {
        let Some(shape) = Shape::of(data, volume, roles) else {
            return;
        };
        self.shapes.truncate(MOST_SHAPES - 1);
        self.shapes.insert(0, shape);
    }
}

impl Shape {
    /// `None` for a layout that can't be kept: objects and arrays within, escapes in keys or texts.
    fn of(data: &[u8], volume: Option<usize>, roles: impl Fn(&str) -> Vec<Role>) -> Option<Self> {
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
                fields.push(field(
                    kind,
                    data.get(begun..value)?,
                    scan.at - value,
                    &roles(key),
                    volume,
                )?);
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
            end: Literal::new(data.get(begun..)?),
            is_line: !data.contains(&b'\n') && data.last() != Some(&b'\r'),
        })
    }
}

/// A field with these roles; `None` when a role has no use for its kind.
fn field(
    kind: Kind,
    before: &[u8],
    length: usize,
    roles: &[Role],
    volume: Option<usize>,
) -> Option<Field> {
    let roles = roles.iter();
    Some(match kind {
        Kind::Text => {
            let uses = roles.map(|role| match role {
                Role::Ticker => Some(TextUse::Ticker),
                Role::EventTime => Some(TextUse::EventTime),
                Role::TradeDate => Some(TextUse::TradeDate),
                Role::Id => Some(TextUse::Id),
                Role::Volume | Role::Number(_) => None,
            });
            Field::text(before, uses.collect::<Option<_>>()?, length)
        }
        Kind::Number => {
            let uses = roles.map(|role| match role {
                Role::Number(index) => Some(NumberUse::Double(*index)),
                Role::Volume => Some(NumberUse::Whole(volume)),
                Role::Id => Some(NumberUse::Id),
                Role::Ticker | Role::EventTime | Role::TradeDate => None,
            });
            Field::number(before, uses.collect::<Option<_>>()?)
        }
    })
}

/// The tick itself: its texts are ASCII.
pub(super) fn tick_of<'a>(ahead: &Ahead<'a>) -> Option<Tick<'a>> {
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
