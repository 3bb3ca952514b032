//! Files as the source: missing, unreadable, damaged, changed.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use stockstream_tests::{Binary, PATIENCE, Process, scratch};

use super::assert_ended;
use crate::support::{Spec, run, run_files, text};

const WORKER: [&str; 4] = ["worker", "--listen", "127.0.0.1:0", "-f"];

fn lines(ticks: u32) -> String {
    (0..ticks)
        .map(|second| {
            let tick = json!({
                "ticker": "AAPL", "timestamp": format!("2024-01-02T14:{:02}:{:02}Z", second / 60, second % 60), "close": 1.5,
            });
            format!("{tick}\n")
        })
        .collect()
}

#[test]
fn a_pattern_without_files_is_bad_input() {
    let directory = scratch().unwrap();
    let pattern = text(&directory.path().join("*.ndjson")).unwrap();
    let spec = Spec::of_files(directory.path(), std::slice::from_ref(&pattern));
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut arguments = WORKER.to_vec();
    arguments.push(&yaml);
    let finished = run(&arguments).unwrap();
    assert_ended(&finished, 2, &["no file matches", &pattern]);
    assert!(
        !spec.output_path.join("_stockstream.json").exists(),
        "nothing is claimed"
    );
    assert!(!spec.state_path.join("pipeline.json").exists());
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let directory = scratch().unwrap();
    let path = directory.path().join("secret.ndjson");
    std::fs::write(&path, lines(10)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let spec = Spec::of_files(directory.path(), &[text(&path).unwrap()]);
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    // Root may read everything: without its capabilities it is as any other user.
    let product = Binary::Product.command().unwrap();
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(product.get_program())
        .args(WORKER)
        .arg(&yaml);
    let finished = Process::spawn(&mut command)
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_ended(&finished, 1, &["secret.ndjson", "ermission denied"]);
}

#[test]
fn a_damaged_file_is_named_with_the_place_and_nothing_of_it_is_counted_twice_later() {
    let directory = scratch().unwrap();
    let path = directory.path().join("ticks.ndjson.gz");
    // A gzip header, and then nothing that inflates.
    std::fs::write(&path, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage").unwrap();
    let spec = Spec::of_files(directory.path(), &[text(&path).unwrap()]);
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut arguments = WORKER.to_vec();
    arguments.push(&yaml);
    let finished = run(&arguments).unwrap();
    assert_ended(&finished, 1, &["ticks.ndjson.gz", "damaged"]);
}

#[test]
fn a_changed_list_of_files_is_refused_and_the_change_named() {
    let directory = scratch().unwrap();
    std::fs::write(directory.path().join("1.ndjson"), lines(100)).unwrap();
    let spec = Spec::of_files(
        directory.path(),
        &[text(&directory.path().join("*.ndjson")).unwrap()],
    );
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let first = run_files(&yaml).unwrap();
    assert_eq!(first["ticks"], 100);
    std::fs::write(directory.path().join("2.ndjson"), lines(50)).unwrap();
    let mut arguments = WORKER.to_vec();
    arguments.push(&yaml);
    let finished = run(&arguments).unwrap();
    assert_ended(
        &finished,
        1,
        &[
            "the files are not those",
            "2.ndjson",
            "state.path",
            "output.path",
        ],
    );
    // As it was, it goes on.
    std::fs::remove_file(directory.path().join("2.ndjson")).unwrap();
    let again = run_files(&yaml).unwrap();
    assert_eq!(again["rows"], 0, "{again:#}");
    assert_eq!(again["sinceBeginning"]["rows"], first["rows"]);
}
