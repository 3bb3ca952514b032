//! What all trials stand on: a cluster, AWS in its network, the operator.
//!
//! Owns starting these and asking them. Must never know what a right answer is: the trials do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use stockstream_tests::cluster::{Cluster, GATEWAY};
use stockstream_tests::servers::{BUCKET, Running, S3Server};
use stockstream_tests::{Binary, PATIENCE, Process, python, python_json, wait_until};

/// Where the operator lives.
pub const HOME: &str = "stockstream-system";
/// The chart, from the repository's root.
pub const CHART: &str = "charts/stockstream";
/// The pods' images are those of this version, as `scripts/images.sh` makes them.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A cluster with AWS in its network and an operator, which the chart has installed.
pub struct Stage {
    // In the order in which they end.
    kinesis: Process,
    pub s3: Running,
    pub cluster: Cluster,
    pub kinesis_endpoint: String,
    /// Scripted trouble of the stream's server, by whose trial it is: trials run beside each other.
    faults: Mutex<BTreeMap<String, Vec<Value>>>,
}

/// One trial's namespace, and names that no other trial has.
pub struct Tenant<'a> {
    pub stage: &'a Stage,
    pub namespace: String,
}

impl Stage {
    /// Starts everything.
    pub fn set() -> anyhow::Result<Stage> {
        let cluster = Cluster::start()?;
        images(&cluster)?;
        let s3 = cluster.within(|| S3Server::Moto.start_on(GATEWAY))?;
        let listen = format!("{GATEWAY}:{}", free_port(&cluster)?);
        let folder = stockstream_tests::scratch()?;
        let faults = folder.path().join("faults.json");
        std::fs::write(&faults, "[]")?;
        let mut command = Binary::Product.command()?;
        command.args(["kinesis", "--memory", "--listen", &listen, "--faults"]);
        command.arg(&faults);
        // As on AWS, where nothing is done at once.
        for delay in ["--creating-delay", "--updating-delay", "--deleting-delay"] {
            command.args([delay, "500ms"]);
        }
        let mut kinesis = cluster.spawn(&mut command)?;
        kinesis.wait_for_line(PATIENCE, |line| line.contains(&listen))?;
        let stage = Stage {
            kinesis,
            s3,
            cluster,
            kinesis_endpoint: format!("http://{listen}"),
            faults: Mutex::default(),
        };
        stage.install()?;
        Ok(stage)
    }

    /// As users do it, but for the servers that stand in for AWS.
    pub fn install(&self) -> anyhow::Result<()> {
        let arguments = ["install", "stockstream", CHART, "--create-namespace"];
        self.helm(HOME, &arguments, Some(&self.values()))
            .with_context(|| self.operator_log(""))
    }

    /// The operator as [`Stage::install`] leaves it, whatever was done to its release: for trials that failed halfway.
    pub fn reinstall(&self) -> anyhow::Result<()> {
        let arguments = [
            "upgrade",
            "--install",
            "stockstream",
            CHART,
            "--create-namespace",
        ];
        self.helm(HOME, &arguments, Some(&self.values()))?;
        self.led()
    }

    /// The values that it is installed with.
    pub fn values(&self) -> Value {
        let variables = json!([
            {"name": "AWS_ENDPOINT_URL_KINESIS", "value": self.kinesis_endpoint},
            {"name": "AWS_ACCESS_KEY_ID", "value": "test"},
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "test"},
        ]);
        json!({
            "image": {"pullPolicy": "Never"},
            "workerImage": {"pullPolicy": "Never"},
            "replicas": 2,
            "aws": {"endpointUrl": self.s3.endpoint, "region": "us-east-1"},
            "env": variables,
            "workerEnv": variables,
        })
    }

    /// Runs helm in a namespace and waits until all is as it says.
    pub fn helm(
        &self,
        namespace: &str,
        arguments: &[&str],
        values: Option<&Value>,
    ) -> anyhow::Result<()> {
        let folder = stockstream_tests::scratch()?;
        let mut all: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        all.extend(["--namespace", namespace, "--wait", "--timeout", "100s"].map(str::to_owned));
        if let Some(values) = values {
            let file = folder.path().join("values.json");
            std::fs::write(&file, values.to_string())?;
            all.push(format!("--values={}", file.display()));
        }
        self.cluster.run("helm", all)?.success().map(drop)
    }

    /// Ends everything, and says what goes wrong with that.
    pub fn strike(self) -> anyhow::Result<()> {
        let Stage {
            kinesis,
            s3,
            cluster,
            ..
        } = self;
        drop(kinesis);
        drop(s3);
        cluster.down()
    }

    /// The newest lines of the operators' logs that speak of something.
    fn operator_log(&self, of: &str) -> String {
        let log = self
            .cluster
            .kubectl([
                "logs",
                "--namespace",
                HOME,
                "--selector=app.kubernetes.io/component=operator",
                "--tail=400",
            ])
            .unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(of)).collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Runs a trial in a namespace of its own. A failure is told with what the namespace looked like.
    pub fn judge(
        &self,
        name: &str,
        check: fn(&Tenant<'_>) -> anyhow::Result<()>,
    ) -> Result<(), Failed> {
        let mut namespace = name.replace('_', "-");
        namespace.truncate(40);
        let tenant = Tenant {
            stage: self,
            namespace: namespace.trim_end_matches('-').to_owned(),
        };
        // As platform teams have it: who isn't restricted isn't let in.
        let begun = Instant::now();
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        let judged = self
            .cluster
            .kubectl(["create", "namespace", &tenant.namespace])
            .and_then(|_| {
                let namespace = tenant.namespace.as_str();
                self.cluster
                    .kubectl(["label", "namespace", namespace, restricted])
            })
            .and_then(|_| check(&tenant));
        judged.map_err(|error| Failed::from(format!("{error:#}\n{}", tenant.look())))?;
        eprintln!("{name}: {} s", begun.elapsed().as_secs());
        // Not waited for: its pods needn't take part in what others measure.
        self.cluster
            .kubectl(["delete", "namespace", &tenant.namespace, "--wait=false"])
            .map_err(|error| Failed::from(format!("{error:#}")))?;
        Ok(())
    }

    /// Resident memory of each operator, in MiB.
    pub fn operator_memory(&self) -> anyhow::Result<Vec<u64>> {
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            if name.trim() != "stockstream-ope" {
                continue;
            }
            let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
            sizes.extend(kib.map(|kib| kib / 1_024));
        }
        Ok(sizes)
    }

    /// Both operators anew, and one that leads.
    pub fn restart_operators(&self) -> anyhow::Result<()> {
        self.cluster.kubectl([
            "rollout",
            "restart",
            "--namespace",
            HOME,
            "deployment/stockstream",
        ])?;
        self.cluster.rolled_out(HOME, "deployment/stockstream")?;
        self.led()
    }

    /// Waits until one of the operators that run now has begun to lead.
    pub fn led(&self) -> anyhow::Result<()> {
        wait_until("an operator leads", PATIENCE, || {
            Ok(self
                .operator_log_since_start()?
                .contains(r#""event":"leading""#)
                .then_some(()))
        })
    }

    /// What the operators that run now have logged.
    pub fn operator_log_since_start(&self) -> anyhow::Result<String> {
        let pods = self.cluster.get(HOME, &["pods"])?;
        let mut log = String::new();
        for pod in pods["items"].as_array().context("pods")? {
            let is_going = !pod["metadata"]["deletionTimestamp"].is_null();
            if let (false, Some(name)) = (is_going, pod["metadata"]["name"].as_str()) {
                log += &self.cluster.kubectl(["logs", "--namespace", HOME, name])?;
            }
        }
        Ok(log)
    }

    /// Kills whoever leads, as a crash would; nobody, when nobody leads just now.
    pub fn kill_leader(&self) -> anyhow::Result<()> {
        let lease = self.cluster.get(HOME, &["lease", "stockstream-operator"])?;
        let Some(pod) = lease["spec"]["holderIdentity"].as_str() else {
            return Ok(());
        };
        let found = self.cluster.get(HOME, &["pod", pod])?;
        // Killed before, it starts later and later: then another one leads, or will.
        let is_running = found["status"]["containerStatuses"][0]["state"]["running"].is_object();
        match is_running.then(|| self.cluster.kill_container(HOME, pod)) {
            // The status is a moment old: it ended since.
            Some(Err(error)) if format!("{error:#}").contains("no running task") => Ok(()),
            Some(killed) => killed,
            None => Ok(()),
        }
    }

    /// How many operators say that they lead.
    pub fn leaders(&self) -> anyhow::Result<u64> {
        wait_until("both operators answer", PATIENCE, || {
            Ok(self.counter("leading").ok())
        })
    }

    /// One of the operators' counters, of all of them together.
    pub fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let pods = self.cluster.get(HOME, &["pods"])?;
        let mut sum = 0;
        for pod in pods["items"].as_array().context("pods")? {
            let address = format!(
                "{}:8081",
                pod["status"]["podIP"].as_str().context("an address")?
            );
            let text = self
                .cluster
                .within(|| stockstream_tests::http::send(&address, "GET", "/metrics", ""))?;
            let prefix = format!("stockstream_operator_{name} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
            sum += value
                .with_context(|| format!("no {name} in: {text}"))?
                .trim()
                .parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Scripts trouble of the stream's server, in place of what the same trial scripted before.
    pub fn kinesis_faults(&self, of: &str, rules: Vec<Value>) -> anyhow::Result<()> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.insert(of.to_owned(), rules);
        let all: Vec<&Value> = faults.values().flatten().collect();
        let all = json!(all).to_string();
        let sent = self.cluster.within(|| {
            stockstream_tests::http::send(
                &self.kinesis_endpoint,
                "PUT",
                "/_stockstream/faults",
                &all,
            )
        });
        sent.map(drop)
    }

    /// boto3 against the stream's server.
    pub fn kinesis(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = python("kinesis.py")?;
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL_KINESIS", &self.kinesis_endpoint);
        let finished = self
            .cluster
            .spawn(&mut command)?
            .wait(PATIENCE)?
            .success()?;
        Ok(serde_json::from_str(&finished.stdout)?)
    }

    /// A script of tests/python against S3 or Glue.
    pub fn s3(&self, command: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec![command, self.s3.endpoint.as_str()];
        all.extend(arguments);
        self.cluster.within(|| python_json("s3.py", all))
    }
}

fn images(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = std::env::var_os("STOCKSTREAM_IMAGES")
        .context("STOCKSTREAM_IMAGES isn't set: run `make suite SUITE=operator`")?;
    for program in ["stockstream", "stockstream-operator"] {
        let archive = std::path::Path::new(&folder).join(format!("{program}-{VERSION}.tar"));
        let archive = archive.to_string_lossy();
        cluster
            .run("ctr", ["images", "import", &archive])?
            .success()?;
    }
    Ok(())
}

fn free_port(cluster: &Cluster) -> anyhow::Result<u16> {
    cluster.within(|| Ok(TcpListener::bind((GATEWAY, 0))?.local_addr()?.port()))
}

/// Tickers that only close windows begin so; no trial looks at their rows.
const CLOSER: &str = "zz";

/// A tick of a ticker: minute and second of the trade day, and its close.
pub type Tick<'a> = (&'a str, u32, u32, f64);

impl Tenant<'_> {
    pub fn cluster(&self) -> &Cluster {
        &self.stage.cluster
    }

    /// The name of this trial's stream, and of its folder in the bucket.
    pub fn own(&self) -> &str {
        &self.namespace
    }

    /// The YAML of a pipeline with everything below this trial's own names. `more` are lines of the spec.
    pub fn yaml(&self, name: &str, shards: u32, more: &str) -> String {
        let own = format!("{}-{name}", self.own());
        format!(
            "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: {name}}}
spec:
  source:
    kinesis:
      streamName: {own}
      initialPosition: TrimHorizon
      mode: {{provisioned: {{shards: {shards}}}}}
  window: {{watermarkDelay: 1s, idleTimeout: 24h}}
  record: {{maxAhead: unbounded}}
  output: {{path: \"s3://{BUCKET}/{own}/rows\", publishInterval: 1s}}
  state: {{path: \"s3://{BUCKET}/{own}/state\", commitInterval: 1s}}
{more}"
        )
    }

    pub fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.cluster().apply(&self.namespace, yaml).map(drop)
    }

    /// Applies and waits until it is ready; how long that took.
    pub fn ready(&self, name: &str, yaml: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.apply(yaml)?;
        self.cluster().wait(
            &self.namespace,
            &format!("stockstream/{name}"),
            "condition=Ready",
        )?;
        Ok(begun.elapsed())
    }

    /// Deletes a StockStream and waits until it is gone.
    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        let resource = format!("stockstream/{name}");
        let namespace = self.namespace.as_str();
        self.cluster()
            .kubectl([
                "delete",
                "--namespace",
                namespace,
                &resource,
                "--timeout=100s",
            ])
            .map(drop)
    }

    /// The message of a condition; empty without it.
    pub fn message(&self, name: &str, kind: &str) -> anyhow::Result<String> {
        let resource = self.get(&["stockstream", name])?;
        let conditions = resource["status"]["conditions"].as_array();
        let found = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind);
        Ok(found
            .and_then(|found| found["message"].as_str())
            .unwrap_or_default()
            .to_owned())
    }

    /// What sigs.k8s.io/cli-utils' kstatus says of a StockStream as it is now.
    pub fn kstatus(&self, name: &str) -> anyhow::Result<String> {
        let resource = self.get(&["stockstream", name])?.to_string();
        let folder = stockstream_tests::scratch()?;
        let file = folder.path().join("resource.json");
        std::fs::write(&file, resource)?;
        let script = format!("kstatus <{}", file.display());
        let told = self.cluster().run("bash", ["-c", &script])?.success()?;
        Ok(told.stdout.lines().next().unwrap_or_default().to_owned())
    }

    /// How often each reason was told in events of a StockStream.
    pub fn events(&self, name: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let selector =
            format!("--field-selector=involvedObject.kind=StockStream,involvedObject.name={name}");
        let list = self.get(&["events", &selector])?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for event in list["items"].as_array().into_iter().flatten() {
            let reason = event["reason"].as_str().unwrap_or_default();
            // A series tells how often it was; a single event tells nothing.
            let times = event["series"]["count"].as_u64().unwrap_or(1);
            *counts.entry(reason.to_owned()).or_default() += times;
        }
        Ok(counts)
    }

    pub fn get(&self, what: &[&str]) -> anyhow::Result<Value> {
        self.cluster().get(&self.namespace, what)
    }

    pub fn patch(&self, name: &str, patch: &Value) -> anyhow::Result<()> {
        let patch = patch.to_string();
        self.cluster()
            .kubectl([
                "patch",
                "--namespace",
                &self.namespace,
                "stockstream",
                name,
                "--type=merge",
                "--patch",
                &patch,
            ])
            .map(drop)
    }

    /// `STATUS REASON` of a condition; empty without it.
    pub fn condition(&self, name: &str, kind: &str) -> anyhow::Result<String> {
        let resource = self.get(&["stockstream", name])?;
        let conditions = resource["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions
            .iter()
            .find(|condition| condition["type"] == kind);
        Ok(found.map_or_else(String::new, |found| {
            let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("status"), text("reason"))
        }))
    }

    /// Waits for a condition to be `STATUS REASON`.
    pub fn becomes(&self, name: &str, kind: &str, wanted: &str) -> anyhow::Result<()> {
        let mut seen = String::new();
        wait_until("a condition", PATIENCE, || {
            seen = self.condition(name, kind)?;
            Ok((seen == wanted).then_some(()))
        })
        .with_context(|| format!("{kind} isn't {wanted:?} but {seen:?}"))
    }

    /// Names of the running worker pods.
    pub fn workers(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let selector = format!(
            "--selector=stockstream.dev/pipeline={name},app.kubernetes.io/component=worker"
        );
        let list = self.get(&["pods", &selector])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// Waits until there are so many worker pods.
    pub fn has_workers(&self, name: &str, count: usize) -> anyhow::Result<()> {
        wait_until("the number of workers", PATIENCE, || {
            Ok((self.workers(name)?.len() == count).then_some(()))
        })
    }

    /// Puts ticks into the stream, each under its ticker.
    pub fn put(&self, name: &str, ticks: &[Tick<'_>]) -> anyhow::Result<()> {
        use base64::Engine as _;
        let mut lines = String::new();
        for (ticker, minute, second, close) in ticks {
            let tick = json!({
                "ticker": ticker, "date": "2024-01-02", "open": close, "high": close, "low": close, "close": close,
                "volume": 1, "timestamp": format!("2024-01-02T{:02}:{:02}:{second:02}Z", 14 + minute / 60, minute % 60),
            });
            let data = base64::engine::general_purpose::STANDARD.encode(tick.to_string());
            writeln!(lines, "{}", json!({"key": ticker, "data_base64": data}))?;
        }
        let folder = stockstream_tests::scratch()?;
        let file = folder.path().join("ticks.ndjson");
        std::fs::write(&file, lines)?;
        let stream = format!("{}-{name}", self.own());
        let file = file.to_string_lossy().into_owned();
        self.stage.kinesis(&["put", &stream, &file]).map(drop)
    }

    /// Ticks that close the windows of every shard up to a minute. What they are counted into stays open.
    pub fn close(&self, name: &str, minute: u32) -> anyhow::Result<()> {
        let tickers: Vec<String> = (0..32).map(|number| format!("{CLOSER}{number}")).collect();
        let ticks: Vec<Tick<'_>> = tickers
            .iter()
            .map(|ticker| (ticker.as_str(), minute + 1, 30, 1.0))
            .collect();
        self.put(name, &ticks)
    }

    /// `ticker minute` to average and last close of every row that lies in S3; a row that is there twice is an error.
    pub fn rows(&self, name: &str) -> anyhow::Result<BTreeMap<String, (f64, f64)>> {
        let prefix = format!("{}-{name}/rows/", self.own());
        let found = self.stage.s3("rows", &[BUCKET, &prefix])?;
        let mut rows = BTreeMap::new();
        for row in found.as_array().context("a list of rows")? {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            if text("ticker").starts_with(CLOSER) {
                continue;
            }
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            let key = format!("{} {}", text("ticker"), minute(&text("window_start"))?);
            let figures = (number("avg_close"), number("last_close"));
            ensure!(
                rows.insert(key.clone(), figures).is_none(),
                "the row {key} is there twice"
            );
        }
        Ok(rows)
    }

    /// Waits until the rows in S3 are those of these ticks, each once, and no other.
    pub fn has_rows(&self, name: &str, ticks: &[Tick<'_>]) -> anyhow::Result<()> {
        let wanted = oracle(ticks);
        let mut seen = BTreeMap::new();
        let waited = wait_until("every row", PATIENCE, || {
            seen = self.rows(name)?;
            Ok((seen.len() >= wanted.len()).then_some(()))
        });
        if waited.is_err() || seen != wanted {
            let lacking: Vec<_> = wanted
                .iter()
                .filter(|(key, _)| !seen.contains_key(*key))
                .collect();
            let other: Vec<_> = seen
                .iter()
                .filter(|(key, row)| wanted.get(*key) != Some(row))
                .collect();
            bail!(
                "{} rows of {}: lacking {lacking:?}, other {other:?}",
                seen.len(),
                wanted.len()
            );
        }
        Ok(())
    }

    fn look(&self) -> String {
        let look = |what: &str| {
            let arguments = ["get", what, "--output=wide", "--namespace", &self.namespace];
            self.cluster()
                .kubectl(arguments)
                .unwrap_or_else(|error| format!("{error:#}"))
        };
        let status = self
            .cluster()
            .kubectl(["get", "stockstreams", "--namespace", &self.namespace, "--output=jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{range .status.conditions[*]}  {.type}={.status} {.reason}: {.message}{\"\\n\"}{end}{end}"])
            .unwrap_or_else(|error| format!("{error:#}"));
        let log = self.stage.operator_log(&self.namespace);
        let pods = self
            .cluster()
            .kubectl([
                "logs",
                "--namespace",
                &self.namespace,
                "--selector=app.kubernetes.io/component=worker",
                "--tail=12",
                "--prefix",
            ])
            .unwrap_or_else(|error| format!("{error:#}"));
        format!(
            "{status}\n{}\n{}\noperator:\n{log}\nworkers:\n{pods}",
            look("pods"),
            look("events")
        )
    }
}

/// What rows of these ticks are: average and last close of each ticker and minute.
fn oracle(ticks: &[Tick<'_>]) -> BTreeMap<String, (f64, f64)> {
    let mut windows: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (ticker, minute, _, close) in ticks {
        windows
            .entry(format!("{ticker} {minute}"))
            .or_default()
            .push(*close);
    }
    let figures = |closes: Vec<f64>| {
        let sum: f64 = closes.iter().sum();
        let last = closes.last().copied().unwrap_or(f64::NAN);
        (sum / closes.len() as f64, last)
    };
    windows
        .into_iter()
        .map(|(key, closes)| (key, figures(closes)))
        .collect()
}

/// Minutes since 14:00 of a window's start, as pyarrow prints it.
fn minute(start: &str) -> anyhow::Result<u32> {
    let (_, time) = start
        .split_at_checked(11)
        .with_context(|| format!("no time: {start}"))?;
    let mut parts = time.split(':');
    let mut part = || parts.next().and_then(|text| text.parse::<u32>().ok());
    let (hour, minute) = (part(), part());
    match (hour, minute) {
        (Some(hour), Some(minute)) => Ok((hour * 60 + minute).saturating_sub(14 * 60)),
        _ => bail!("no time: {start}"),
    }
}
