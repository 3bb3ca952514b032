//! A real Kubernetes of one node for a suite (`tests/cluster`), and what can be done to it.
//!
//! Owns starting one with a state of its own, and its end: when it is dropped, and also when the suite is killed. Nothing of
//! the machine's network can be reached from inside, and only what [`Cluster::within`] runs reaches the inside.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use stockstream_tests::cluster::{Cluster, GATEWAY};
//! use stockstream_tests::servers::S3Server;
//!
//! let cluster = Cluster::start()?;
//! let s3 = cluster.within(|| S3Server::Moto.start_on(GATEWAY))?; // pods reach s3.endpoint
//! cluster.kubectl(["create", "namespace", "mine"])?;
//! drop(s3);
//! cluster.down()
//! # }
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::{Finished, PATIENCE, Process, repository, scratch};

/// The node's address, which is also the pods' gateway: a server bound to it is in reach of every pod.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 1);

/// More than the sum of what `up.sh` waits for.
const START: Duration = Duration::from_secs(600);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    ground: Ground,
    network: File,
    /// Where the cluster's own mounts can be seen.
    root: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a cluster leaves, and has to be removed.
#[derive(Debug)]
struct Ground {
    state: PathBuf,
    owner: PathBuf,
    /// Locked for as long as this process lives; `up.sh` ends the cluster after that.
    _lock: File,
    ended: bool,
}

impl Cluster {
    /// Starts one and waits until pods can be made: about ten seconds.
    ///
    /// # Errors
    /// When Kubernetes isn't built, the machine lacks rights, or it doesn't come up.
    pub fn start() -> anyhow::Result<Cluster> {
        let ground = Ground::lay()?;
        let mut command = ground.script("up.sh");
        command.env("STOCKSTREAM_CLUSTER_OWNER", &ground.owner);
        Process::spawn(&mut command)?.wait(START)?.success()?;
        let first = std::fs::read_to_string(ground.state.join("pid"))?;
        let process = Path::new("/proc").join(first.trim());
        let environment = std::fs::read_to_string(ground.state.join("environment"))?;
        let environment = environment.lines().filter_map(|line| line.split_once('='));
        Ok(Cluster {
            network: File::open(process.join("ns/net")).context("the cluster's network")?,
            root: process.join("root"),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ground,
        })
    }

    /// Ends it, and says what goes wrong with that.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn down(mut self) -> anyhow::Result<()> {
        // A process that holds the network is named, and so are we.
        self.network = File::open("/dev/null")?;
        self.ground.end()
    }

    /// Runs something in the cluster's network, on a thread of its own: sockets and processes that it makes belong there,
    /// whatever they do later. Files are the machine's.
    ///
    /// # Errors
    /// When the network can't be entered; else what `run` says.
    pub fn within<T: Send>(
        &self,
        run: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let entered = || {
            move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering the cluster's network")?;
            run()
        };
        match std::thread::scope(|scope| scope.spawn(entered).join()) {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A command of the cluster's admin: kubectl, helm, kwok and kstatus are those that were built for it. To be started
    /// with [`Cluster::spawn`].
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(repository());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    /// Starts a command in the cluster's network. Drop it before the cluster: it would outlive that.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&self, command: &mut Command) -> anyhow::Result<Process> {
        self.within(|| Process::spawn(command))
    }

    /// Runs a program of [`Cluster::command`] to its end, whatever that is.
    ///
    /// # Errors
    /// When it can't be started or doesn't end within [`PATIENCE`].
    pub fn run<I, S>(&self, program: &str, arguments: I) -> anyhow::Result<Finished>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(program);
        self.spawn(command.args(arguments))?.wait(PATIENCE)
    }

    /// What kubectl prints on stdout.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl<I, S>(&self, arguments: I) -> anyhow::Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Ok(self.run("kubectl", arguments)?.success()?.stdout)
    }

    /// An object, or a list of them, as `kubectl get … -o json` prints it.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn get(&self, namespace: &str, what: &[&str]) -> anyhow::Result<Value> {
        let arguments = ["get", "--output=json", "--namespace", namespace];
        let printed = self.kubectl(arguments.iter().chain(what))?;
        serde_json::from_str(&printed).with_context(|| format!("no JSON but: {printed}"))
    }

    /// Applies objects, written as YAML or JSON.
    ///
    /// # Errors
    /// When the API server refuses one, in its words.
    pub fn apply(&self, namespace: &str, objects: &str) -> anyhow::Result<String> {
        let folder = scratch()?;
        let file = folder.path().join("objects.yaml");
        std::fs::write(&file, objects)?;
        let file = format!("--filename={}", file.display());
        self.kubectl(["apply", "--namespace", namespace, &file])
    }

    /// Waits for what `kubectl wait --for=CONDITION` waits for, such as `condition=Ready` or `delete`.
    ///
    /// # Errors
    /// When it isn't so within [`PATIENCE`].
    pub fn wait(&self, namespace: &str, object: &str, condition: &str) -> anyhow::Result<()> {
        let condition = format!("--for={condition}");
        let timeout = format!("--timeout={}s", PATIENCE.as_secs() - 20);
        self.kubectl([
            "wait",
            "--namespace",
            namespace,
            object,
            &condition,
            &timeout,
        ])?;
        Ok(())
    }

    /// Waits until a Deployment, StatefulSet or DaemonSet (`deployment/NAME`) has all its pods as they should be.
    ///
    /// # Errors
    /// When it isn't so within [`PATIENCE`].
    pub fn rolled_out(&self, namespace: &str, object: &str) -> anyhow::Result<()> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs() - 20);
        self.kubectl([
            "rollout",
            "status",
            "--namespace",
            namespace,
            object,
            &timeout,
        ])?;
        Ok(())
    }

    /// Makes an image of files, each with its path in it, and gives it to the node. Pods need `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// When a file can't be read or the node doesn't take it.
    pub fn image(
        &self,
        name: &str,
        entrypoint: &str,
        files: &[(&Path, &str)],
    ) -> anyhow::Result<()> {
        let folder = scratch()?;
        let archive = folder.path().join("image.tar");
        let mut command = self.command("python3");
        command
            .arg("tests/cluster/image.py")
            .arg(name)
            .arg(&archive);
        command.arg(entrypoint);
        for (file, path) in files {
            command.arg(format!("{}={path}", file.display()));
        }
        Process::spawn(&mut command)?.wait(PATIENCE)?.success()?;
        let archive = archive.to_string_lossy();
        self.run("ctr", ["images", "import", &archive])?.success()?;
        Ok(())
    }

    /// A program that was built for the cluster, such as `probe`.
    ///
    /// # Errors
    /// When the environment of the cluster doesn't say where.
    pub fn built(&self, name: &str) -> anyhow::Result<PathBuf> {
        let kube = self
            .environment
            .iter()
            .find(|(name, _)| name == "STOCKSTREAM_KUBE");
        let (_, kube) = kube.context("the cluster's environment has no STOCKSTREAM_KUBE")?;
        Ok(Path::new(kube).join(name))
    }

    /// Kills all processes of a pod's first container with SIGKILL, as a crash would end it.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn kill_container(&self, namespace: &str, pod: &str) -> anyhow::Result<()> {
        let pod = self.get(namespace, &["pod", pod])?;
        let id = &pod["status"]["containerStatuses"][0]["containerID"];
        let id = id.as_str().and_then(|id| id.strip_prefix("containerd://"));
        let id = id.with_context(|| format!("no container runs in {pod}"))?;
        self.run("ctr", ["task", "kill", "--all", "--signal", "SIGKILL", id])?
            .success()?;
        Ok(())
    }

    /// Takes down the node's end of a pod's network (`up`: puts it up again): nothing reaches the pod, and it nothing.
    ///
    /// # Errors
    /// When the pod has no network.
    pub fn plug(&self, namespace: &str, pod: &str, up: bool) -> anyhow::Result<()> {
        let pod = self.get(namespace, &["pod", pod])?;
        let address = pod["status"]["podIP"].as_str().context("no address yet")?;
        let link = self.link_of(address)?;
        let state = if up { "up" } else { "down" };
        self.run("ip", ["link", "set", &link, state])?.success()?;
        Ok(())
    }

    /// The network plugin keeps what it did.
    fn link_of(&self, address: &str) -> anyhow::Result<String> {
        let results = self.root.join("var/lib/cni/results");
        for entry in std::fs::read_dir(&results).context("the network plugin's results")? {
            let text = std::fs::read_to_string(entry?.path())?;
            let kept: Value = serde_json::from_str(&text)?;
            let result = &kept["result"];
            let list = |name: &str| result[name].as_array().cloned().unwrap_or_default();
            let mut addresses = list("ips").into_iter();
            let ours = addresses.any(|ip| {
                let ip = ip["address"].as_str().unwrap_or_default();
                ip.split('/').next() == Some(address)
            });
            let mut interfaces = list("interfaces").into_iter();
            let link = interfaces.find_map(|interface| {
                let name = interface["name"].as_str()?;
                name.starts_with("veth").then(|| name.to_owned())
            });
            if let (true, Some(link)) = (ours, link) {
                return Ok(link);
            }
        }
        bail!("no pod has the address {address}")
    }
}

impl Ground {
    /// A name that no other cluster has, and the lock that tells whether we live.
    fn lay() -> anyhow::Result<Ground> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let Some(cache) = std::env::var_os("STOCKSTREAM_CACHE") else {
            bail!(
                "STOCKSTREAM_CACHE isn't set: run `make test`, or `make suite SUITE=NAME` for one suite"
            );
        };
        let clusters = PathBuf::from(cache).join("cluster-state");
        std::fs::create_dir_all(&clusters).context("making a directory for clusters")?;
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let owner = clusters.join(format!("{name}.owner"));
        let lock = File::create(&owner).context("making the owner's lock")?;
        lock.lock().context("locking the owner's lock")?;
        Ok(Ground {
            state: clusters.join(name),
            owner,
            _lock: lock,
            ended: false,
        })
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(repository().join("tests/cluster").join(name));
        command.env("STOCKSTREAM_CLUSTER", &self.state);
        command.env_remove("STOCKSTREAM_CLUSTER_OWNER");
        command
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.ended = true;
        let finished = Process::spawn(&mut self.script("down.sh"))?.wait(PATIENCE)?;
        let finished = finished.success()?;
        // Nobody needs to look after it any more.
        std::fs::remove_file(&self.owner)?;
        if !finished.stderr.is_empty() {
            bail!("the cluster's end: {}", finished.stderr.trim_end());
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.ended {
            // The suite is over or has failed already: there is nobody left to tell.
            let _ = self.end();
        }
    }
}
