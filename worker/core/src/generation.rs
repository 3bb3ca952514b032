//! Generations of aggregates: figures may be added while a pipeline lives.
//!
//! Owns which figures a window computes. Must never change what a window that is open already computes, whoever owns
//! the shard: the chain names the figures, not a worker's YAML.

use crate::checkpoint::Generation;
use crate::plan::Aggregate;
use crate::time::Micros;

/// The YAML gives an output name another meaning than the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.window.aggregates: {name:?} is {wanted} in the YAML but {stored} in the pipeline's state. \
     Figures may be added, not changed: give the new figure another name"
)]
pub struct AggregateConflict {
    name: String,
    wanted: String,
    stored: String,
}

/// The figures that new windows compute.
pub fn newest(generations: &[Generation]) -> &[Aggregate] {
    generations
        .last()
        .map_or(&[], |generation| &generation.aggregates)
}

/// The figures of a window that starts at `start`.
pub fn at(generations: &[Generation], start: Micros) -> &[Aggregate] {
    generations
        .iter()
        .rev()
        .find(|generation| generation.from <= start)
        .or(generations.first())
        .map_or(&[], |generation| &generation.aggregates)
}

/// The chain's generations, with what the YAML adds for windows that start at or after `newest_end`, the end of the
/// newest open window. Figures that the YAML no longer names are kept.
///
/// # Errors
/// [`AggregateConflict`] when a name means something else in the YAML.
pub fn with_added(
    stored: &[Generation],
    wanted: &[Aggregate],
    newest_end: Option<Micros>,
) -> Result<Vec<Generation>, AggregateConflict> {
    let mut generations = stored.to_vec();
    let Some(last) = stored.last() else {
        generations.push(Generation {
            from: Micros(i64::MIN),
            aggregates: wanted.to_vec(),
        });
        return Ok(generations);
    };
    let mut aggregates = last.aggregates.clone();
    for aggregate in wanted {
        match aggregates.iter().find(|own| own.name == aggregate.name) {
            None => aggregates.push(aggregate.clone()),
            Some(own) if own == aggregate => {}
            Some(own) => {
                return Err(AggregateConflict {
                    name: aggregate.name.clone(),
                    wanted: describe(aggregate),
                    stored: describe(own),
                });
            }
        }
    }
    if aggregates.len() > last.aggregates.len() {
        let from = newest_end.unwrap_or(last.from).max(last.from);
        generations.push(Generation { from, aggregates });
    }
    Ok(generations)
}

/// Leaves out generations that no window can belong to any more: those whose successor begins at or before `watermark`
/// aligned down to a window, when no window is open before the successor.
pub fn without_past(
    generations: &[Generation],
    oldest_open: Option<Micros>,
    watermark: Option<Micros>,
) -> Vec<Generation> {
    let mut kept = generations.to_vec();
    while let [_, next, ..] = kept.as_slice() {
        let from = next.from;
        let none_open = oldest_open.is_none_or(|start| start >= from);
        let none_to_come = watermark.is_some_and(|watermark| watermark >= from);
        if !(none_open && none_to_come) {
            break;
        }
        kept.remove(0);
    }
    kept
}

fn describe(aggregate: &Aggregate) -> String {
    format!("{:?}({})", aggregate.function, aggregate.field).to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Function;

    fn aggregate(name: &str, function: Function) -> Aggregate {
        Aggregate {
            name: name.into(),
            function,
            field: "close".into(),
        }
    }

    fn names(aggregates: &[Aggregate]) -> Vec<&str> {
        aggregates.iter().map(|own| own.name.as_str()).collect()
    }

    #[test]
    fn an_added_figure_starts_after_the_newest_open_window_and_stands_last() {
        let first = with_added(&[], &[aggregate("a", Function::Avg)], None).unwrap();
        let wanted = [aggregate("b", Function::Max), aggregate("a", Function::Avg)];
        let second = with_added(&first, &wanted, Some(Micros(120))).unwrap();
        assert_eq!(second[1].from, Micros(120));
        assert_eq!(names(newest(&second)), ["a", "b"]);
        assert_eq!(names(at(&second, Micros(60))), ["a"]);
        assert_eq!(names(at(&second, Micros(120))), ["a", "b"]);
        assert_eq!(
            with_added(&second, &wanted, Some(Micros(180))).unwrap(),
            second
        );
    }

    #[test]
    fn a_figure_that_the_yaml_dropped_is_still_computed() {
        let wanted = [aggregate("a", Function::Avg), aggregate("b", Function::Max)];
        let stored = with_added(&[], &wanted, None).unwrap();
        assert_eq!(
            with_added(&stored, &wanted[..1], Some(Micros(60))).unwrap(),
            stored
        );
    }

    #[test]
    fn a_changed_meaning_is_refused_by_name() {
        let stored = with_added(&[], &[aggregate("a", Function::Avg)], None).unwrap();
        let error = with_added(&stored, &[aggregate("a", Function::Max)], None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("\"a\" is max(close) in the YAML but avg(close)")
        );
    }

    #[test]
    fn generations_are_forgotten_only_when_no_window_can_use_them() {
        let stored = with_added(&[], &[aggregate("a", Function::Avg)], None).unwrap();
        let wanted = [aggregate("a", Function::Avg), aggregate("b", Function::Max)];
        let both = with_added(&stored, &wanted, Some(Micros(120))).unwrap();
        assert_eq!(
            without_past(&both, Some(Micros(60)), Some(Micros(60))).len(),
            2
        );
        assert_eq!(
            without_past(&both, Some(Micros(120)), Some(Micros(119))).len(),
            2
        );
        assert_eq!(
            without_past(&both, Some(Micros(120)), Some(Micros(120))).len(),
            1
        );
        assert_eq!(without_past(&both, None, None).len(), 2);
    }
}
