//! Writes the files that are generated from the types, or checks that they are up to date.
//!
//! In the repository's root: `cargo run -p stockstream-crds --bin generate [-- --check] [-- --root DIRECTORY]`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stockstream_crds::reference::generated_files;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Error> {
    let mut check = false;
    let mut root = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--root" => root = Some(arguments.next().ok_or("--root needs a directory")?.into()),
            other => {
                return Err(format!(
                    "unknown argument {other}: --check and --root DIRECTORY are known"
                )
                .into());
            }
        }
    }
    let root = root.map_or_else(repository, Ok)?;
    let mut stale = false;
    for file in generated_files()? {
        let path = root.join(file.path);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        if check {
            stale = true;
            writeln!(
                std::io::stderr(),
                "{} is stale: run `make generate`",
                file.path
            )?;
        } else {
            write(&path, &file.text)?;
            writeln!(std::io::stdout(), "wrote {}", file.path)?;
        }
    }
    Ok(if stale {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let fail = |error| format!("can't write {}: {error}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(fail)?;
    }
    std::fs::write(path, text).map_err(fail)?;
    Ok(())
}

/// The root of the repository is where this is run: where it was compiled may be another checkout.
fn repository() -> Result<PathBuf, Error> {
    match Path::new("crds/Cargo.toml").is_file() {
        true => Ok(PathBuf::from(".")),
        false => Err(
            "this directory isn't the repository's root: go there, or name it with --root".into(),
        ),
    }
}
