//! Running figures of a window.
//!
//! Owns the arithmetic of each function and the slots it keeps. Must never depend on how ticks were batched: figures
//! are a fold over ticks in the shard's order.

use crate::plan::{Aggregate, Function};
use crate::row::Value;
use crate::tick::BlockRun;
use crate::tick::numbers::present;

/// One aggregate, compiled: where its inputs stand among a tick's numbers and its slots in a window's state.
#[derive(Clone, Debug)]
struct Step {
    function: Function,
    /// Index of the field among the tick's numbers.
    field: usize,
    /// Index of the volume among the tick's numbers (vwap only).
    volume: usize,
    /// First slot.
    slot: usize,
}

/// A list of aggregates, compiled to steps over an array of slots.
///
/// A longer list that begins with a shorter one gives the same slots to the shared part, so that windows opened
/// before aggregates were added keep working with the longer list.
#[derive(Clone, Debug, Default)]
pub struct Program {
    steps: Vec<Step>,
    slots: usize,
}

impl Program {
    /// Compiles `aggregates`; `index_of` says where a JSON key stands among a tick's numbers.
    pub fn new(
        aggregates: &[Aggregate],
        volume_key: &str,
        mut index_of: impl FnMut(&str) -> usize,
    ) -> Self {
        let mut steps = Vec::with_capacity(aggregates.len());
        let mut slot = 0;
        for aggregate in aggregates {
            steps.push(Step {
                function: aggregate.function,
                field: index_of(&aggregate.field),
                volume: match aggregate.function {
                    Function::Vwap => index_of(volume_key),
                    _ => 0,
                },
                slot,
            });
            slot += slots_of(aggregate.function);
        }
        Program { steps, slots: slot }
    }

    /// Slots of the whole list.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Slots of the first `count` aggregates.
    pub fn slots_of_first(&self, count: usize) -> usize {
        self.steps.get(count).map_or(self.slots, |step| step.slot)
    }

    /// True when the tick carries a value for at least one of the aggregates' fields.
    pub fn is_usable(&self, numbers: &[f64]) -> bool {
        self.steps.is_empty() || self.steps.iter().any(|step| !numbers[step.field].is_nan())
    }

    /// Adds a tick's numbers to a window's slots, which may belong to a shorter list.
    pub fn add(&self, slots: &mut [f64], numbers: &[f64]) {
        for step in &self.steps {
            let end = step.slot + slots_of(step.function);
            let Some(own) = slots.get_mut(step.slot..end) else {
                return;
            };
            // What this window doesn't compute stays so: a part of its ticks would make a wrong figure.
            let Some(value) = present(numbers[step.field]).filter(|_| !own[0].is_nan()) else {
                continue;
            };
            match step.function {
                Function::Vwap => {
                    if let Some(volume) = present(numbers[step.volume]) {
                        add_weighted(own, value, volume);
                    }
                }
                function => add_value(function, own, value),
            }
        }
    }

    /// As [`Program::add`] of each tick, in their order. The windows' slots stand at their places, so many each; a figure that a
    /// window doesn't compute is NaN in its first slot.
    ///
    /// Aggregate after aggregate, so that each step's way is the same for many ticks; windows' figures don't depend on one
    /// another, and each is made of the same ticks in the same order.
    pub(crate) fn add_run(
        &self,
        slots: &mut [f64],
        stride: usize,
        places: impl Iterator<Item = usize> + Clone,
        ticks: &BlockRun<'_>,
    ) {
        for step in &self.steps {
            let run = Run {
                places: places.clone(),
                stride,
                ticks,
                step,
            };
            match step.function {
                Function::Avg => {
                    run.add::<2>(slots, |own, value| add_value(Function::Avg, own, value))
                }
                Function::Sum => {
                    run.add::<2>(slots, |own, value| add_value(Function::Sum, own, value))
                }
                Function::Min => {
                    run.add::<2>(slots, |own, value| add_value(Function::Min, own, value))
                }
                Function::Max => {
                    run.add::<2>(slots, |own, value| add_value(Function::Max, own, value))
                }
                Function::First => {
                    run.add::<2>(slots, |own, value| add_value(Function::First, own, value))
                }
                Function::Last => {
                    run.add::<2>(slots, |own, value| add_value(Function::Last, own, value))
                }
                Function::Count => {
                    run.add::<1>(slots, |own, value| add_value(Function::Count, own, value))
                }
                Function::Stddev => {
                    run.add::<3>(slots, |own, value| add_value(Function::Stddev, own, value))
                }
                Function::Vwap => run.add_weighted(slots),
            }
        }
    }

    /// The figures of a window's slots, one per aggregate that it knows.
    pub fn finish(&self, slots: &[f64]) -> Vec<Value> {
        self.figures(slots).collect()
    }

    /// As [`Program::finish`], one after the other.
    pub fn figures(&self, slots: &[f64]) -> impl Iterator<Item = Value> {
        self.steps.iter().map_while(|step| {
            let end = step.slot + slots_of(step.function);
            slots
                .get(step.slot..end)
                .map(|own| figure(step.function, own))
        })
    }
}

/// Ticks that a step is done for, and where their windows stand.
struct Run<'a, P> {
    places: P,
    stride: usize,
    ticks: &'a BlockRun<'a>,
    step: &'a Step,
}

impl<P: Iterator<Item = usize>> Run<'_, P> {
    /// `add` to the `N` slots of each tick's window.
    #[inline]
    fn add<const N: usize>(self, slots: &mut [f64], add: impl Fn(&mut [f64; N], f64)) {
        let first = self.step.slot;
        for (place, value) in self.places.zip(self.ticks.column(self.step.field)) {
            let own = slots.get_mut(place * self.stride + first..);
            let Some(own) = own.and_then(|own| own.first_chunk_mut::<N>()) else {
                continue;
            };
            if !value.is_nan() && !own[0].is_nan() {
                add(own, value);
            }
        }
    }

    fn add_weighted(self, slots: &mut [f64]) {
        let first = self.step.slot;
        let values = self.ticks.column(self.step.field);
        let volumes = self.ticks.column(self.step.volume);
        for ((place, value), volume) in self.places.zip(values).zip(volumes) {
            let own = slots.get_mut(place * self.stride + first..);
            let Some(own) = own.and_then(|own| own.first_chunk_mut::<2>()) else {
                continue;
            };
            if !value.is_nan() && !volume.is_nan() && !own[0].is_nan() {
                add_weighted(own, value, volume);
            }
        }
    }
}

/// Slots that a function keeps. Slot 0 is the number of values, but for vwap (Σ field·volume, Σ volume).
fn slots_of(function: Function) -> usize {
    match function {
        Function::Count => 1,
        Function::Stddev => 3,
        _ => 2,
    }
}

/// Moves a window's slots, laid out after `from`, to the places that `to` gives their figures. Figures of `to` in between
/// that the window doesn't compute are marked (NaN in every slot) and stay null.
pub(crate) fn relay(slots: &[f64], from: &[Aggregate], to: &[Aggregate]) -> Vec<f64> {
    let mut rest = slots;
    let mut own: Vec<(&Aggregate, &[f64])> = Vec::new();
    for aggregate in from {
        let Some((head, tail)) = rest.split_at_checked(slots_of(aggregate.function)) else {
            break;
        };
        own.push((aggregate, head));
        rest = tail;
    }
    let known = |aggregate: &Aggregate| own.iter().find(|(other, _)| *other == aggregate);
    let count = to
        .iter()
        .rposition(|aggregate| known(aggregate).is_some())
        .map_or(0, |last| last + 1);
    let mut moved = Vec::with_capacity(slots.len());
    for aggregate in &to[..count] {
        match known(aggregate) {
            Some((_, head)) => moved.extend_from_slice(head),
            None => moved.extend(std::iter::repeat_n(f64::NAN, slots_of(aggregate.function))),
        }
    }
    moved
}

#[inline]
fn add_weighted(own: &mut [f64], value: f64, volume: f64) {
    own[0] += value * volume;
    own[1] += volume;
}

#[inline]
fn add_value(function: Function, own: &mut [f64], value: f64) {
    let first = own[0] == 0.0;
    own[0] += 1.0;
    match function {
        Function::Count | Function::Vwap => {}
        Function::Avg | Function::Sum => own[1] += value,
        Function::Min if first || value < own[1] => own[1] = value,
        Function::Max if first || value > own[1] => own[1] = value,
        Function::First if first => own[1] = value,
        Function::Min | Function::Max | Function::First => {}
        Function::Last => own[1] = value,
        Function::Stddev => {
            // Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", 1962.
            let delta = value - own[1];
            own[1] += delta / own[0];
            own[2] += delta * (value - own[1]);
        }
    }
}

fn figure(function: Function, own: &[f64]) -> Value {
    let count = own[0];
    match function {
        _ if count.is_nan() => Value::Null,
        // Exact: below 2^53.
        #[allow(clippy::cast_possible_truncation)]
        Function::Count => Value::Long(count as i64),
        Function::Vwap if own[1] == 0.0 => Value::Null,
        Function::Vwap => finite(own[0] / own[1]),
        Function::Stddev if count < 2.0 => Value::Null,
        Function::Stddev => finite((own[2] / (count - 1.0)).sqrt()),
        _ if count == 0.0 => Value::Null,
        Function::Avg => finite(own[1] / count),
        _ => finite(own[1]),
    }
}

/// Sums of huge values can overflow; an infinite figure would be a lie, so it is null.
fn finite(value: f64) -> Value {
    if value.is_finite() {
        Value::Double(value)
    } else {
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::numbers::ABSENT;

    fn program(functions: &[Function]) -> Program {
        let aggregates: Vec<_> = functions
            .iter()
            .enumerate()
            .map(|(index, function)| Aggregate {
                name: format!("a{index}"),
                function: *function,
                field: "close".into(),
            })
            .collect();
        Program::new(&aggregates, "volume", |key| usize::from(key == "volume"))
    }

    fn run(functions: &[Function], ticks: &[(Option<f64>, Option<f64>)]) -> Vec<Value> {
        let program = program(functions);
        let mut slots = vec![0.0; program.slots()];
        for (close, volume) in ticks {
            let packed = |number: Option<f64>| number.unwrap_or(ABSENT);
            program.add(&mut slots, &[packed(*close), packed(*volume)]);
        }
        program.finish(&slots)
    }

    const ALL: [Function; 9] = [
        Function::Avg,
        Function::Sum,
        Function::Min,
        Function::Max,
        Function::First,
        Function::Last,
        Function::Count,
        Function::Stddev,
        Function::Vwap,
    ];

    #[test]
    fn every_function_gives_its_figure() {
        let ticks = [
            (Some(2.0), Some(1.0)),
            (None, Some(100.0)),
            (Some(4.0), None),
            (Some(9.0), Some(3.0)),
        ];
        assert_eq!(
            run(&ALL, &ticks),
            [
                Value::Double(5.0),
                Value::Double(15.0),
                Value::Double(2.0),
                Value::Double(9.0),
                Value::Double(2.0),
                Value::Double(9.0),
                Value::Long(3),
                Value::Double(13f64.sqrt()),
                Value::Double((2.0 + 27.0) / 4.0),
            ]
        );
    }

    #[test]
    fn without_values_figures_are_null_and_the_count_is_zero() {
        let figures = run(&ALL, &[(None, Some(1.0))]);
        for (function, figure) in ALL.iter().zip(&figures) {
            let expected = match function {
                Function::Count => Value::Long(0),
                _ => Value::Null,
            };
            assert_eq!(*figure, expected, "{function:?}");
        }
    }

    #[test]
    fn one_value_has_no_deviation_and_no_volume_no_vwap() {
        assert_eq!(
            run(
                &[Function::Stddev, Function::Vwap],
                &[(Some(1.0), Some(0.0))]
            ),
            [Value::Null, Value::Null]
        );
    }

    #[test]
    fn negative_and_zero_extremes_are_kept() {
        let ticks = [(Some(-1.0), None), (Some(-3.0), None)];
        assert_eq!(
            run(&[Function::Min, Function::Max], &ticks),
            [Value::Double(-3.0), Value::Double(-1.0)]
        );
    }

    #[test]
    fn a_window_of_a_shorter_list_ignores_what_was_added() {
        let long = program(&[Function::Avg, Function::Max]);
        let mut slots = vec![0.0; long.slots_of_first(1)];
        long.add(&mut slots, &[3.0, ABSENT]);
        assert_eq!(long.finish(&slots), [Value::Double(3.0)]);
    }

    #[test]
    fn figures_that_a_window_never_computed_stay_null_in_another_order() {
        let figure = |function: Function| Aggregate {
            name: format!("{function:?}"),
            function,
            field: "close".into(),
        };
        let from = [figure(Function::Max), figure(Function::Sum)];
        let to: Vec<Aggregate> = ALL.iter().map(|function| figure(*function)).collect();
        let start =
            |list: &[Aggregate]| Program::new(list, "volume", |key| usize::from(key == "volume"));
        let mut slots = vec![0.0; start(&from).slots()];
        start(&from).add(&mut slots, &[3.0, 1.0]);
        assert_eq!(relay(&slots, &from, &from), slots);
        // A window that was opened before the second figure was added.
        assert_eq!(relay(&slots[..2], &from, &from), slots[..2]);
        let mut moved = relay(&slots, &from, &to);
        start(&to).add(&mut moved, &[5.0, 1.0]);
        assert_eq!(
            start(&to).finish(&moved),
            [
                Value::Null,
                Value::Double(8.0),
                Value::Null,
                Value::Double(5.0)
            ]
        );
        // Moved once more, so that every function stands in between.
        let reversed: Vec<Aggregate> = to.iter().rev().cloned().collect();
        let mut moved = relay(&moved, &to, &reversed);
        start(&reversed).add(&mut moved, &[7.0, 1.0]);
        let figures = start(&reversed).finish(&moved);
        for (aggregate, value) in reversed.iter().zip(&figures) {
            let expected = match aggregate.function {
                Function::Max => Value::Double(7.0),
                Function::Sum => Value::Double(15.0),
                _ => Value::Null,
            };
            assert_eq!(*value, expected, "{}", aggregate.name);
        }
    }

    #[test]
    fn overflow_is_null_not_infinity() {
        let ticks = [(Some(f64::MAX), None), (Some(f64::MAX), None)];
        assert_eq!(run(&[Function::Sum], &ticks), [Value::Null]);
    }
}
