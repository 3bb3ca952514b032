#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeSet;

use async_trait::async_trait;
use stockstream_core::time::Date;

use super::super::TableLayout;
use super::*;

/// A catalog that does as it is told.
#[derive(Default)]
struct Scripted {
    keys: Vec<&'static str>,
    projected: bool,
    registered: Mutex<BTreeSet<Values>>,
    locations: Mutex<Vec<String>>,
    calls: Mutex<Vec<usize>>,
    /// Answers of the next calls, before those of the table itself.
    failures: Mutex<VecDeque<CatalogError>>,
    /// Values with this part are refused.
    refuses: Option<&'static str>,
    /// A call with such a value fails as a whole.
    fails_whole: bool,
}

#[async_trait]
impl Catalog for Scripted {
    fn full_name(&self) -> &str {
        "db.t"
    }

    async fn layout(&self) -> Result<TableLayout, CatalogError> {
        Ok(TableLayout {
            keys: self.keys.iter().map(|key| (*key).to_owned()).collect(),
            projected: self.projected,
        })
    }

    async fn create(&self, partitions: &[NewPartition]) -> Result<Vec<Refusal>, CatalogError> {
        self.calls.lock().unwrap().push(partitions.len());
        if let Some(error) = self.failures.lock().unwrap().pop_front() {
            return Err(error);
        }
        let is_refused = |partition: &NewPartition| {
            self.refuses
                .is_some_and(|part| partition.values.iter().any(|value| value.contains(part)))
        };
        if self.fails_whole && partitions.iter().any(is_refused) {
            return Err(CatalogError::Refused {
                operation: "BatchCreatePartition",
                table: "db.t".into(),
                detail: "no".into(),
            });
        }
        let mut refusals = Vec::new();
        for partition in partitions {
            let refusal = |kind, detail: &str| Refusal {
                values: partition.values.clone(),
                kind,
                detail: detail.to_owned(),
            };
            if is_refused(partition) {
                refusals.push(refusal(RefusalKind::Invalid, "no"));
            } else if self
                .registered
                .lock()
                .unwrap()
                .insert(partition.values.clone())
            {
                self.locations
                    .lock()
                    .unwrap()
                    .push(partition.location.clone());
            } else {
                refusals.push(refusal(RefusalKind::Exists, "there"));
            }
        }
        Ok(refusals)
    }
}

const BOTH: [PartitionColumn; 2] = [PartitionColumn::Ticker, PartitionColumn::TradeDate];

fn registrar(mut catalog: Scripted, columns: &[PartitionColumn]) -> (Registrar, Arc<Scripted>) {
    if catalog.keys.is_empty() {
        catalog.keys = columns.iter().map(|column| column.name()).collect();
    }
    let catalog = Arc::new(catalog);
    let registrar = Registrar::new(catalog.clone(), columns.to_vec(), "s3://lake/rows");
    (registrar, catalog)
}

fn partition(ticker: &str, date: &str) -> Partition {
    Partition {
        ticker: ticker.into(),
        trade_date: Date::parse(date).unwrap(),
    }
}

fn many(count: usize) -> Vec<Partition> {
    (0..count)
        .map(|number| partition(&format!("T{number}"), "2024-01-02"))
        .collect()
}

#[tokio::test]
async fn partitions_are_registered_in_hundreds_and_asked_for_once() {
    let (registrar, catalog) = registrar(Scripted::default(), &BOTH);
    let round = registrar.register(many(250)).await;
    assert_eq!(round.done.len(), 250);
    assert!(!round.failed && round.standing.unwrap().ready);
    assert_eq!(*catalog.calls.lock().unwrap(), [100, 100, 50]);
    assert_eq!(registrar.unknown(many(251)).len(), 1);
    assert_eq!(registrar.register(many(250)).await.done.len(), 250);
    assert_eq!(catalog.calls.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_round_takes_a_thousand_and_leaves_the_rest() {
    let (registrar, _) = registrar(Scripted::default(), &BOTH);
    let all = many(1_500);
    assert_eq!(registrar.register(all.clone()).await.done.len(), 1_000);
    assert_eq!(registrar.register(all).await.done.len(), 1_500);
}

#[tokio::test]
async fn values_are_plain_and_locations_are_the_folders_of_the_files() {
    let (registrar, catalog) = registrar(Scripted::default(), &BOTH);
    registrar
        .register(vec![partition("^GSPC", "2024-01-02")])
        .await;
    let registered = catalog.registered.lock().unwrap().clone();
    assert_eq!(
        registered.into_iter().next().unwrap(),
        ["^GSPC", "2024-01-02"]
    );
    assert_eq!(
        *catalog.locations.lock().unwrap(),
        ["s3://lake/rows/ticker=%5EGSPC/trade_date=2024-01-02/"]
    );
}

#[tokio::test]
async fn tickers_of_one_folder_are_one_partition_and_all_done() {
    let (registrar, catalog) = registrar(Scripted::default(), &[PartitionColumn::TradeDate]);
    let round = registrar.register(many(7)).await;
    assert_eq!(round.done.len(), 7);
    assert_eq!(*catalog.calls.lock().unwrap(), [1]);
}

#[tokio::test]
async fn what_exists_already_is_done() {
    let (registrar, catalog) = registrar(Scripted::default(), &BOTH);
    let values = vec!["T0".to_owned(), "2024-01-02".to_owned()];
    catalog.registered.lock().unwrap().insert(values);
    let round = registrar.register(many(2)).await;
    assert_eq!((round.done.len(), round.failed), (2, false));
}

#[tokio::test]
async fn a_whole_call_that_is_refused_is_halved_until_the_culprit_is_alone() {
    for fails_whole in [true, false] {
        let catalog = Scripted {
            refuses: Some("T33"),
            fails_whole,
            ..Scripted::default()
        };
        let (registrar, catalog) = registrar(catalog, &BOTH);
        for attempt in 1..=MOST_REFUSALS {
            let round = registrar.register(many(100)).await;
            let given_up = attempt == MOST_REFUSALS;
            assert_eq!(round.done.len(), if given_up { 100 } else { 99 });
            assert_eq!(round.failed, !given_up);
            let standing = round.standing.unwrap();
            assert!(!standing.ready);
            assert!(standing.message.contains("T33"), "{}", standing.message);
        }
        assert_eq!(catalog.registered.lock().unwrap().len(), 99);
        // Given up: no file of it asks again.
        assert!(registrar.unknown(many(100)).is_empty());
    }
}

#[tokio::test]
async fn trouble_that_passes_is_told_only_when_it_stays_and_nothing_is_lost() {
    let throttled = CatalogError::Throttled {
        operation: "BatchCreatePartition",
        table: "db.t".into(),
        detail: "slow down".into(),
    };
    let catalog = Scripted {
        failures: Mutex::new(vec![throttled; 3].into()),
        ..Scripted::default()
    };
    let (registrar, _) = registrar(catalog, &BOTH);
    for told in [false, false, true] {
        let round = registrar.register(many(150)).await;
        assert!(round.failed && round.done.is_empty());
        assert_eq!(round.standing.is_some(), told);
    }
    let round = registrar.register(many(150)).await;
    assert_eq!(round.done.len(), 150);
    assert!(round.standing.unwrap().ready);
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_told_and_gets_nothing() {
    let catalog = Scripted {
        keys: vec!["ticker"],
        ..Scripted::default()
    };
    let (registrar, catalog) = registrar(catalog, &BOTH);
    for standing in [
        registrar.look().await,
        registrar.register(many(1)).await.standing.unwrap(),
    ] {
        assert_eq!(
            (standing.ready, standing.reason),
            (false, "PartitionKeysDiffer")
        );
        assert!(standing.message.contains("[ticker, trade_date]"));
    }
    assert!(catalog.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_projected_table_needs_nothing() {
    let catalog = Scripted {
        projected: true,
        ..Scripted::default()
    };
    let (registrar, catalog) = registrar(catalog, &BOTH);
    let round = registrar.register(many(3)).await;
    assert_eq!(round.done.len(), 3);
    assert_eq!(round.standing.unwrap().reason, "PartitionProjection");
    assert!(catalog.calls.lock().unwrap().is_empty());
}

#[test]
fn what_is_known_is_bounded() {
    let mut memory = Memory::default();
    for number in 0..3 * MOST_KNOWN {
        memory.learn(vec![number.to_string()]);
    }
    let known: usize = memory.known.iter().map(HashSet::len).sum();
    assert!(known <= 2 * MOST_KNOWN, "{known}");
    assert!(memory.knows(&vec![(3 * MOST_KNOWN - 1).to_string()]));
    assert!(!memory.knows(&vec!["0".to_owned()]));
}
