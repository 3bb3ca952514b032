#![allow(clippy::unwrap_used)]

use stockstream_core::member::Holding;
use stockstream_core::time::Micros;

use super::*;
use crate::pipeline::members::NoPeers;
use crate::storage::faults::{Fault, FaultyStore, On};

const HEARTBEAT: Duration = Duration::from_secs(2);

async fn join(faulty: &Arc<FaultyStore>) -> MembershipHandle {
    let store = Store::from_object_store(faulty.clone(), "state");
    let clock = Clock::system();
    let me = MemberInfo::new("w-1", "w", "k1", "1.0.0", Micros(0));
    let timing = LeaseTiming::new(2_000_000, 6_000_000);
    let joined = Membership::join(store, clock, timing, me, Arc::new(NoPeers)).await;
    joined.unwrap()
}

fn beats(faulty: &FaultyStore) -> usize {
    let puts = faulty.seen(On::Put);
    puts.iter().filter(|path| path.ends_with("/beat")).count()
}

/// A worker that takes thousands of shards writes its info again and again.
#[tokio::test(start_paused = true)]
async fn an_info_that_changes_all_the_time_holds_up_no_beat() {
    let faulty = Arc::new(FaultyStore::default());
    let joined = join(&faulty).await;
    let before = beats(&faulty);
    let until = Instant::now() + 10 * HEARTBEAT;
    let mut epoch = 0;
    while Instant::now() < until {
        epoch += 1;
        joined.own.send_modify(|info| {
            let holding = Holding {
                epoch,
                since: Micros(0),
                ended: false,
                trouble: None,
            };
            info.shards.insert("a".to_owned(), holding);
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let beaten = beats(&faulty) - before;
    assert!(beaten >= 9, "{beaten} beats in ten heartbeats");
}

/// Another member's info can't be read: it is known to live, and this worker beats on.
#[tokio::test(start_paused = true)]
async fn infos_that_no_answer_comes_for_hold_up_no_beat_for_longer_than_one_request() {
    let faulty = Arc::new(FaultyStore::default());
    let store = Store::from_object_store(faulty.clone(), "state");
    let joined = join(&faulty).await;
    for other in 0..100 {
        let key = member_beat(&format!("o-{other}"));
        store.put_overwrite(&key, Bytes::from("1")).await.unwrap();
        let key = member_info(&format!("o-{other}"));
        store.put_overwrite(&key, Bytes::from("{}")).await.unwrap();
    }
    faulty.fail(On::Get, "/info", usize::MAX, Fault::Hang);
    let before = beats(&faulty);
    tokio::time::sleep(12 * HEARTBEAT).await;
    let beaten = beats(&faulty) - before;
    assert!(beaten >= 5, "{beaten} beats in twelve heartbeats");
    let view = joined.view.borrow();
    assert_eq!(view.peers.len(), 100);
    assert!(view.peers.values().all(|peer| peer.info.is_none()));
}
