//! The operator's AWS part from a StockStream's first look to its end.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use jiff::Timestamp;
use stockstream_crds::Pipeline;
use stockstream_crds::pipeline::{KinesisSettings, StreamCapacity};
use stockstream_operator::aws::calls::Call;
use stockstream_operator::aws::count::CountRequests;
use stockstream_operator::aws::error::AwsError;
use stockstream_operator::aws::glue::Catalogs;
use stockstream_operator::aws::kinesis::Streams;
use stockstream_operator::aws::storage::{Buckets, Place, places};
use stockstream_operator::aws::stream_plan::Owner;
use stockstream_operator::aws::table_plan::{Column, TableWish, tables};
use stockstream_operator::aws::{Standing, State};
use stockstream_operator::metrics::Metrics;
use stockstream_tests::servers::BUCKET;

use crate::stage::{Run, STATE_ID, Server, Stage};

/// Looks at a stream that is being changed. The servers change theirs at once.
const LOOKS: usize = 100;

const ADVICE: &str = "what would be better";

/// Where a life ended too early.
#[derive(Debug)]
struct Trouble {
    doing: &'static str,
    reason: String,
    message: String,
}

impl Trouble {
    fn of(doing: &'static str, standing: &Standing) -> Self {
        Self {
            doing,
            reason: standing.reason.to_owned(),
            message: standing.message.clone(),
        }
    }

    fn odd(doing: &'static str, message: String) -> Self {
        Self {
            doing,
            reason: "Odd".to_owned(),
            message,
        }
    }
}

/// Under its whole policy nothing is missing; without an action the first need of it is told, by the action's name.
pub fn judge(stage: &Stage, run: Run) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let lived = runtime.block_on(async { Life::of(stage, run)?.live().await })?;
    let Some(call) = run.without else {
        return match lived {
            Ok(()) => Ok(()),
            Err(trouble) => bail!("{trouble:?}"),
        };
    };
    let Err(trouble) = lived else {
        bail!("nobody needs {}", call.action());
    };
    match call {
        // Advice is given as far as may be seen: without it everything works.
        Call::GetBucketVersioning | Call::GetLifecycleConfiguration => {
            ensure!(trouble.doing == ADVICE, "{trouble:?}");
        }
        _ => {
            ensure!(trouble.message.contains(call.action()), "{trouble:?}");
            // What moto says in XML is no refusal to a client that expects JSON.
            if stage.server == Server::Ministack || call.action().starts_with("s3:") {
                ensure!(trouble.reason == "AccessDenied", "{trouble:?}");
            }
        }
    }
    Ok(())
}

struct Life {
    server: Server,
    streams: Streams,
    catalogs: Catalogs,
    buckets: Buckets,
    pipeline: Pipeline,
    owner: Owner,
    name: String,
}

impl Life {
    fn of(stage: &Stage, run: Run) -> anyhow::Result<Self> {
        let (key, secret) = stage.key(run)?;
        let credentials = Credentials::new(key, secret, None, None, "suite");
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("us-east-1"))
            .endpoint_url(&stage.running.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let name = run.slug();
        Ok(Self {
            server: stage.server,
            streams: Streams::new(aws_sdk_kinesis::Client::new(&config)),
            catalogs: Catalogs::new(aws_sdk_glue::Client::new(&config)),
            buckets: Buckets::new(&config, CountRequests(Metrics::default())),
            pipeline: pipeline(&name, &run.table())?,
            owner: Owner {
                name: format!("default/{name}"),
                uid: format!("uid-of-{name}"),
            },
            name,
        })
    }

    async fn live(&self) -> anyhow::Result<Result<(), Trouble>> {
        let wish = self.pipeline.kinesis().context("a stream")?;
        let catalog = self.pipeline.catalog().context("a catalog")?;
        let (wishes, places) = (tables(&self.pipeline), places(&self.pipeline));
        ensure!(places.len() == 3, "{places:?}");
        Ok(async {
            self.stream(wish).await?;
            self.catalog(wishes.clone()).await?;
            self.bucket(&places).await?;
            self.end_of_data(&places).await?;
            let deleted = self.catalogs.delete(catalog, &wishes, &self.owner).await;
            deleted.map_err(told("deleting the tables"))?;
            self.end_of_stream(&wish.stream_name).await
        }
        .await)
    }

    /// Made, adopted, and changed in every way that the spec has.
    async fn stream(&self, wish: &KinesisSettings) -> Result<(), Trouble> {
        let mut wish = wish.clone();
        self.until_ready("making the stream", &wish, "StreamCreated")
            .await?;
        let mut adopted = wish.clone();
        adopted.stream_name = format!("{}-adopted", self.name);
        self.until_ready("adopting a stream", &adopted, "StreamAdopted")
            .await?;
        wish.retention = Duration::from_hours(24);
        self.until_ready("keeping ticks less long", &wish, "StreamRetentionChanged")
            .await?;
        wish.encryption_key = Some("alias/stock-ticks".to_owned());
        self.until_ready("encrypting", &wish, "StreamEncrypted")
            .await?;
        wish.capacity = StreamCapacity::Provisioned { shards: 2 };
        self.until_ready("more shards", &wish, "StreamScaled")
            .await?;
        if self.server != Server::Ministack {
            wish.capacity = StreamCapacity::OnDemand;
            self.until_ready("on demand", &wish, "StreamModeChanged")
                .await?;
        }
        Ok(())
    }

    /// Until nothing is left to do; `done` must be among what was done.
    async fn until_ready(
        &self,
        doing: &'static str,
        wish: &KinesisSettings,
        done: &str,
    ) -> Result<(), Trouble> {
        let mut steps = Vec::new();
        for _ in 0..LOOKS {
            let now = Timestamp::now();
            let look = self.streams.reconcile(wish, &self.owner, &[], now);
            let standing = look.await.standing;
            steps.extend(standing.done.iter().map(|(reason, _)| *reason));
            match standing.state {
                State::Ready if standing.reason == "Active" && steps.contains(&done) => {
                    return Ok(());
                }
                State::Waiting => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return Err(Trouble::of(doing, &standing)),
            }
        }
        Err(Trouble::odd(doing, format!("no end of {steps:?}")))
    }

    /// Database and tables made, and a column added.
    async fn catalog(&self, mut wishes: Vec<TableWish>) -> Result<(), Trouble> {
        self.until_there("making the tables", &wishes, "TableCreated")
            .await?;
        for wish in &mut wishes {
            wish.columns.push(Column {
                name: "one_more".to_owned(),
                kind: "double".to_owned(),
            });
        }
        self.until_there("growing the tables", &wishes, "TableUpdated")
            .await
    }

    async fn until_there(
        &self,
        doing: &'static str,
        wishes: &[TableWish],
        done: &str,
    ) -> Result<(), Trouble> {
        let Some(catalog) = self.pipeline.catalog() else {
            return Ok(());
        };
        let look = self.catalogs.reconcile(catalog, wishes, &self.owner).await;
        let mut steps = look.standing.done.iter();
        let steps = steps.by_ref().filter(|(reason, _)| *reason == done).count();
        match look.standing.state {
            State::Ready if steps == wishes.len() => Ok(()),
            _ => Err(Trouble::of(doing, &look.standing)),
        }
    }

    async fn bucket(&self, places: &[Place]) -> Result<(), Trouble> {
        let standing = self.buckets.look(places, None).await;
        if standing.state != State::Ready {
            return Err(Trouble::of("probing the bucket", &standing));
        }
        // The bucket has a rule for objects, and versions but no rule for old ones.
        let rule = format!("advice: {BUCKET} has a rule that lets objects expire");
        let versions = format!("advice: {BUCKET} is versioned");
        let is_told = standing.message.contains(&rule)
            // What moto says of versions isn't understood.
            && (self.server == Server::Moto || standing.message.contains(&versions));
        match is_told {
            true => Ok(()),
            false => Err(Trouble::of(ADVICE, &standing)),
        }
    }

    async fn end_of_data(&self, places: &[Place]) -> Result<(), Trouble> {
        const READING: &str = "reading whose data it is";
        let of = ("default", self.name.as_str());
        let found = self.buckets.state_id(places, of).await;
        if found.map_err(told(READING))?.as_deref() != Some(STATE_ID) {
            return Err(Trouble::odd(READING, "it isn't ours".to_owned()));
        }
        let within = Duration::from_secs(60);
        let gone = self.buckets.delete_data(places, STATE_ID, within).await;
        match gone.map_err(told("deleting the data"))? {
            true => Ok(()),
            false => Err(Trouble::odd("deleting the data", "no end of it".to_owned())),
        }
    }

    async fn end_of_stream(&self, name: &str) -> Result<(), Trouble> {
        const DOING: &str = "deleting the stream";
        for _ in 0..LOOKS {
            let gone = self.streams.delete(name, &self.owner).await;
            if gone.map_err(told(DOING))? {
                let left = self.streams.find(name).await.map_err(told(DOING))?;
                return match left {
                    None => Ok(()),
                    Some(left) => Err(Trouble::odd(DOING, format!("it is there: {left:?}"))),
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Trouble::odd(DOING, "no end of it".to_owned()))
    }
}

fn told(doing: &'static str) -> impl Fn(AwsError) -> Trouble {
    move |error| Trouble::of(doing, &error.standing())
}

fn pipeline(name: &str, database: &str) -> anyhow::Result<Pipeline> {
    let yaml = format!(
        "apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata: {{name: {name}, namespace: default}}
spec:
  source:
    kinesis: {{streamName: {name}, mode: {{provisioned: {{shards: 1}}}}, retention: 48h}}
  output: {{path: 's3://{BUCKET}/{name}/rows'}}
  catalog: {{glue: {{database: {database}, table: rows}}}}
  state: {{path: 's3://{BUCKET}/{name}/state'}}
"
    );
    stockstream_crds::parse(&yaml).map_err(|errors| anyhow::anyhow!("{errors}\n{yaml}"))
}
