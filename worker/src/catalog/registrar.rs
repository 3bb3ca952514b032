//! Registering published partitions, whatever the catalog says.
//!
//! Owns which partitions are known to be registered, calls in hundreds, what is tried again and what is given up, and what
//! people are told. Must never know a shard or a chain: it is given partitions and says which are done.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stockstream_core::layout::partition_folder;
use stockstream_core::row::{Partition, PartitionColumn, PartitionPart};

use super::{Catalog, CatalogError, MOST_AT_ONCE, NewPartition, Refusal, RefusalKind};

/// The most partitions that one round registers: ten calls.
const MOST_A_ROUND: usize = 1_000;

/// Partitions that are remembered as registered, in each of two generations. Forgotten ones are asked for once more.
const MOST_KNOWN: usize = 100_000;

/// A partition that the catalog refuses this often is given up.
const MOST_REFUSALS: u32 = 5;

/// Partitions whose refusals are counted; beyond it counting begins anew.
const MOST_REFUSED: usize = 10_000;

/// Rounds in a row that may fail for a passing reason before people are told.
const QUIET_FAILURES: u32 = 2;

type Values = Vec<String>;

/// Registers a pipeline's partitions in its table. One for a process: its shards' rounds take turns.
pub struct Registrar {
    catalog: Arc<dyn Catalog>,
    columns: Vec<PartitionColumn>,
    output: String,
    turn: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Registered, given up, or not needed: the younger and the older generation.
    known: [HashSet<Values>; 2],
    refusals: HashMap<Values, u32>,
    given_up: u64,
    first_given_up: String,
    failures: u32,
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Partitions that need nothing more.
    pub done: Vec<Partition>,
    /// What to tell people; `None` when nothing new is known.
    pub standing: Option<Standing>,
    /// True when what is left should wait a while.
    pub failed: bool,
}

/// How things stand with the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// True when partitions are registered, or needn't be.
    pub ready: bool,
    /// A short stable reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Registrar {
    /// `output`: the output path's URL, without a slash at its end.
    pub fn new(catalog: Arc<dyn Catalog>, columns: Vec<PartitionColumn>, output: &str) -> Self {
        Registrar {
            catalog,
            columns,
            output: output.trim_end_matches('/').to_owned(),
            turn: tokio::sync::Mutex::new(()),
            memory: Mutex::default(),
        }
    }

    /// Those of the partitions that aren't known to be registered.
    pub fn unknown(&self, mut partitions: Vec<Partition>) -> Vec<Partition> {
        let memory = self.memory();
        partitions.retain(|partition| !memory.knows(&self.values(partition)));
        partitions
    }

    /// Looks at the table without registering anything: what is wrong with it is best told at the start.
    pub async fn look(&self) -> Standing {
        match self.needs_registering().await {
            Ok(true) => self.good_standing(),
            Ok(false) => self.projected(),
            Err(error) => bad_standing(&error),
        }
    }

    /// Registers as many of the partitions as one round may.
    pub async fn register(&self, partitions: Vec<Partition>) -> Round {
        let _turn = self.turn.lock().await;
        match self.needs_registering().await {
            Ok(true) => self.register_needed(partitions).await,
            Ok(false) => {
                let mut memory = self.memory();
                memory.failures = 0;
                for partition in &partitions {
                    memory.learn(self.values(partition));
                }
                Round {
                    done: partitions,
                    standing: Some(self.projected()),
                    failed: false,
                }
            }
            Err(error) => self.failed(Vec::new(), error),
        }
    }

    async fn register_needed(&self, partitions: Vec<Partition>) -> Round {
        let mut by_values: BTreeMap<Values, Vec<Partition>> = BTreeMap::new();
        let mut done = Vec::new();
        {
            let memory = self.memory();
            for partition in partitions {
                let values = self.values(&partition);
                // Another shard, or another ticker of the same folder, may have been faster.
                if memory.knows(&values) {
                    done.push(partition);
                } else if by_values.len() < MOST_A_ROUND || by_values.contains_key(&values) {
                    by_values.entry(values).or_default().push(partition);
                }
            }
        }
        let new: Vec<NewPartition> = by_values
            .iter()
            .filter_map(|(values, partitions)| {
                Some(NewPartition {
                    values: values.clone(),
                    location: self.location(partitions.first()?),
                })
            })
            .collect();
        let (settled, error) = self.create_all(&new).await;
        for values in settled {
            done.extend(by_values.remove(&values).unwrap_or_default());
            self.memory().learn(values);
        }
        match error {
            Some(error) => self.failed(done, error),
            None => {
                self.memory().failures = 0;
                Round {
                    done,
                    standing: Some(self.good_standing()),
                    failed: !by_values.is_empty(),
                }
            }
        }
    }

    /// Creates in hundreds. Returns the values that need nothing more, and what ended it early or kept some back.
    async fn create_all(&self, new: &[NewPartition]) -> (Vec<Values>, Option<CatalogError>) {
        let mut settled = Vec::new();
        let mut trouble = None;
        let mut calls: VecDeque<&[NewPartition]> = new.chunks(MOST_AT_ONCE).collect();
        while let Some(call) = calls.pop_front() {
            match self.catalog.create(call).await {
                Ok(refusals) => {
                    trouble = self.settle(call, refusals, &mut settled).or(trouble);
                }
                Err(error) if error.is_about_content() && call.len() > 1 => {
                    let (first, second) = call.split_at(call.len() / 2);
                    calls.push_front(second);
                    calls.push_front(first);
                }
                Err(error) if error.is_about_content() => {
                    let exists = matches!(error, CatalogError::Exists { .. });
                    let refusals = call.iter().map(|partition| Refusal {
                        values: partition.values.clone(),
                        kind: match exists {
                            true => RefusalKind::Exists,
                            false => RefusalKind::Invalid,
                        },
                        detail: error.to_string(),
                    });
                    trouble = self
                        .settle(call, refusals.collect(), &mut settled)
                        .or(trouble);
                }
                Err(error) => return (settled, Some(error)),
            }
        }
        (settled, trouble)
    }

    /// Takes note of one call's answer.
    fn settle(
        &self,
        call: &[NewPartition],
        refusals: Vec<Refusal>,
        settled: &mut Vec<Values>,
    ) -> Option<CatalogError> {
        let mut refused: HashMap<Values, Refusal> = refusals
            .into_iter()
            .map(|refusal| (refusal.values.clone(), refusal))
            .collect();
        let mut trouble = None;
        for partition in call {
            let refusal = refused.remove(&partition.values);
            match refusal
                .as_ref()
                .map(|refusal| (refusal.kind, &refusal.detail))
            {
                None | Some((RefusalKind::Exists, _)) => settled.push(partition.values.clone()),
                Some((RefusalKind::Transient, detail)) => {
                    trouble = Some(CatalogError::Unavailable {
                        operation: "BatchCreatePartition",
                        table: self.catalog.full_name().to_owned(),
                        detail: format!("partition {:?}: {detail}", partition.values),
                    });
                }
                Some((RefusalKind::Invalid, detail)) => {
                    let detail = format!("partition {:?}: {detail}", partition.values);
                    if self.memory().refuse(&partition.values, &detail) {
                        settled.push(partition.values.clone());
                    } else {
                        trouble = Some(CatalogError::Refused {
                            operation: "BatchCreatePartition",
                            table: self.catalog.full_name().to_owned(),
                            detail,
                        });
                    }
                }
            }
        }
        trouble
    }

    /// False when readers of the table find partitions by themselves.
    async fn needs_registering(&self) -> Result<bool, CatalogError> {
        let layout = self.catalog.layout().await?;
        let expected: Vec<&str> = self.columns.iter().map(|column| column.name()).collect();
        if layout.keys != expected {
            return Err(CatalogError::OtherKeys {
                table: self.catalog.full_name().to_owned(),
                found: layout.keys.join(", "),
                expected: expected.join(", "),
            });
        }
        Ok(!layout.projected)
    }

    fn failed(&self, done: Vec<Partition>, error: CatalogError) -> Round {
        let mut memory = self.memory();
        memory.failures = memory.failures.saturating_add(1);
        let quiet = error.is_transient() && memory.failures <= QUIET_FAILURES;
        Round {
            done,
            standing: (!quiet).then(|| bad_standing(&error)),
            failed: true,
        }
    }

    fn good_standing(&self) -> Standing {
        let memory = self.memory();
        if memory.given_up == 0 {
            return Standing {
                ready: true,
                reason: "Registered",
                message: format!(
                    "new partitions are registered in the Glue table {}",
                    self.catalog.full_name()
                ),
            };
        }
        Standing {
            ready: false,
            reason: "PartitionsRefused",
            message: format!(
                "the Glue table {} refused {} partitions {MOST_REFUSALS} times each, and they were given up; the first: {}",
                self.catalog.full_name(),
                memory.given_up,
                memory.first_given_up
            ),
        }
    }

    fn projected(&self) -> Standing {
        Standing {
            ready: true,
            reason: "PartitionProjection",
            message: format!(
                "the Glue table {} uses partition projection: Athena works partitions out by itself, and none is registered",
                self.catalog.full_name()
            ),
        }
    }

    fn values(&self, partition: &Partition) -> Values {
        let parts = partition.parts(&self.columns).into_iter();
        parts
            .map(|part| match part {
                PartitionPart::Ticker(ticker) => ticker.to_string(),
                PartitionPart::TradeDate(date) => date.to_string(),
            })
            .collect()
    }

    fn location(&self, partition: &Partition) -> String {
        let folder = partition_folder(&self.columns, &partition.parts(&self.columns));
        format!("{}/{folder}", self.output)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bad_standing(error: &CatalogError) -> Standing {
    Standing {
        ready: false,
        reason: error.reason(),
        message: error.to_string(),
    }
}

impl Memory {
    fn knows(&self, values: &Values) -> bool {
        self.known
            .iter()
            .any(|generation| generation.contains(values))
    }

    fn learn(&mut self, values: Values) {
        self.refusals.remove(&values);
        let [younger, older] = &mut self.known;
        if younger.len() >= MOST_KNOWN {
            *older = std::mem::take(younger);
        }
        younger.insert(values);
    }

    /// Counts a refusal; true when the partition is given up.
    fn refuse(&mut self, values: &Values, detail: &str) -> bool {
        if self.refusals.len() >= MOST_REFUSED {
            self.refusals.clear();
        }
        let count = self.refusals.entry(values.clone()).or_default();
        *count += 1;
        let given_up = *count >= MOST_REFUSALS;
        if given_up {
            self.given_up += 1;
            if self.given_up == 1 {
                detail.clone_into(&mut self.first_given_up);
            }
        }
        given_up
    }
}

#[cfg(test)]
mod tests;
