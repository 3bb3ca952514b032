//! What can't be changed for one `state.path`, evaluated by the rules the API server has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/changes.rs"]
mod changes;
mod common;

use changes::{allowed, forbidden};
use common::{MINIMAL, minimal_and, minimal_with};
use stockstream_crds::{Problem, parse, parse_update};

const NEW_STATE: (&str, &str) = ("checkpoints/stock-ticks", "checkpoints/stock-ticks-2");

#[test]
fn what_the_numbers_mean_is_fixed_for_one_state_path() {
    for (path, new) in forbidden() {
        parse(&new).unwrap_or_else(|errors| panic!("{path} is not valid by itself: {errors}"));
        let errors = parse_update(MINIMAL, &new).expect_err(path);
        let paths: Vec<&str> = errors
            .errors()
            .iter()
            .map(|error| error.path.as_str())
            .collect();
        assert_eq!(paths, [path]);
        assert_eq!(errors.errors()[0].problem, Problem::Immutable, "{path}");
        assert!(
            errors.errors()[0].message.contains("state.path"),
            "{errors}"
        );
    }
}

#[test]
fn another_state_path_starts_another_pipeline() {
    for (path, new) in forbidden() {
        let new = new.replace(NEW_STATE.0, NEW_STATE.1);
        parse_update(MINIMAL, &new).unwrap_or_else(|errors| panic!("{path}: {errors}"));
    }
}

#[test]
fn the_source_cannot_change_its_kind() {
    let files = minimal_with(
        "    kinesis:\n      streamName: stock_stream\n",
        "    files: {paths: ['file:///ticks.csv']}\n",
    );
    assert!(parse_update(MINIMAL, &files).is_err());
    assert!(parse_update(&files, MINIMAL).is_err());
    let more = files.replace(
        "['file:///ticks.csv']",
        "['file:///ticks.csv', 'file:///more.csv']",
    );
    let errors = parse_update(&files, &more).unwrap_err();
    assert_eq!(errors.errors()[0].path, "spec.source.files.paths");
}

#[test]
fn an_optional_field_can_neither_change_nor_go() {
    let id = minimal_and("record: {id: trade_id}");
    for new in [MINIMAL.to_owned(), minimal_and("record: {id: other_id}")] {
        let errors = parse_update(&id, &new).unwrap_err();
        assert_eq!(errors.errors()[0].path, "spec.record.id");
    }
    parse_update(&id, &id).unwrap();
}

#[test]
fn everything_else_may_change() {
    for new in allowed() {
        parse_update(MINIMAL, &new).unwrap_or_else(|errors| panic!("{new}: {errors}"));
    }
}
