//! The images of worker and operator: what is in them, and that the Dockerfile makes the same.
//!
//! `scripts/images.sh` makes them without Docker. The Dockerfile is read here, not run: no suite has Docker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value, json};
use stockstream_tests::{PATIENCE, Process, python_json, repository, scratch};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The stage of the Dockerfile, and the program.
const IMAGES: [(&str, &str); 2] = [
    ("worker", "stockstream"),
    ("operator", "stockstream-operator"),
];
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Of an archive, whose layers are compressed, in bytes.
const MAX_SIZE: u64 = 60_000_000;

fn archive(program: &str) -> PathBuf {
    let folder = std::env::var_os("STOCKSTREAM_IMAGES")
        .expect("STOCKSTREAM_IMAGES isn't set: run `make suite SUITE=images`");
    PathBuf::from(folder).join(format!("{program}-{VERSION}.tar"))
}

/// What an image has in it. Fails unless each digest and size is that of what it names.
fn look(program: &str) -> Value {
    python_json("read_image.py", [archive(program)]).unwrap()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The instructions of one of the Dockerfile's stages after its FROM, which is the first here: name and rest.
fn stage(name: &str) -> Vec<(String, String)> {
    let joined = text("Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let mut instructions = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (instruction, rest) = line.split_once(' ').unwrap();
            (instruction.to_owned(), rest.trim().to_owned())
        })
        .skip_while(|(instruction, rest)| {
            instruction != "FROM" || !rest.ends_with(&format!(" AS {name}"))
        });
    let from = instructions.next();
    let from = from.unwrap_or_else(|| panic!("the Dockerfile has no stage {name}"));
    let rest = instructions.take_while(|(instruction, _)| instruction != "FROM");
    std::iter::once(from).chain(rest).collect()
}

#[test]
fn an_image_has_its_program_and_certificates_and_nothing_else() {
    for (_, program) in IMAGES {
        let image = look(program);
        let directory = |path: &str| json!([path, "directory", "0755", "0:0"]);
        let expected = json!([
            [
                directory("etc"),
                directory("etc/ssl"),
                directory("etc/ssl/certs"),
                [CERTIFICATES, "file", "0644", "0:0"],
            ],
            [[program, "file", "0755", "0:0"]],
        ]);
        assert_eq!(image["layers"], expected, "{program}");
        let certificates = image["certificates"][CERTIFICATES].as_u64().unwrap();
        assert!(certificates > 50, "{program}: {certificates} certificates");
    }
    let [worker, operator] = IMAGES.map(|(_, program)| look(program));
    assert_eq!(
        worker["digests"][0], operator["digests"][0],
        "a node fetches the certificates once"
    );
}

#[test]
fn a_program_needs_nothing_that_isn_t_in_its_image() {
    for (_, program) in IMAGES {
        let image = look(program);
        let elf = &image["programs"][program];
        assert_eq!(elf["interpreter"], Value::Null, "{program}: {elf}");
        assert_eq!(elf["libraries"], 0, "{program}: {elf}");
        let machine = match image["config"]["architecture"].as_str() {
            Some("amd64") => 62_u64,
            Some("arm64") => 183,
            other => panic!("{program}: {other:?}"),
        };
        assert_eq!(elf["machine"], machine, "{program}");
        let platform = json!({"architecture": image["config"]["architecture"], "os": "linux"});
        assert_eq!(image["platform"], platform, "{program}");
    }
}

#[test]
fn an_image_runs_its_program_as_nobody() {
    for (_, program) in IMAGES {
        let image = look(program);
        let config = &image["config"]["config"];
        assert_eq!(config["User"], "65532:65532", "{program}");
        assert_eq!(config["Entrypoint"], json!([format!("/{program}")]));
        assert_eq!(config["Cmd"], Value::Null, "{program}");
        let labels = &config["Labels"];
        assert_eq!(labels["org.opencontainers.image.title"], program);
        assert_eq!(labels["org.opencontainers.image.version"], VERSION);
        assert_eq!(*labels, image["annotations"], "{program}");
        let name = format!("stockstream.dev/{program}:{VERSION}");
        assert_eq!(image["name"], name.as_str(), "what the chart asks for");
    }
}

#[test]
fn an_image_has_less_than_60_mb() {
    for (_, program) in IMAGES {
        let bytes = look(program)["bytes"].as_u64().unwrap();
        assert!(bytes < MAX_SIZE, "{program}: {bytes} bytes");
    }
}

#[test]
fn the_dockerfile_makes_the_same() {
    for (name, program) in IMAGES {
        let mut config = Map::new();
        let mut labels = Map::new();
        let mut paths = Vec::new();
        for (instruction, rest) in stage(name) {
            match instruction.as_str() {
                "FROM" => assert_eq!(rest, format!("scratch AS {name}")),
                "COPY" => {
                    let words: Vec<&str> = rest.split_whitespace().collect();
                    let ["--from=build", _, path] = words[..] else {
                        panic!("{name}: COPY {rest}");
                    };
                    paths.push(path.trim_start_matches('/').to_owned());
                }
                "LABEL" => {
                    let (key, value) = rest.split_once('=').unwrap();
                    labels.insert(key.to_owned(), serde_json::from_str(value).unwrap());
                }
                "WORKDIR" => drop(config.insert("WorkingDir".to_owned(), rest.into())),
                "USER" => drop(config.insert("User".to_owned(), rest.into())),
                "ENTRYPOINT" => {
                    let words: Value = serde_json::from_str(&rest).unwrap();
                    config.insert("Entrypoint".to_owned(), words);
                }
                _ => panic!("{name}: scripts/images.sh knows nothing of {instruction} {rest}"),
            }
        }
        config.insert("Labels".to_owned(), labels.into());

        let image = look(program);
        assert_eq!(image["config"]["config"], Value::Object(config), "{name}");
        let layers = image["layers"].as_array().unwrap().iter();
        let files: Vec<&str> = layers
            .map(|layer| {
                layer.as_array().unwrap().last().unwrap()[0]
                    .as_str()
                    .unwrap()
            })
            .collect();
        assert_eq!(files, paths, "{name}");
    }
}

#[test]
fn the_dockerfile_builds_with_the_toolchain_that_is_pinned() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .expect("a channel")
        .trim_matches('"');
    let build = stage("build");
    let base = format!("docker.io/library/rust:{channel}-bookworm AS build");
    assert_eq!(build[0], ("FROM".to_owned(), base));
    let toolchain = ("ENV".to_owned(), format!("RUSTUP_TOOLCHAIN={channel}"));
    assert!(build.contains(&toolchain), "{build:?}");
}

/// `kind-up` runs where there is Docker, which no suite has; the names it goes by are checked all the same.
#[test]
fn what_runs_on_kind_is_this_version() {
    for file in ["scripts/kind/aws.yaml", "scripts/kind/ticks.yaml"] {
        let manifest = text(file);
        let ours: Vec<&str> = manifest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: stockstream.dev/"))
            .collect();
        assert_eq!(ours, [format!("stockstream:{VERSION}")], "{file}");
    }
    let tests = text("tests/python/servers/moto.in");
    let (_, moto) = tests.trim().rsplit_once("==").unwrap();
    let manifest = text("scripts/kind/aws.yaml");
    let image = format!("image: docker.io/motoserver/moto:{moto}\n");
    assert!(manifest.contains(&image), "no {image}");
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let folder = scratch().unwrap();
    let python = std::env::var_os("STOCKSTREAM_PYTHON")
        .expect("STOCKSTREAM_PYTHON isn't set: run `make suite SUITE=images`");
    let make = |name: &str| {
        // Written again each time: when, isn't to be seen.
        let program = folder.path().join("program");
        std::fs::write(&program, "as good as any").unwrap();
        let archive = folder.path().join(name);
        let mut command = Command::new(&python);
        command
            .current_dir(repository())
            .args(["tests/cluster/image.py", "--label", "a=b"])
            .arg("test.local/program:1")
            .arg(&archive)
            .arg("/opt/program")
            .arg(format!("{}=opt/program:0700", program.display()));
        let made = Process::spawn(&mut command).unwrap().wait(PATIENCE);
        made.unwrap().success().unwrap();
        std::fs::read(archive).unwrap()
    };
    assert!(make("one.tar") == make("two.tar"), "two archives differ");
}
