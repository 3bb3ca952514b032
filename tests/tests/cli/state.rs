//! State and output that belong to another, are gone, or are damaged: refused in words, and left as they are.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stockstream_tests::{Finished, scratch};

use super::assert_ended;
use crate::support::{Spec, files_below, run, run_files, text};

/// A pipeline over a small file that has run once.
struct Done {
    directory: tempfile::TempDir,
    spec: Spec,
    yaml: String,
    summary: Value,
}

fn done() -> Done {
    let directory = scratch().unwrap();
    let path = directory.path().join("ticks.ndjson");
    let ticks: String = (0..300)
        .map(|second| {
            let time = format!("2024-01-02T14:{:02}:{:02}Z", second / 60, second % 60);
            format!(
                "{}\n",
                json!({"ticker": "AAPL", "timestamp": time, "close": second})
            )
        })
        .collect();
    std::fs::write(&path, ticks).unwrap();
    let spec = Spec::of_files(directory.path(), &[text(&path).unwrap()]).unpartitioned();
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let summary = run_files(&yaml).unwrap();
    assert_eq!(summary["rows"], 5);
    Done {
        directory,
        spec,
        yaml,
        summary,
    }
}

impl Done {
    fn run_again(&self) -> Finished {
        worker(&self.yaml)
    }

    /// Runs a changed spec.
    fn run_changed(&self, change: impl FnOnce(&mut Spec)) -> Finished {
        let mut spec = self.spec.clone();
        change(&mut spec);
        worker(
            &spec
                .write(&self.directory.path().join("changed.yaml"))
                .unwrap(),
        )
    }

    /// The newest version of the only chain.
    fn newest(&self) -> PathBuf {
        let mut versions: Vec<PathBuf> = files_below(&self.spec.state_path)
            .unwrap()
            .into_iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "ckpt")
            })
            .collect();
        assert!(versions.len() > 1, "{versions:?}");
        versions.pop().unwrap()
    }

    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        contents(&self.spec.output_path)
    }
}

fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    };
    files_below(directory)
        .unwrap()
        .into_iter()
        .map(read)
        .collect()
}

fn worker(yaml: &str) -> Finished {
    run(&["worker", "-f", yaml, "--listen", "127.0.0.1:0"]).unwrap()
}

#[test]
fn an_output_path_of_another_pipeline_is_refused() {
    let done = done();
    let before = done.contents();
    let finished =
        done.run_changed(|spec| spec.state_path = done.directory.path().join("other-state"));
    assert_ended(
        &finished,
        1,
        &["output path", "default/suite", "output.path"],
    );
    let other = done.directory.path().join("other-state");
    std::fs::remove_dir_all(&other).unwrap();
    let finished = done.run_changed(|spec| {
        spec.name = "another".to_owned();
        spec.state_path = other;
    });
    assert_ended(
        &finished,
        1,
        &["output path", "default/suite", "output.path"],
    );
    assert_eq!(done.contents(), before);
}

#[test]
fn an_output_path_of_another_pipeline_with_state_of_its_own_is_refused() {
    let (one, other) = (done(), done());
    // The other's own state exists, so this isn't state that was removed; its output becomes the first one's.
    let finished = other.run_changed(|spec| spec.output_path = one.spec.output_path.clone());
    assert_ended(&finished, 1, &["spec.output.path", "state path"]);
    let fresh = scratch().unwrap();
    let finished = one.run_changed(|spec| {
        spec.state_path = fresh.path().join("state");
        spec.output_path = other.spec.output_path.clone();
    });
    assert_ended(&finished, 1, &["output path", "belongs to the state"]);
}

#[test]
fn a_state_path_of_another_pipeline_is_refused() {
    let done = done();
    let finished = done.run_changed(|spec| {
        spec.name = "another".to_owned();
        spec.output_path = done.directory.path().join("other-rows");
    });
    assert_ended(
        &finished,
        1,
        &[
            "state path",
            "default/suite",
            "metadata.name is another",
            "spec.output.path",
        ],
    );
    let rows = files_below(&done.directory.path().join("other-rows")).unwrap();
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn what_the_numbers_mean_can_not_change_for_one_state_path() {
    let done = done();
    let finished = done.run_changed(|spec| spec.window.push("size: 5m".to_owned()));
    assert_ended(
        &finished,
        1,
        &["spec.window.size is 300 s, the state says 60 s"],
    );
    let finished = done.run_changed(|spec| spec.record.push("close: price".to_owned()));
    assert_ended(&finished, 1, &["spec.record"]);
}

#[test]
fn state_that_was_removed_while_the_output_stays_is_refused() {
    let done = done();
    let before = done.contents();
    std::fs::remove_dir_all(&done.spec.state_path).unwrap();
    assert_ended(
        &done.run_again(),
        1,
        &[
            "there is no state under",
            "Rows would be written twice",
            "output.path",
        ],
    );
    assert_eq!(done.contents(), before, "nothing is written");
    let chains: Vec<_> = files_below(&done.spec.state_path).unwrap();
    assert!(
        chains
            .iter()
            .all(|path| path.extension().is_none_or(|extension| extension != "ckpt")),
        "{chains:?}"
    );
}

#[test]
fn a_truncated_newest_checkpoint_is_named_and_never_skipped() {
    let done = done();
    let newest = done.newest();
    let whole = std::fs::read(&newest).unwrap();
    let before = done.contents();
    for keep in [0, 7, 59, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&newest, &whole[..keep]).unwrap();
        let name = text(&newest).unwrap();
        assert_ended(
            &done.run_again(),
            1,
            &[&name, "newest version of its chain"],
        );
        assert_eq!(done.newest(), newest, "no version is made after it");
        let inspected = run(&["inspect", "checkpoint", &name]).unwrap();
        assert_ended(&inspected, 1, &[&name]);
        assert_eq!(done.contents(), before);
    }
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&newest, damaged).unwrap();
    assert_ended(&done.run_again(), 1, &["SHA-256"]);
    // Restored as the message says, it goes on.
    std::fs::write(&newest, whole).unwrap();
    let again = run_files(&done.yaml).unwrap();
    assert_eq!(again["rows"], 0, "{again:#}");
    assert_eq!(again["sinceBeginning"]["rows"], done.summary["rows"]);
    assert_eq!(done.contents(), before);
}

#[test]
fn a_checkpoint_of_a_future_release_is_named_and_never_skipped() {
    let done = done();
    let newest = done.newest();
    let mut future = std::fs::read(&newest).unwrap();
    future[8..10].copy_from_slice(&9u16.to_le_bytes());
    std::fs::write(&newest, &future).unwrap();
    let name = text(&newest).unwrap();
    assert_ended(&done.run_again(), 1, &[&name, "format 9", "newer"]);
    assert_eq!(
        std::fs::read(&newest).unwrap(),
        future,
        "it is left as it is"
    );
    assert_eq!(done.newest(), newest);
    let state = text(&done.spec.state_path).unwrap();
    let shards = run(&["inspect", "shards", &state, "-o", "json"]).unwrap();
    assert_eq!(shards.status.code(), Some(1), "an unreadable line fails");
    let shards: Value = serde_json::from_str(&shards.stdout).unwrap();
    assert!(
        shards[0]["error"].as_str().unwrap().contains("format 9"),
        "{shards:#}"
    );
}

#[test]
fn documents_that_can_not_be_read_are_named() {
    let done = done();
    for (directory, name) in [
        (&done.spec.state_path, "pipeline.json"),
        (&done.spec.output_path, "_stockstream.json"),
    ] {
        let path = directory.join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_ended(
            &done.run_again(),
            1,
            &[&text(&path).unwrap(), "can't be read"],
        );
        std::fs::write(&path, whole).unwrap();
    }
    let again = run_files(&done.yaml).unwrap();
    assert_eq!(again["rows"], 0, "{again:#}");
    assert_eq!(again["sinceBeginning"]["rows"], done.summary["rows"]);
}

#[test]
fn state_and_checkpoints_are_shown_to_people_and_scripts() {
    let done = done();
    let newest = text(&done.newest()).unwrap();
    let people = run(&["inspect", "checkpoint", &newest])
        .unwrap()
        .success()
        .unwrap()
        .stdout;
    for text in ["SHARD_END", "watermark", "300 ticks", "5 published"] {
        assert!(people.contains(text), "no {text:?} in {people}");
    }
    let scripts = run(&["inspect", "checkpoint", &newest, "-o", "json"])
        .unwrap()
        .success()
        .unwrap();
    let scripts: Value = serde_json::from_str(&scripts.stdout).unwrap();
    assert_eq!(scripts["counters"]["ticks"], 300, "{scripts:#}");
    let state = text(&done.spec.state_path).unwrap();
    let people = run(&["inspect", "shards", &state])
        .unwrap()
        .success()
        .unwrap()
        .stdout;
    assert!(people.starts_with("SHARD"), "{people}");
    let scripts = run(&["inspect", "shards", &state, "-o", "json"])
        .unwrap()
        .success()
        .unwrap();
    let scripts: Value = serde_json::from_str(&scripts.stdout).unwrap();
    assert_eq!(scripts.as_array().unwrap().len(), 1);
    assert_eq!(
        (&scripts[0]["ticks"], &scripts[0]["rowsPublished"]),
        (&json!(300), &json!(5))
    );
}
