//! Credentials as a pod gets them, and the policy of docs/operations.md.
//!
//! moto issues the credentials, checks every signature and applies the policy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stockstream_tests::servers::{self, BUCKET, S3Server};
use stockstream_tests::{
    Binary, Finished, PATIENCE, Process, python, python_json, repository, scratch, wait_until,
};

use support::{Running, Spec, boto3};

const TOKEN: &str = "a-token-of-the-pod";
const MINUTES: usize = 4;

/// The policy that the page gives, for this bucket, as far as moto applies it: it knows the stream only as `*`, a
/// deletion by its bucket and not its key, and no conditions but those of roles.
fn documented_policy() -> Value {
    let page = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once("```json\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let mut policy: Value =
        serde_json::from_str(&block.replace(":::my-lake", &format!(":::{BUCKET}"))).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement.as_object_mut().unwrap().remove("Condition");
        if statement["Sid"] == "ReadTheStream" {
            statement["Resource"] = json!("*");
        }
        if statement["Sid"] == "Remove" {
            statement["Resource"] = json!(format!("arn:aws:s3:::{BUCKET}"));
        }
    }
    policy
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A stream with ticks, a pipeline, and a role, all at one server.
struct Stage {
    folder: tempfile::TempDir,
    server: servers::Running,
    role: String,
    yaml: String,
}

impl Stage {
    fn set(policy: &Value) -> Stage {
        let folder = scratch().unwrap();
        let server = S3Server::Moto.start().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        boto3("kinesis.py", &server.endpoint, &["create", "ticks", "1"]).unwrap();
        let ticks: String = (0..=MINUTES)
            .map(|minute| {
                let tick = json!({"ticker": "AAPL", "timestamp": format!("2024-01-02T14:3{minute}:05Z"), "close": 1.0});
                format!("{}\n", json!({"key": "AAPL", "data_base64": base64(&tick.to_string())}))
            })
            .collect();
        std::fs::write(at("ticks.ndjson"), ticks).unwrap();
        let put = ["put", "ticks", &at("ticks.ndjson")];
        boto3("kinesis.py", &server.endpoint, &put).unwrap();
        std::fs::write(at("policy.json"), policy.to_string()).unwrap();
        let role = ["role", &server.endpoint, "worker", &at("policy.json")];
        let role = python_json("identity.py", role).unwrap();
        let role = role["arn"].as_str().unwrap().to_owned();
        let spec = Spec::of_stream(folder.path(), "ticks").window("watermarkDelay: 1s");
        let place = |path: &Path| format!("file://{}", path.display());
        let lake = |path: &str| format!("s3://{BUCKET}/{path}");
        let yaml = spec
            .yaml()
            .replace(&place(&spec.output_path), &lake("streaming/avg_1min"))
            .replace(&place(&spec.state_path), &lake("checkpoints/stock-ticks"));
        std::fs::write(at("pipeline.yaml"), yaml).unwrap();
        std::fs::write(at("token"), TOKEN).unwrap();
        Stage {
            yaml: at("pipeline.yaml"),
            folder,
            server,
            role,
        }
    }

    fn token(&self) -> String {
        self.folder
            .path()
            .join("token")
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// From now on nothing passes that isn't signed and allowed.
    fn enforce(&self) {
        python_json("identity.py", ["enforce", &self.server.endpoint]).unwrap();
    }

    /// A worker that has no keys but what `environment` leads it to.
    fn worker(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = Binary::Product.command().unwrap();
        command.args(["worker", "--listen", "127.0.0.1:0", "-f", &self.yaml]);
        command.env("AWS_ENDPOINT_URL", &self.server.endpoint);
        command.env_remove("AWS_ACCESS_KEY_ID");
        command.env_remove("AWS_SECRET_ACCESS_KEY");
        command.envs(environment.iter().copied());
        command
    }

    fn worker_of_agent(&self, url: &str) -> Process {
        let mut command = self.worker(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &self.token()),
        ]);
        Process::spawn(&mut command).unwrap()
    }

    /// The agent of the pod's machine, and where it is.
    fn agent(&self) -> (Process, String) {
        let mut command = python("identity.py").unwrap();
        command.args(["agent", &self.server.endpoint, &self.role, TOKEN]);
        let mut agent = Process::spawn(&mut command).unwrap();
        let line = agent.wait_for_line(PATIENCE, |line| line.contains("url"));
        let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
        (agent, told["url"].as_str().unwrap().to_owned())
    }
}

fn until_published(worker: &Running) {
    wait_until("every row", PATIENCE, || {
        let state = worker.state()?;
        Ok((state["totals"]["rowsPublished"] == MINUTES).then_some(()))
    })
    .unwrap();
}

fn must_be_allowed_everything(finished: Finished) {
    let said = finished.success().unwrap().stderr;
    for word in ["denied", "Denied", "Forbidden", "403"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

#[test]
fn pod_identity_is_renewed_and_the_documented_policy_is_enough() {
    let stage = Stage::set(&documented_policy());
    let (agent, url) = stage.agent();
    stage.enforce();
    let worker = Running::of(stage.worker_of_agent(&url)).unwrap();
    until_published(&worker);
    let handed_out = || agent.stderr().matches("handed out").count();
    let at_first = handed_out();
    wait_until("new credentials", PATIENCE, || {
        Ok((handed_out() > at_first + 2).then_some(()))
    })
    .unwrap();
    must_be_allowed_everything(worker.interrupt().unwrap());
    assert_eq!(agent.stderr().matches("refused").count(), 0);
}

#[test]
fn a_web_identity_is_exchanged_for_credentials_that_are_used() {
    let stage = Stage::set(&documented_policy());
    let mut command = stage.worker(&[
        ("AWS_ROLE_ARN", &stage.role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &stage.token()),
    ]);
    let worker = Running::of(Process::spawn(&mut command).unwrap()).unwrap();
    wait_until("the first ticks", PATIENCE, || {
        Ok((worker.state()?["totals"]["ticks"].as_u64() > Some(0)).then_some(()))
    })
    .unwrap();
    // The exchange isn't signed, and moto would refuse it. Every beat, read, commit and file from here on is.
    stage.enforce();
    until_published(&worker);
    must_be_allowed_everything(worker.interrupt().unwrap());
}

#[test]
fn what_a_role_may_not_do_is_named_at_the_start() {
    let mut policy = documented_policy();
    let statements = policy["Statement"].as_array_mut().unwrap();
    let create = statements
        .iter_mut()
        .find(|statement| statement["Sid"] == "ReadAndCreate")
        .unwrap();
    create["Action"] = json!("s3:GetObject");
    let stage = Stage::set(&policy);
    let (_agent, url) = stage.agent();
    stage.enforce();
    let finished = stage.worker_of_agent(&url).wait(PATIENCE).unwrap();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    for word in ["s3://", "s3:PutObject"] {
        assert!(
            finished.stderr.contains(word),
            "{word}: {}",
            finished.stderr
        );
    }
}

#[test]
fn a_role_that_may_not_delete_is_told_once_and_works() {
    let mut policy = documented_policy();
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.retain(|statement| statement["Sid"] != "Remove");
    let stage = Stage::set(&policy);
    let (_agent, url) = stage.agent();
    stage.enforce();
    let worker = Running::of(stage.worker_of_agent(&url)).unwrap();
    until_published(&worker);
    let said = worker.interrupt().unwrap().success().unwrap().stderr;
    assert_eq!(said.matches("\"delete_denied\"").count(), 1, "{said}");
    assert!(said.contains("allow s3:DeleteObject on"), "{said}");
}
