//! A full disk: said in words while the worker lives, and nothing lost or doubled once there is space.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stockstream_tests::{Binary, PATIENCE, Process, python_json, repository, scratch, wait_until};

use crate::support::{Running, Spec, condition, text};

/// Mounts a small disk that only this process sees, leaves a little of it, runs the worker, and keeps what is there.
const SCRIPT: &str = r#"
set -eu
mount -t tmpfs -o size=16m,mode=700 tmpfs "$DISK"
head -c 16m /dev/zero >"$DISK/filler" 2>/dev/null || true
truncate -s -"$FREE" "$DISK/filler"
"$BIN" worker -f "$YAML" --listen 127.0.0.1:0 -o json
cp -r "$DISK/." "$KEPT/"
"#;

#[test]
fn a_full_disk_is_told_and_waited_for_and_the_rows_are_whole() {
    let directory = scratch().unwrap();
    let place = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (ticks, disk, kept) = (place("ticks"), place("disk"), place("kept"));
    let bars = text(&repository().join("examples/data/daily.csv")).unwrap();
    let facts = python_json("golden.py", ["ticks", &bars, &text(&ticks).unwrap()]).unwrap();
    let input = text(&ticks.join("one/ticks.ndjson")).unwrap();
    let spec = Spec::of_files(&disk, std::slice::from_ref(&input))
        .window(&format!("aggregates: {}", facts["aggregates"]));
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut command = in_namespace(&disk, &kept, &yaml);
    let mut worker = Running::of(Process::spawn(&mut command).unwrap()).unwrap();

    // Room for the start and some files, not for all.
    worker
        .process
        .wait_for_line(PATIENCE, |line| {
            line.contains("no space is left on the disk")
        })
        .unwrap();
    let state = worker
        .wait_for_state("the condition", |state| {
            condition(state, "StoreReady").is_some_and(|ready| ready["status"] == "False")
        })
        .unwrap();
    let ready = condition(&state, "StoreReady").unwrap();
    assert_eq!(ready["reason"], "DiskFull", "{ready}");
    assert!(
        ready["message"].as_str().unwrap().contains("free some"),
        "{ready}"
    );
    assert!(worker.process.is_running().unwrap());

    let seen_from_here = seen_through(worker.process.id(), &disk);
    std::fs::remove_file(seen_from_here.join("filler")).unwrap();
    let ended = worker.process.wait(PATIENCE).unwrap().success().unwrap();
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(summary["ticks"], facts["ticks"]);

    let compared = python_json(
        "golden.py",
        ["compare", &text(&kept.join("rows")).unwrap(), &input],
    )
    .unwrap();
    for kind in ["wrong", "missing", "unknown", "doubled"] {
        assert_eq!(compared[kind], json!([]), "{kind}: {compared:#}");
    }
    assert_eq!(compared["found"], summary["rows"]);
    assert!(compared["found"].as_u64() > Some(400), "{compared}");
}

/// The script in mount and user namespaces of its own: no right of this machine's is needed, and nothing stays mounted.
fn in_namespace(disk: &Path, kept: &Path, yaml: &str) -> std::process::Command {
    let product = Binary::Product.command().unwrap();
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT])
        .env("BIN", product.get_program())
        .env("DISK", disk)
        .env("KEPT", kept)
        .env("YAML", yaml)
        .env("FREE", "600K");
    command
}

/// A path as a process in another mount namespace sees it. `unshare` becomes the shell, so the id is the shell's.
fn seen_through(id: u32, path: &Path) -> PathBuf {
    let inside = PathBuf::from(format!("/proc/{id}/root")).join(path.strip_prefix("/").unwrap());
    wait_until("the disk", PATIENCE, || {
        Ok(inside.join("filler").exists().then_some(()))
    })
    .unwrap();
    inside
}
