#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

#[test]
fn the_page_asks_for_each_file_by_a_name_with_its_hash() {
    let assets = assets();
    let html = String::from_utf8_lossy(&assets.html);
    for asset in &assets.files {
        assert!(html.contains(&asset.path[1..]), "{}: {html}", asset.path);
    }
    // Relative, so that it works below a path, too; and nothing inline, which the policy would refuse.
    assert!(!html.contains("=\"/") && !html.contains("style="), "{html}");
    assert!(
        !html.contains("<script>") && !html.contains("<style"),
        "{html}"
    );
}

/// `worker/web` of the checkout that runs this.
fn web() -> PathBuf {
    let run = std::env::var_os("CARGO_MANIFEST_DIR");
    PathBuf::from(run.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())).join("web")
}

fn hashes(directory: &Path, root: &Path, into: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        if name == "dist" || name == "node_modules" {
            continue;
        }
        if path.is_dir() {
            hashes(&path, root, into);
            continue;
        }
        let mut hash = String::new();
        for byte in Sha256::digest(std::fs::read(&path).unwrap()) {
            write!(hash, "{byte:02x}").unwrap();
        }
        into.insert(format!("./{name}"), hash);
    }
}

#[test]
fn the_built_page_is_not_stale() {
    let web = web();
    let mut now = BTreeMap::new();
    hashes(&web, &web, &mut now);
    let built = std::fs::read_to_string(web.join("dist/sources.sha256")).unwrap();
    let built: BTreeMap<String, String> = built
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect();
    assert_eq!(
        now, built,
        "worker/web/dist was built from another source: run `make web`, and commit what it wrote"
    );
}

#[test]
fn what_pins_packages_names_no_registry() {
    let lock = std::fs::read_to_string(web().join("package-lock.json")).unwrap();
    assert!(
        !lock.contains("\"resolved\""),
        "run npm with worker/web/.npmrc"
    );
    assert!(lock.contains("\"node_modules/lightweight-charts\""));
}
