//! The operator's command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use k8s_openapi::api::core::v1::EnvVar;

/// Looks after StockStreams in a Kubernetes cluster: their streams, tables and workers.
#[derive(Debug, Parser)]
#[command(
    name = "stockstream-operator",
    version,
    after_help = "Examples:
  stockstream-operator crd | kubectl apply --server-side -f -
  stockstream-operator run --worker-image registry.example/stockstream:0.1.0
  stockstream-operator run --namespace team-a --worker-image registry.example/stockstream:0.1.0"
)]
pub struct Cli {
    /// How log lines look.
    #[arg(
        long,
        value_enum,
        default_value = "json",
        global = true,
        env = "STOCKSTREAM_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
    /// Which events are logged: error, warn, info, debug or trace.
    #[arg(
        long,
        default_value = "info",
        global = true,
        env = "STOCKSTREAM_LOG_LEVEL"
    )]
    pub log_level: tracing::Level,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look after StockStreams until told to stop.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition.
    Crd,
    /// Print what makes a shell complete this command.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print what the operator or a worker must be allowed in AWS, as an IAM policy.
    Policy(PolicyArgs),
}

/// Whose policy.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// ARN of a key of yours that encrypts a stream or a bucket; may be given again.
    #[arg(long, value_name = "ARN")]
    pub key: Vec<String>,
}

/// Who asks AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// stockstream-operator.
    Operator,
    /// stockstream worker.
    Worker,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Look after this namespace only [default: all]
    #[arg(long, value_name = "NAMESPACE", env = "STOCKSTREAM_NAMESPACE")]
    pub namespace: Option<String>,
    /// Image of workers and dashboards.
    #[arg(long, value_name = "IMAGE", env = "STOCKSTREAM_WORKER_IMAGE")]
    pub worker_image: String,
    /// How that image is pulled: Always, IfNotPresent or Never [default: Kubernetes' own]
    #[arg(
        long,
        value_name = "POLICY",
        env = "STOCKSTREAM_WORKER_IMAGE_PULL_POLICY"
    )]
    pub worker_image_pull_policy: Option<String>,
    /// Secret by which it is pulled; may be given again.
    #[arg(long, value_name = "SECRET")]
    pub worker_image_pull_secret: Vec<String>,
    /// Environment of every worker, such as an endpoint of AWS. No secrets; may be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub worker_env: Vec<EnvVar>,
    /// Namespace whose pods may read the workers' metrics; may be given again.
    #[arg(long, value_name = "NAMESPACE")]
    pub monitoring_namespace: Vec<String>,
    /// Where to serve /metrics, /healthz and /readyz.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// The namespace that this process runs in, and its Lease [default: that of its service account, or default]
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub own_namespace: Option<String>,
    /// The name of this process, in its Lease and in events [default: the host's]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
    /// Work without a Lease: nothing keeps a second operator from working at the same time.
    #[arg(long)]
    pub no_leader_election: bool,
}

/// Only this machine, unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

fn variable(text: &str) -> Result<EnvVar, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(EnvVar {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..EnvVar::default()
        }),
        _ => Err(format!("`{text}` isn't NAME=VALUE")),
    }
}
