#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use clap::error::ErrorKind;

use super::*;
use crate::observe::log::LogFormat;

const COMMANDS: [&str; 8] = [
    "dev",
    "worker",
    "dashboard",
    "kinesis",
    "replay",
    "inspect",
    "validate",
    "completions",
];

const INSPECTED: [&str; 6] = ["checkpoint", "shards", "members", "lineage", "file", "cost"];

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

/// Widest line of a help text; clap wraps what is wider, and a wrapped command is no command.
const WIDEST_HELP: usize = 98;
/// Widest line of an example: examples survive the terminal that everybody has.
const WIDEST_EXAMPLE: usize = 79;

fn help(path: &[&str]) -> String {
    help_at(path, WIDEST_HELP)
}

fn help_at(path: &[&str], width: usize) -> String {
    let mut line = vec!["stockstream"];
    line.extend(path);
    line.push("--help");
    let command = Cli::command().version("0.0.0").term_width(width);
    let error = command.try_get_matches_from(line).unwrap_err();
    assert_eq!(
        (error.kind(), error.exit_code()),
        (ErrorKind::DisplayHelp, 0)
    );
    error.to_string()
}

#[test]
fn the_commands_agree_with_clap() {
    Cli::command().debug_assert();
}

#[test]
fn help_of_every_command() {
    insta::assert_snapshot!("help", help(&[]));
    for command in COMMANDS {
        let text = help(&[command]);
        assert!(text.contains("Examples:\n"), "{command} has no examples");
        insta::assert_snapshot!(format!("help_{command}"), text);
    }
    for what in INSPECTED {
        insta::assert_snapshot!(format!("help_inspect_{what}"), help(&["inspect", what]));
    }
}

#[test]
fn no_help_line_is_wider_than_98_and_no_example_is_wrapped_at_80() {
    let mut paths: Vec<Vec<&str>> = vec![vec![]];
    paths.extend(COMMANDS.map(|command| vec![command]));
    paths.extend(INSPECTED.map(|what| vec!["inspect", what]));
    for path in paths {
        for line in help(&path).lines() {
            assert!(line.chars().count() <= WIDEST_HELP, "{path:?}: {line}");
        }
        let examples = |width| {
            help_at(&path, width)
                .split_once("Examples:\n")
                .map(|(_, examples)| examples.to_owned())
        };
        let narrow = examples(80);
        assert_eq!(narrow, examples(200), "{path:?}: wrapped at 80");
        for line in narrow.iter().flat_map(|examples| examples.lines()) {
            assert!(line.chars().count() <= WIDEST_EXAMPLE, "{path:?}: {line}");
        }
    }
}

/// Every line of an example that starts with our name must parse.
#[test]
fn every_example_in_a_help_text_is_a_command_line_that_parses() {
    let mut tried = 0;
    for command in COMMANDS {
        for line in help(&[command]).replace("\\\n", " ").lines() {
            let line = line.trim();
            let line = line.strip_prefix("AWS_PROFILE=prod ").unwrap_or(line);
            if !line.starts_with("stockstream ") {
                continue;
            }
            let words = line.split_whitespace().take_while(|word| *word != ">");
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}\n{error}"));
            tried += 1;
        }
    }
    assert!(tried >= 14, "only {tried} examples found");
}

#[test]
fn defaults_are_as_documented() {
    let Command::Dev(dev) = parse("stockstream dev -f p.yaml").unwrap().command else {
        panic!("not dev")
    };
    assert_eq!(dev.data_dir.to_str(), Some("./.stockstream"));
    assert!(dev.listen.is_none() && dev.kinesis_listen.is_none() && !dev.once && !dev.memory);
    assert_eq!(dev.output.output, OutputFormat::Text);

    let Command::Kinesis(kinesis) = parse("stockstream kinesis").unwrap().command else {
        panic!("not kinesis")
    };
    assert_eq!(kinesis.listen.to_string(), "127.0.0.1:4567");
    assert!(!kinesis.memory);
}

#[test]
fn global_options_are_taken_before_and_after_the_command() {
    for line in [
        "stockstream --log-format json validate -f p.yaml",
        "stockstream validate -f p.yaml --log-format json",
    ] {
        assert_eq!(
            parse(line).unwrap().global.log_format,
            LogFormat::Json,
            "{line}"
        );
    }
    assert_eq!(
        parse("stockstream --color never validate -f p")
            .unwrap()
            .global
            .color,
        ColourChoice::Never
    );
}

#[test]
fn inspect_takes_the_output_format_after_the_uri() {
    let cli = parse("stockstream inspect shards s3://b/state -o json").unwrap();
    let Command::Inspect(inspect) = cli.command else {
        panic!("not inspect")
    };
    assert_eq!(inspect.output, OutputFormat::Json);
    let InspectWhat::Shards(state) = inspect.what else {
        panic!("not shards")
    };
    assert_eq!(state.uri, "s3://b/state");
    assert_eq!(state.watch.interval(), None);
}

#[test]
fn watch_has_an_interval_of_its_own_and_takes_no_other_word() {
    for (line, every) in [
        ("stockstream inspect members --watch s3://b/state", 2_000),
        (
            "stockstream inspect members s3://b/state --watch=500ms",
            500,
        ),
        ("stockstream inspect members --watch=0s s3://b/state", 100),
    ] {
        let Command::Inspect(inspect) = parse(line).unwrap().command else {
            panic!("not inspect")
        };
        let InspectWhat::Members(state) = inspect.what else {
            panic!("not members")
        };
        let every = std::time::Duration::from_millis(every);
        assert_eq!(
            (state.uri.as_str(), state.watch.interval()),
            ("s3://b/state", Some(every))
        );
    }
}

#[test]
fn bad_usage_exits_with_2_and_says_what_is_wrong() {
    for (line, said) in [
        ("stockstream", "Usage:"),
        ("stockstream frobnicate", "frobnicate"),
        ("stockstream dev", "--file <FILE>"),
        ("stockstream dev -f p.yaml --once", "--replay <PATH>"),
        ("stockstream dev -f p.yaml --listen 8080", "'8080'"),
        ("stockstream dev -f p.yaml --replai x", "--replay"),
        ("stockstream kinesis --memory --data d", "--data <DIR>"),
        ("stockstream kinesis --max-bytes lots", "such as 512MiB"),
        ("stockstream validate -f p.yaml -o yaml", "json"),
        ("stockstream inspect", "Usage:"),
        ("stockstream completions tcsh", "zsh"),
        ("stockstream --color sometimes validate -f p", "never"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(
            error.to_string().contains(said),
            "{line}: {said:?} is missing in\n{error}"
        );
    }
}

#[test]
fn version_is_that_of_the_crate() {
    let error = parse("stockstream --version").unwrap_err();
    assert_eq!(error.exit_code(), 0);
    assert!(
        error
            .to_string()
            .starts_with(concat!("stockstream ", env!("CARGO_PKG_VERSION"))),
        "{error}"
    );
}

#[test]
fn completions_of_every_shell_name_every_command() {
    for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "stockstream", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in [
            "dev",
            "worker",
            "kinesis",
            "replay",
            "inspect",
            "dashboard",
            "validate",
            "completions",
        ] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

/// Commands that only say which of them was called.
struct Recorder;

impl Commands for Recorder {
    async fn dev(&self, _: &GlobalArgs, _: DevArgs) -> Outcome {
        Err(Failure::bad_input("dev"))
    }
    async fn worker(&self, _: &GlobalArgs, _: WorkerArgs) -> Outcome {
        Err(Failure::failed("worker"))
    }
    async fn kinesis(&self, _: &GlobalArgs, _: KinesisArgs) -> Outcome {
        Err(Failure::failed("kinesis"))
    }
    async fn replay(&self, _: &GlobalArgs, _: crate::replay::ReplayArgs) -> Outcome {
        Err(Failure::failed("replay"))
    }
    async fn inspect(&self, _: &GlobalArgs, _: InspectArgs) -> Outcome {
        Err(Failure::failed("inspect"))
    }
    async fn dashboard(&self, _: &GlobalArgs, _: DashboardArgs) -> Outcome {
        Err(Failure::failed("dashboard"))
    }
    async fn validate(&self, _: &GlobalArgs, _: ValidateArgs) -> Outcome {
        Err(Failure::failed("validate"))
    }
}

#[tokio::test]
async fn each_command_line_reaches_its_command() {
    for (line, name) in [
        ("stockstream dev -f p", "dev"),
        ("stockstream worker -f p", "worker"),
        ("stockstream kinesis", "kinesis"),
        ("stockstream replay rows.csv --stream s", "replay"),
        ("stockstream inspect file x", "inspect"),
        ("stockstream dashboard -f p", "dashboard"),
        ("stockstream validate -f p", "validate"),
    ] {
        let failure = dispatch(parse(line).unwrap(), &Recorder).await.unwrap_err();
        assert_eq!(failure.render(false), format!("error: {name}\n"));
    }
}
