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

/// The generations of a shard that takes over windows from several chains, given each chain's generations and the end
/// of the newest window taken over from it.
///
/// A figure is computed by windows that start at or after the highest of the chains' boundaries for it. For a chain that
/// doesn't name it, that is that end, as for a figure that the YAML adds. Chains without
/// generations have no windows and don't count.
///
/// # Errors
/// The output name to which two chains give different meanings.
pub(crate) fn merged(
    chains: &[(&[Generation], Option<Micros>)],
) -> Result<Vec<Generation>, String> {
    let mut chains: Vec<_> = chains.iter().filter(|(list, _)| !list.is_empty()).collect();
    // The longest list gives the order of the figures; the sort is stable.
    chains.sort_by_key(|(list, _)| std::cmp::Reverse(newest(list).len()));
    let mut figures: Vec<&Aggregate> = Vec::new();
    for (list, _) in &chains {
        for aggregate in newest(list) {
            match figures.iter().find(|own| own.name == aggregate.name) {
                None => figures.push(aggregate),
                Some(own) if *own == aggregate => {}
                Some(_) => return Err(aggregate.name.clone()),
            }
        }
    }
    let mut bounded: Vec<(Micros, &Aggregate)> = figures
        .into_iter()
        .map(|figure| {
            let boundaries = chains
                .iter()
                .map(|(list, newest)| boundary(list, *newest, figure));
            (boundaries.max().unwrap_or(Micros(i64::MIN)), figure)
        })
        .collect();
    bounded.sort_by_key(|(from, _)| *from);
    let mut generations: Vec<Generation> = Vec::new();
    for (from, figure) in bounded {
        match generations.last_mut() {
            Some(last) if last.from == from => last.aggregates.push(figure.clone()),
            last => {
                let mut aggregates = last.map_or(Vec::new(), |last| last.aggregates.clone());
                aggregates.push(figure.clone());
                generations.push(Generation { from, aggregates });
            }
        }
    }
    Ok(generations)
}

/// The first window start from which a chain computes a figure. Figures of its oldest generation have no boundary: it has
/// no window before that, open or to come.
fn boundary(list: &[Generation], newest_end: Option<Micros>, figure: &Aggregate) -> Micros {
    let always = Micros(i64::MIN);
    let named = list
        .iter()
        .position(|generation| generation.aggregates.contains(figure));
    match named {
        Some(0) => always,
        Some(index) => list[index].from,
        None => newest_end.unwrap_or(always),
    }
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

    fn generation(from: i64, figures: &[&str]) -> Generation {
        Generation {
            from: Micros(from),
            aggregates: figures
                .iter()
                .map(|name| aggregate(name, Function::Avg))
                .collect(),
        }
    }

    fn merged_names(chains: &[(&[Generation], Option<Micros>)]) -> Vec<(i64, Vec<String>)> {
        merged(chains)
            .unwrap()
            .iter()
            .map(|own| {
                let names = own.aggregates.iter().map(|one| one.name.clone()).collect();
                (own.from.0, names)
            })
            .collect()
    }

    #[test]
    fn merged_chains_take_the_highest_boundary_of_each_figure() {
        let early = [generation(i64::MIN, &["a"]), generation(60, &["a", "b"])];
        let late = [generation(120, &["a", "b"])];
        let all = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            merged_names(&[(&early, None), (&late, None)]),
            [(i64::MIN, all(&["a"])), (60, all(&["a", "b"]))]
        );
        let later = [generation(0, &["a"]), generation(180, &["a", "b"])];
        assert_eq!(
            merged_names(&[(&later, None), (&early, None), (&late, None)]),
            [(i64::MIN, all(&["a"])), (180, all(&["a", "b"]))]
        );
        assert_eq!(
            merged_names(&[(&early, None), (&early, Some(Micros(600)))]),
            [(i64::MIN, all(&["a"])), (60, all(&["a", "b"]))]
        );
        let without = [generation(i64::MIN, &["a"])];
        assert_eq!(
            merged_names(&[(&without, Some(Micros(600))), (&early, None), (&[], None)]),
            [(i64::MIN, all(&["a"])), (600, all(&["a", "b"]))]
        );
        assert_eq!(merged_names(&[(&[], None)]), []);
    }

    #[test]
    fn merged_chains_with_other_orders_or_figures_get_all_of_them() {
        let one = [generation(i64::MIN, &["a", "b", "c"])];
        let two = [generation(i64::MIN, &["a", "c"])];
        let three = [generation(i64::MIN, &["d"])];
        let merged = merged(&[(&two, None), (&three, None), (&one, None)]).unwrap();
        assert_eq!(names(newest(&merged)), ["a", "b", "c", "d"]);
        let other = [Generation {
            from: Micros(0),
            aggregates: vec![aggregate("c", Function::Max)],
        }];
        assert_eq!(
            super::merged(&[(&one, None), (&other, None)]),
            Err("c".to_owned())
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
