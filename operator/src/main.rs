//! The `stockstream-operator` command.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use futures::FutureExt as _;
use kube::Client;
use kube::client::ClientBuilder;
use stockstream_operator::cli::{Cli, Command, LogFormat, PolicyArgs, RunArgs};
use stockstream_operator::controller::{self, Settings};
use stockstream_operator::leader::{Candidate, while_leading};
use stockstream_operator::policy;
use stockstream_operator::serve::{Health, serve};
use stockstream_operator::settings::PodSettings;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tower::util::MapRequestLayer;

/// What the shell calls it.
const PROGRAM: &str = "stockstream-operator";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_service = matches!(cli.command, Command::Run(_));
    if is_service {
        log(&cli);
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_service => {
            tracing::error!(event = "failed", error = format!("{error:#}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{PROGRAM}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log(cli: &Cli) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_writer(std::io::stderr)
        .with_target(false);
    match cli.log_format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Crd => print(&policy::custom_resource_definition()?),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut text);
            print(&String::from_utf8_lossy(&text))
        }
        Command::Policy(PolicyArgs { role, key }) => print(&policy::policy(role, &key)),
        Command::Run(args) => {
            // Both providers are linked; kube and AWS take the one that is installed.
            rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .map_err(|_| anyhow::anyhow!("a TLS provider was installed before"))?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(operate(*args))
        }
    }
}

/// Whoever reads only the beginning has what they wanted.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}

async fn operate(args: RunArgs) -> anyhow::Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!(
            event = "stopping",
            "told to stop: what has begun is finished"
        );
        let _ = stopping.send(true);
    });
    let stop = move || {
        let mut stopped = stopped.clone();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };

    let health = Health::default();
    // It answers until the work is done: Kubernetes asks whether this process lives while it finishes what it has begun.
    let (worked, done) = oneshot::channel::<()>();
    let answered = async {
        let _ = done.await;
    };
    let serving = tokio::spawn(serve(args.listen, health.clone(), answered));
    let work = work(args, health, stop.clone());
    tokio::select! {
        done = work => done?,
        served = serving => served.context("the HTTP server broke off")??,
    }
    drop(worked);
    tracing::info!(event = "stopped");
    Ok(())
}

async fn work<S, F>(args: RunArgs, health: Health, stop: S) -> anyhow::Result<()>
where
    S: Fn() -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let config = kube::Config::infer()
        .await
        .context("no cluster is known: run this in a cluster, or name one in KUBECONFIG")?;
    let default_namespace = config.default_namespace.clone();
    let metrics = health.metrics.clone();
    let counted = MapRequestLayer::new(move |request| {
        metrics.requested();
        request
    });
    let client = ClientBuilder::try_from(config)?
        .with_layer(&counted)
        .build();
    let version = client
        .apiserver_version()
        .await
        .context("Kubernetes doesn't answer")?;
    health.is_ready.store(true, Ordering::Relaxed);
    let own_namespace = args.own_namespace.unwrap_or(default_namespace);
    let identity = args.identity.unwrap_or_else(host_name);
    let settings = Settings {
        namespace: args.namespace,
        identity: identity.clone(),
        pods: PodSettings {
            image: args.worker_image,
            image_pull_policy: args.worker_image_pull_policy,
            image_pull_secrets: args.worker_image_pull_secret,
            env: args.worker_env,
            operator_namespace: Some(own_namespace.clone()),
            monitoring_namespaces: args.monitoring_namespace,
            has_service_monitors: has_service_monitors(&client).await,
        },
    };
    tracing::info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        kubernetes = version.git_version,
        namespace = settings.namespace,
        image = settings.pods.image,
    );
    let metrics = health.metrics.clone();
    if args.no_leader_election {
        metrics.lead(true);
        controller::run(client, settings, metrics, once(stop())).await;
        return Ok(());
    }
    let candidate = Candidate::new(client.clone(), &own_namespace, identity);
    tracing::info!(event = "waiting_to_lead");
    tokio::select! {
        led = candidate.lead() => led?,
        () = stop() => return Ok(()),
    }
    tracing::info!(event = "leading");
    metrics.lead(true);
    let work = controller::run(client, settings, metrics.clone(), once(stop()));
    let done = while_leading(&candidate, work).await;
    metrics.lead(false);
    done?;
    candidate.release().await;
    Ok(())
}

/// A future that may be shared between threads.
fn once(
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + Sync + 'static {
    stop.boxed().shared()
}

async fn has_service_monitors(client: &Client) -> bool {
    let resources = client
        .list_api_group_resources("monitoring.coreos.com/v1")
        .await;
    resources.is_ok_and(|list| {
        list.resources
            .iter()
            .any(|resource| resource.kind == "ServiceMonitor")
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "stockstream-operator".to_owned(),
        name => name.to_owned(),
    }
}
