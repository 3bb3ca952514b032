//! The command line and the YAML: nothing is started by a mistake in either.

use serde_json::Value;
use stockstream_tests::{repository, scratch};

use super::assert_ended;
use crate::support::{Spec, files_below, run, run_in, text};

const COMMANDS: [&str; 7] = [
    "dev",
    "worker",
    "kinesis",
    "replay",
    "inspect",
    "validate",
    "completions",
];

#[test]
fn help_of_every_command_has_examples() {
    for command in COMMANDS {
        let help = run(&[command, "--help"]).unwrap().success().unwrap().stdout;
        let (_, examples) = help
            .split_once("Examples:")
            .unwrap_or_else(|| panic!("{command}: {help}"));
        assert!(
            examples.contains(&format!("stockstream {command}")),
            "{command}: {examples}"
        );
    }
    let help = run(&["--help"]).unwrap().success().unwrap().stdout;
    for command in COMMANDS {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} isn't listed: {help}"
        );
    }
}

#[test]
fn completions_of_every_shell_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell])
            .unwrap()
            .success()
            .unwrap()
            .stdout;
        for command in ["dev", "replay", "inspect"] {
            assert!(script.contains(command), "{shell} doesn't know {command}");
        }
    }
    let finished = run(&["completions", "tcsh"]).unwrap();
    assert_ended(&finished, 2, &["tcsh", "bash"]);
}

#[test]
fn a_mistyped_command_or_option_is_bad_input() {
    assert_ended(&run(&["devv"]).unwrap(), 2, &["devv", "dev"]);
    assert_ended(&run(&["worker"]).unwrap(), 2, &["--file"]);
    let finished = run(&["dev", "-f", "examples/quickstart.yaml", "--once"]).unwrap();
    assert_ended(&finished, 2, &["--replay"]);
    let finished = run(&["dev", "-f", "examples/quickstart.yaml", "--listen", "8080"]).unwrap();
    assert_ended(&finished, 2, &["--listen", "8080"]);
}

#[test]
fn an_unknown_field_is_answered_with_the_one_that_was_meant_and_nothing_is_started() {
    let directory = scratch().unwrap();
    let good = std::fs::read_to_string(repository().join("examples/quickstart.yaml")).unwrap();
    let bad = good.replace("watermarkDelay:", "watermarkDely:");
    assert_ne!(good, bad);
    std::fs::write(directory.path().join("bad.yaml"), bad).unwrap();
    for command in ["dev", "worker", "validate"] {
        let finished = run_in(directory.path(), &[command, "-f", "bad.yaml"]).unwrap();
        assert_ended(
            &finished,
            2,
            &["bad.yaml", "spec.window.watermarkDely", "watermarkDelay"],
        );
        assert_eq!(finished.stdout, "");
    }
    let left = files_below(directory.path()).unwrap();
    assert_eq!(left.len(), 1, "nothing is made: {left:?}");
    assert!(!directory.path().join(".stockstream").exists());
}

#[test]
fn every_mistake_is_told_with_path_found_and_allowed() {
    let directory = scratch().unwrap();
    let file = directory.path().join("p.yaml");
    let spec = Spec::of_stream(directory.path(), "bad name")
        .window("size: fortnight")
        .output("compression: rar");
    let yaml = spec.write(&file).unwrap();
    let finished = run(&["validate", "-f", &yaml]).unwrap();
    assert_ended(
        &finished,
        2,
        &[
            "spec.source.kinesis.streamName",
            "bad name",
            "spec.window.size",
            "fortnight",
            "spec.output.compression",
            "rar",
            "zstd",
        ],
    );
    let finished = run(&["validate", "-f", &yaml, "-o", "json"]).unwrap();
    assert_ended(&finished, 2, &[]);
    let told: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(told["valid"], false);
    let errors = told["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{told:#}");
    for path in [
        "spec.source.kinesis.streamName",
        "spec.window.size",
        "spec.output.compression",
    ] {
        assert!(
            errors.iter().any(|error| error["path"] == path),
            "{path}: {told:#}"
        );
    }

    let finished = run(&["validate", "-f", "examples/quickstart.yaml", "-o", "json"]).unwrap();
    let told: Value = serde_json::from_str(&finished.success().unwrap().stdout).unwrap();
    assert_eq!(told["valid"], true);
    assert_eq!(told["errors"], serde_json::json!([]));
}

#[test]
fn yaml_that_is_missing_double_or_no_yaml_is_bad_input() {
    let directory = scratch().unwrap();
    let missing = text(&directory.path().join("none.yaml")).unwrap();
    for command in ["dev", "worker", "validate"] {
        let finished = run_in(directory.path(), &[command, "-f", &missing]).unwrap();
        assert_ended(&finished, 2, &["none.yaml", "No such file"]);
    }
    let good = std::fs::read_to_string(repository().join("examples/quickstart.yaml")).unwrap();
    let two = directory.path().join("two.yaml");
    std::fs::write(&two, format!("{good}---\n{good}")).unwrap();
    let finished = run_in(directory.path(), &["dev", "-f", "two.yaml"]).unwrap();
    assert_ended(&finished, 2, &["two.yaml", "one document"]);
    let broken = directory.path().join("broken.yaml");
    std::fs::write(&broken, "spec: [unclosed").unwrap();
    assert_ended(
        &run_in(directory.path(), &["validate", "-f", "broken.yaml"]).unwrap(),
        2,
        &["broken.yaml"],
    );
    std::fs::write(&broken, vec![b'#'; (1 << 20) + 1]).unwrap();
    let finished = run_in(directory.path(), &["validate", "-f", "broken.yaml"]).unwrap();
    assert_ended(&finished, 2, &["1048577 bytes", "1048576"]);
    assert!(!directory.path().join(".stockstream").exists());
}

#[test]
fn a_replay_of_nothing_says_so() {
    let directory = scratch().unwrap();
    let data = text(&directory.path().join("data")).unwrap();
    let finished = run(&[
        "dev",
        "-f",
        "examples/quickstart.yaml",
        "--replay",
        "none.csv",
        "--once",
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
    ])
    .unwrap();
    assert_ended(&finished, 2, &["none.csv", "check the spelling"]);
    assert!(
        !std::path::Path::new(&data).exists(),
        "something was started"
    );
    let finished = run(&[
        "replay",
        "none.csv",
        "--stream",
        "s",
        "--endpoint-url",
        "http://127.0.0.1:9",
    ])
    .unwrap();
    assert_ended(&finished, 1, &["none.csv", "check the spelling"]);
}

#[test]
fn inspecting_what_is_not_there_says_so_and_makes_nothing() {
    let directory = scratch().unwrap();
    let none = text(&directory.path().join("none")).unwrap();
    for (what, path) in [
        ("checkpoint", format!("{none}/1.ckpt")),
        ("shards", none.clone()),
        ("members", none.clone()),
        ("lineage", none.clone()),
        ("file", format!("{none}/rows.parquet")),
    ] {
        let finished = run(&["inspect", what, &path]).unwrap();
        assert_ended(&finished, 1, &["none"]);
        assert_eq!(finished.stdout, "");
    }
    let here = text(directory.path()).unwrap();
    for (what, missing) in [
        ("shards", "no checkpoints"),
        ("lineage", "no checkpoints"),
        ("members", "there are no workers"),
    ] {
        let finished = run(&["inspect", what, &here]).unwrap();
        assert_ended(&finished, 1, &[missing, &here]);
    }
    let foreign = directory.path().join("1.ckpt");
    std::fs::write(&foreign, "not ours").unwrap();
    let foreign = text(&foreign).unwrap();
    assert_ended(
        &run(&["inspect", "checkpoint", &foreign]).unwrap(),
        1,
        &[&foreign, "STKCKPT"],
    );
    assert_ended(
        &run(&["inspect", "file", &foreign]).unwrap(),
        1,
        &[&foreign],
    );
    assert!(!directory.path().join("none").exists());
}

const QUICKSTART: &str = "examples/quickstart.yaml";

fn json_of(arguments: &[&str]) -> Value {
    let finished = run(&[arguments, &["-o", "json"]].concat()).unwrap();
    serde_json::from_str(&finished.success().unwrap().stdout).unwrap()
}

#[test]
fn many_small_files_are_told_before_they_are_written() {
    let finished = run(&["validate", "-f", QUICKSTART, "--tickers", "5000"]).unwrap();
    let told = finished.success().unwrap().stdout;
    for word in [
        "is valid",
        "5,000 files",
        "output.publishInterval",
        "output.partitionBy",
        "$ a month",
    ] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
    let many = json_of(&["validate", "-f", QUICKSTART, "--tickers", "5000"]);
    assert_eq!(many["valid"], true);
    assert_eq!(many["warnings"].as_array().unwrap().len(), 1, "{many:#}");
    let few = json_of(&["validate", "-f", QUICKSTART, "--tickers", "50"]);
    assert_eq!(few["warnings"], serde_json::json!([]));
}

#[test]
fn a_pipelines_cost_is_told_by_request_and_grows_with_its_shards() {
    let people = run(&["inspect", "cost", "-f", QUICKSTART])
        .unwrap()
        .success()
        .unwrap()
        .stdout;
    for word in ["us-east-1", "shard-hour", "checkpoints", "files of rows"] {
        assert!(people.contains(word), "no {word:?} in {people}");
    }
    let dollars = |arguments: &[&str]| {
        let cost = json_of(&[&["inspect", "cost", "-f", QUICKSTART], arguments].concat());
        let items = cost["items"].as_array().unwrap();
        let items = items
            .iter()
            .map(|item| item["dollarsPerMonth"].as_f64().unwrap());
        let (all, total) = (
            items.sum::<f64>(),
            cost["dollarsPerMonth"].as_f64().unwrap(),
        );
        assert!((all - total).abs() < 1e-6, "{cost:#}");
        total
    };
    assert!(dollars(&["--shards", "64"]) > dollars(&["--shards", "2"]));
    assert!(dollars(&["--tickers", "5000"]) > dollars(&["--tickers", "50"]));
    let files = run(&["inspect", "cost", "-f", "examples/files.yaml"]).unwrap();
    assert_ended(&files, 2, &["reads files"]);
}
