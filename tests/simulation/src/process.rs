//! One worker's process: the binary's own loop behind a gate.
//!
//! Owns starting it and what can be done to it from outside: signals, its network, its calendar.

use std::sync::{Arc, Mutex};

use stockstream::ambient::Gate;
use stockstream::clock::Clock;
use stockstream::observe::state::{PipelineName, WorkerReport};
use stockstream::observe::{Identity, Observer};
use stockstream::pipeline::members::mailbox;
use stockstream::pipeline::{
    Company, Host, Orders, PipelineError, Stores, StreamSource, run_stream,
};
use stockstream::storage::Policy;
use stockstream_core::codec::OLDEST_FORMAT;
use stockstream_core::member::Formats;
use stockstream_crds::Pipeline;
use stockstream_local::Kinesis;
use tokio::sync::watch;

use crate::clock::{Calendar, World};
use crate::network::{Link, Network, lock};
use crate::note;
use crate::peers::{SimulatedPeers, Town};
use crate::store::{Objects, SimulatedStore, place};
use crate::stream::SimulatedStream;
use crate::trace::Trace;
use crate::watch::Watch;

/// What all processes of a run share.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The true time.
    pub world: World,
    /// What happens.
    pub trace: Trace,
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The same with the newest checkpoint format, for workers of the newest release.
    pub newest_pipeline: Arc<Pipeline>,
    /// The stream.
    pub log: Arc<Kinesis>,
    /// The store.
    pub objects: Arc<Mutex<Objects>>,
    /// The network.
    pub network: Arc<Network>,
    /// Which workers can be reached where.
    pub town: Town,
    /// None can be reached by another.
    pub are_strangers: bool,
    /// Who looks on.
    pub watch: Arc<Watch>,
}

/// Which release a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The one before: it reads and writes no checkpoint format but the one before.
    Before,
    /// This one.
    Newest,
}

impl Release {
    fn reads(self) -> Formats {
        match self {
            Release::Before => Formats {
                oldest: OLDEST_FORMAT,
                newest: OLDEST_FORMAT,
            },
            Release::Newest => Formats::OURS,
        }
    }
}

/// How a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// It runs.
    Running,
    /// It was sent SIGSTOP.
    Paused,
    /// It was sent SIGTERM.
    Stopping,
}

/// One process.
#[derive(Debug)]
pub struct Process {
    /// Its worker's name, which the next process of the worker will have too.
    pub worker: usize,
    /// Which release it runs.
    pub release: Release,
    /// How it stands.
    pub stance: Stance,
    /// Its link to the network.
    pub link: Arc<Link>,
    /// Its calendar.
    pub calendar: Calendar,
    trace: Trace,
    town: Town,
    address: String,
    gate: Gate,
    clock: Clock,
    orders: watch::Sender<Orders>,
    ended: Arc<Mutex<Option<Result<(), PipelineError>>>>,
}

/// Limits of the store's operations, in proportion to leases of one and a half seconds.
fn policy() -> Policy {
    Policy {
        attempt: std::time::Duration::from_secs(2),
        overall: std::time::Duration::from_secs(8),
        attempts: 6,
        first_pause: std::time::Duration::from_millis(50),
        longest_pause: std::time::Duration::from_secs(1),
    }
}

impl Process {
    /// Starts a process of a worker; `number` tells it from all others.
    pub fn start(
        around: &Surroundings,
        worker: usize,
        number: usize,
        calendar: Calendar,
        release: Release,
    ) -> Self {
        let process = format!("w{worker}.{number}");
        note!(around.trace, "{process} starts: {release:?}");
        let link = Arc::new(Link::new(process));
        let (orders, received) = watch::channel(Orders::Run);
        let clock = calendar.clock();
        let (gate, ended) = (Gate::default(), Arc::new(Mutex::new(None)));
        // A container keeps its address when it starts again, a new pod has another.
        let address = match number % 2 {
            0 => format!("w{worker}:8080"),
            _ => format!("p{number}:8080"),
        };
        let (mailbox, incoming) = mailbox(link.process.clone());
        around.town.opens(&address, &link.process, mailbox.clone());
        let state = around.pipeline.state();
        let company = Company {
            heartbeat: state.heartbeat,
            expiry: state.expiry,
            address: (!around.are_strangers).then(|| address.clone()),
            peers: Arc::new(SimulatedPeers {
                network: around.network.clone(),
                link: link.clone(),
                town: around.town.clone(),
            }),
            mailbox,
            incoming,
        };
        let main = run(
            around.clone(),
            (format!("w{worker}"), release),
            link.clone(),
            clock.clone(),
            company,
            received,
        );
        let (told, trace, name) = (ended.clone(), around.trace.clone(), link.process.clone());
        let (town, door) = (around.town.clone(), address.clone());
        tokio::spawn(gate.run(async move {
            let result = main.await;
            town.closes(&door, &name);
            match &result {
                Ok(()) => note!(trace, "{name} ends"),
                Err(error) => note!(trace, "{name} fails: {error}"),
            }
            *lock(&told) = Some(result);
        }));
        Process {
            worker,
            release,
            stance: Stance::Running,
            link,
            calendar,
            trace: around.trace.clone(),
            town: around.town.clone(),
            address,
            gate,
            clock,
            orders,
            ended,
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        note!(self.trace, "{} killed", self.link.process);
        self.town.closes(&self.address, &self.link.process);
        self.gate.kill();
    }

    /// Its machine is gone: nobody gets an answer, not even a refusal.
    pub fn vanish(&mut self) {
        note!(self.trace, "{} vanishes", self.link.process);
        self.town.vanishes(&self.address, &self.link.process);
        self.gate.kill();
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        note!(self.trace, "{} paused", self.link.process);
        self.stance = Stance::Paused;
        self.gate.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        note!(self.trace, "{} resumed", self.link.process);
        self.stance = Stance::Running;
        self.gate.resume();
    }

    /// SIGTERM.
    pub fn stop(&mut self) {
        note!(self.trace, "{} told to stop", self.link.process);
        self.stance = Stance::Stopping;
        self.orders.send_replace(Orders::Stop);
    }

    /// Tells it to read to the tip, to close every window, and to end.
    pub fn drain(&mut self) {
        note!(self.trace, "{} told to drain", self.link.process);
        self.orders
            .send_replace(Orders::Drain(self.clock.monotonic()));
    }

    /// How it ended, once it has.
    pub fn take_end(&self) -> Option<Result<(), PipelineError>> {
        lock(&self.ended).take()
    }
}

async fn run(
    around: Surroundings,
    (name, release): (String, Release),
    link: Arc<Link>,
    clock: Clock,
    company: Company,
    orders: watch::Receiver<Orders>,
) -> Result<(), PipelineError> {
    let store = SimulatedStore {
        world: around.world,
        network: around.network.clone(),
        link: link.clone(),
        objects: around.objects.clone(),
        watch: around.watch.clone(),
    };
    let stores = Stores {
        state: place(&store, "state", policy()),
        output: place(&store, "output", policy()),
        rejects: place(&store, "rejects", policy()),
    };
    let stream = Arc::new(SimulatedStream {
        log: around.log.clone(),
        network: around.network.clone(),
        link,
        watch: around.watch.clone(),
        iterators: Arc::default(),
    });
    let pipeline = match release {
        Release::Before => around.pipeline.as_ref(),
        Release::Newest => around.newest_pipeline.as_ref(),
    };
    let host = Host {
        reads: release.reads(),
        catalog: None,
        observer: Observer::new(identity(pipeline, &name)),
        name,
        clock,
    };
    let source = StreamSource {
        pipeline: pipeline.clone(),
        stores,
        client: stream,
        host,
        on_data_loss: None,
    };
    let started = source.start().await?;
    run_stream(source, started, company, orders).await
}

fn identity(pipeline: &Pipeline, name: &str) -> Identity {
    Identity {
        pipeline: PipelineName {
            namespace: pipeline.namespace().to_owned(),
            name: pipeline.name().to_owned(),
        },
        stream: crate::stream::STREAM.to_owned(),
        worker: WorkerReport {
            member_id: name.to_owned(),
            version: "simulated".to_owned(),
            started_at: 0,
            endpoint: None,
            listen: None,
        },
        output_path: "output".to_owned(),
        rejects_path: "rejects".to_owned(),
        state_path: "state".to_owned(),
        aggregates: Vec::new(),
    }
}
