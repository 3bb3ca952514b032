//! What users are told about mistakes. Snapshots hold the exact words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
#[path = "common/mistakes.rs"]
mod mistakes;

use std::fmt::Write as _;

use common::{MINIMAL, minimal_and, minimal_with};
use stockstream_crds::error::MAX_ERRORS;
use stockstream_crds::{MAX_TEXT_BYTES, Problem, parse};

/// The rendered errors of each case, one after the other.
fn told(cases: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, spec) in cases {
        let errors = match parse(spec) {
            Ok(_) => panic!("{name} was accepted:\n{spec}"),
            Err(errors) => errors.render("pipeline.yaml"),
        };
        writeln!(text, "### {name}\n{errors}").unwrap();
    }
    text
}

#[test]
fn text_that_is_not_one_stock_stream() {
    insta::assert_snapshot!(told(&mistakes::texts()));
}

#[test]
fn fields_that_are_unknown_missing_or_of_another_type() {
    insta::assert_snapshot!(told(&mistakes::fields()));
}

#[test]
fn values_that_are_not_allowed() {
    insta::assert_snapshot!(told(&mistakes::values()));
}

#[test]
fn values_that_do_not_fit_together() {
    insta::assert_snapshot!(told(&mistakes::combinations()));
}

#[test]
fn every_mistake_is_told_at_once() {
    let spec = "\
apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata:
  name: Bad Name
spec:
  source:
    kinesis:
      stream: ticks
      retention: 25h30m
  window:
    size: 48h
    watermarkDelay: 2 minutes
    aggregates:
      - {name: a, function: avg}
      - {name: a, function: mean}
      - {name: window_end, function: avg}
  output:
    path: s3://lake/rows
    compression: brotli
  state:
    path: s3://lake/rows/state
    lease: {heartbeat: 4s, expiry: 9s}
  workers: {replica: 3}
";
    let errors = parse(spec).unwrap_err();
    insta::assert_snapshot!("every_mistake_text", errors.render("pipeline.yaml"));
    insta::assert_json_snapshot!("every_mistake_json", errors.to_json("pipeline.yaml"));
}

/// Each of these must be refused, for its size or shape, long before it costs anything.
#[test]
fn hostile_text_is_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(laughs, "a{i}: &a{i} [{items}]").unwrap();
    }
    let wide: String = (0..40_000).map(|i| format!("k{i}: 1\n")).collect();
    let block: String = (0..2_000).fold(String::new(), |text, depth| {
        text + &" ".repeat(depth) + "a:\n"
    });
    let cases = [
        ("ten megabytes", format!("a: {}", "x".repeat(10 << 20))),
        ("deep brackets", "[".repeat(100_000)),
        ("deep maps", "{a: ".repeat(10_000)),
        ("deep blocks", block),
        ("a billion laughs", laughs),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("many fields", wide),
        (
            "a long key, marked as key",
            format!("{MINIMAL}? {}\n: 1\n", "k".repeat(500_000)),
        ),
        ("many questions", "? ".repeat(50_000)),
        (
            "a long key",
            format!("{}: 1\n", "k".repeat(MAX_TEXT_BYTES - 10)),
        ),
        (
            "a long value",
            minimal_with("stock_stream", &"x".repeat(500_000)),
        ),
        ("control characters", "a: \u{0}\u{7}\n".to_owned()),
    ];
    for (name, text) in cases {
        let errors = parse(&text).expect_err(name);
        let rendered = errors.render("pipeline.yaml");
        assert!(
            rendered.len() < 50_000,
            "{name}: {} bytes told",
            rendered.len()
        );
        assert!(errors.errors().len() <= MAX_ERRORS, "{name}");
    }
}

#[test]
fn problems_are_told_apart_for_programs() {
    let problem = |spec: String| parse(&spec).unwrap_err().errors()[0].problem;
    assert_eq!(problem(String::new()), Problem::Syntax);
    assert_eq!(
        problem(minimal_with("v1alpha1", "v1")),
        Problem::WrongResource
    );
    assert_eq!(problem(minimal_and("flink: {}")), Problem::UnknownField);
    assert_eq!(problem(minimal_and("suspend: 1")), Problem::WrongType);
    assert_eq!(
        problem(minimal_and("window: {size: 25h}")),
        Problem::OutOfRange
    );
    assert_eq!(
        problem(minimal_and("suspend: true\nsuspend: true")),
        Problem::Duplicate
    );
}
