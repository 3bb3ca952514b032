//! A server that enforces policies, with a user for each run, and what the runs find there.
//!
//! Owns the policies as each server takes them, and what a server can't show.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};
use stockstream_operator::aws::calls::Call;
use stockstream_operator::cli::Role;
use stockstream_tests::servers::{BUCKET, Running, S3Server};
use stockstream_tests::{python_json, repository, scratch};

/// The stream that all workers read.
pub const TICKS: &str = "ticks";

/// Ticks in it, one a minute: each but the last closes a window.
pub const MINUTES: usize = 4;

/// The database of the workers' tables.
pub const DATABASE: &str = "market";

/// The id of the state that an operator finds and deletes.
pub const STATE_ID: &str = "0123456789abcdef";

/// May do all: for looking at what came out.
const ADMIN: &str = "admin";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Moto,
    Ministack,
}

impl Server {
    pub const ALL: [Self; 2] = [Self::Moto, Self::Ministack];

    pub fn name(self) -> &'static str {
        match self {
            Self::Moto => "moto",
            Self::Ministack => "ministack",
        }
    }

    /// The policy as far as the server knows resources.
    fn takes(self, statements: &mut Vec<Value>) {
        match self {
            // It knows streams and tables only as `*`, and a deletion by its bucket and not its keys.
            Self::Moto => {
                for statement in statements {
                    match statement["Sid"].as_str() {
                        Some("Streams" | "Catalog") => statement["Resource"] = json!("*"),
                        Some("Objects") => {
                            statement["Resource"] =
                                json!([bucket_arn(), format!("{}/*", bucket_arn())]);
                        }
                        _ => {}
                    }
                }
            }
            // It takes all resources as they are, but doesn't know whose an iterator or a consumer is.
            Self::Ministack => {
                let nameless = ["kinesis:GetRecords", "kinesis:SubscribeToShard"];
                let allowed: Vec<Value> = statements
                    .iter()
                    .filter_map(|statement| statement["Action"].as_array())
                    .flatten()
                    .filter(|action| nameless.iter().any(|one| *action == one))
                    .cloned()
                    .collect();
                if !allowed.is_empty() {
                    statements.push(json!({"Effect": "Allow", "Action": allowed, "Resource": "*"}));
                }
            }
        }
    }
}

fn bucket_arn() -> String {
    format!("arn:aws:s3:::{BUCKET}")
}

/// A role under its policy, or under it without one action.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub role: Role,
    pub without: Option<Call>,
}

impl Run {
    pub fn all() -> Vec<Self> {
        let roles = [Role::Operator, Role::Worker].into_iter();
        roles
            .flat_map(|role| {
                let calls = Call::ALL.iter().copied();
                let calls = calls.filter(move |call| call.roles().contains(&role));
                std::iter::once(None)
                    .chain(calls.map(Some))
                    .map(move |without| Self { role, without })
            })
            .collect()
    }

    fn role_name(self) -> &'static str {
        match self.role {
            Role::Operator => "operator",
            Role::Worker => "worker",
        }
    }

    /// The trial's: `operator_without_kinesis_CreateStream`.
    pub fn name(self) -> String {
        let role = self.role_name();
        match self.without {
            None => format!("{role}_under_its_policy"),
            Some(call) => format!("{role}_without_{}", call.action().replace(':', "_")),
        }
    }

    /// Short, in small letters and dashes: of its user, stream, pipeline and folder.
    pub fn slug(self) -> String {
        let role = self.role_name();
        match self.without {
            None => role.to_owned(),
            Some(call) => format!("{role}-{}", call.action().replace(':', "-")).to_lowercase(),
        }
    }

    /// The same with underscores, as Glue wants it.
    pub fn table(self) -> String {
        self.slug().replace('-', "_")
    }

    /// Why the server can't show what becomes of the role without this action.
    pub fn gap(self, server: Server) -> Option<&'static str> {
        let call = self.without?;
        match (server, self.role, call) {
            (Server::Ministack, Role::Operator, Call::UpdateStreamMode) => {
                Some("ministack 1.5 has no UpdateStreamMode")
            }
            (Server::Moto, Role::Operator, Call::GetBucketVersioning) => Some(
                "moto 5.2 calls its answer GetBucketVersioningResponse, which the SDK takes for none",
            ),
            (Server::Moto, Role::Worker, Call::SubscribeToShard) => {
                Some("moto 5.2 has no SubscribeToShard")
            }
            // An operator's message names the action whatever the answer; a worker's only when it reads a refusal.
            (Server::Moto, Role::Worker, call) if !call.action().starts_with("s3:") => Some(
                "moto 5.2 refuses in XML what clients of Kinesis and Glue expect in JSON: they read no reason",
            ),
            _ => None,
        }
    }

    /// The policy that is checked in, without the action, as the server takes it.
    fn policy(self, server: Server) -> anyhow::Result<Value> {
        let mut policy = checked_in(self.role)?;
        let without = self.without.map(Call::action);
        let statements = policy["Statement"].as_array_mut().context("statements")?;
        let mut removed = 0;
        for statement in statements.iter_mut() {
            let actions = statement["Action"].as_array_mut().context("actions")?;
            let before = actions.len();
            actions.retain(|action| action.as_str() != without);
            removed += before - actions.len();
        }
        ensure!(
            removed == usize::from(without.is_some()),
            "{without:?} stands {removed} times in the policy"
        );
        statements.retain(|statement| statement["Action"] != json!([]));
        server.takes(statements);
        Ok(policy)
    }
}

/// The policy of `deploy/iam`, for [`BUCKET`].
pub fn checked_in(role: Role) -> anyhow::Result<Value> {
    let file = match role {
        Role::Operator => "deploy/iam/operator.json",
        Role::Worker => "deploy/iam/worker.json",
    };
    let text = std::fs::read_to_string(repository().join(file)).context(file)?;
    serde_json::from_str(&text.replace("YOUR-BUCKET", BUCKET)).context(file)
}

/// No action is left to no server.
pub fn every_action_is_tried() -> anyhow::Result<()> {
    for run in Run::all() {
        let gaps: Vec<_> = Server::ALL
            .into_iter()
            .filter_map(|server| Some((server.name(), run.gap(server)?)))
            .collect();
        ensure!(
            gaps.len() < Server::ALL.len(),
            "{} is tried nowhere: {gaps:?}",
            run.name()
        );
    }
    let tried: BTreeSet<&str> = Call::ALL.iter().map(|call| call.action()).collect();
    ensure!(tried.len() == Call::ALL.len(), "an action stands twice");
    Ok(())
}

/// A server with its users.
pub struct Stage {
    pub server: Server,
    pub running: Running,
    keys: Value,
}

impl Stage {
    pub fn set(server: Server) -> anyhow::Result<Self> {
        let running = match server {
            Server::Moto => S3Server::Moto,
            Server::Ministack => S3Server::MinistackWithPolicies,
        }
        .start()?;
        let folder = scratch()?;
        let plan = folder.path().join("plan.json");
        std::fs::write(&plan, plan_of(server)?.to_string())?;
        let plan = plan.to_str().context("a path")?;
        let keys = python_json("iam.py", ["prepare", &running.endpoint, plan])?;
        if server == Server::Moto {
            // As INITIAL_NO_AUTH_ACTION_COUNT does at the start: from now on no action goes without.
            python_json("identity.py", ["enforce", &running.endpoint])?;
        }
        Ok(Self {
            server,
            running,
            keys,
        })
    }

    /// The access key of a run's user, and its secret.
    pub fn key(&self, run: Run) -> anyhow::Result<(&str, &str)> {
        self.key_of(&run.slug())
    }

    /// Those of one who may do all.
    pub fn admin(&self) -> anyhow::Result<(&str, &str)> {
        self.key_of(ADMIN)
    }

    fn key_of(&self, user: &str) -> anyhow::Result<(&str, &str)> {
        let found = &self.keys[user];
        match (found["key"].as_str(), found["secret"].as_str()) {
            (Some(key), Some(secret)) => Ok((key, secret)),
            _ => bail!("no user {user}"),
        }
    }
}

/// What `tests/python/iam.py` prepares.
fn plan_of(server: Server) -> anyhow::Result<Value> {
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let mut users = Map::from_iter([(
        ADMIN.to_owned(),
        json!({"Version": "2012-10-17", "Statement": [all]}),
    )]);
    let mut streams = vec![TICKS.to_owned()];
    let (mut consumers, mut tables) = (Vec::new(), Vec::new());
    let mut objects = Map::new();
    for run in Run::all() {
        let slug = run.slug();
        users.insert(slug.clone(), run.policy(server)?);
        match run.role {
            Role::Operator => {
                streams.push(format!("{slug}-adopted"));
                let document = json!({"stateId": STATE_ID, "namespace": "default", "name": slug});
                objects.insert(format!("{slug}/state/pipeline.json"), text(&document));
                let row = format!("{slug}/rows/{STATE_ID}-1.parquet");
                objects.insert(row, json!("a row"));
            }
            Role::Worker => {
                tables.push(json!([
                    DATABASE,
                    run.table(),
                    format!("s3://{BUCKET}/{slug}/rows/")
                ]));
                // The others needn't wait until theirs is registered.
                if !matches!(run.without, None | Some(Call::RegisterStreamConsumer)) {
                    consumers.push(json!([TICKS, format!("stockstream-default-{slug}")]));
                }
            }
        }
    }
    let ticks: Vec<Value> = (0..=MINUTES)
        .map(|minute| {
            let at = format!("2024-01-02T14:3{minute}:05Z");
            json!({"ticker": "AAPL", "timestamp": at, "close": 1.0})
        })
        .collect();
    Ok(json!({
        "users": users,
        "streams": streams,
        "ticks": {TICKS: ticks},
        "consumers": consumers,
        "tables": tables,
        "objects": objects,
        "bucket": BUCKET,
    }))
}

fn text(document: &Value) -> Value {
    json!(document.to_string())
}
