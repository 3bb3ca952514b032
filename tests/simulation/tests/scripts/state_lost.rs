//! A chain that somebody has removed: never begun again, since its rows are out already.

use anyhow::Result;
use stockstream::pipeline::PipelineError;
use stockstream_core::sequence::Position;

use crate::stage::{PARENT, begin, end_of, position, put, simulate, start, until};

#[test]
fn a_worker_that_knew_the_chain_stops_and_says_what_is_lost() -> Result<()> {
    simulate(async || {
        let around = begin("Continue")?;
        let mut first = start(&around, 0, 1);
        put(&around, "READ", 1);
        until(&around, "the first tick is read", || {
            matches!(position(&around, PARENT), Some(Position::After(_)))
        })
        .await;
        let second = start(&around, 1, 2);
        until(&around, "the other worker is there", || {
            let objects = around.objects.lock().unwrap();
            objects.under("state/members").count() == 4
        })
        .await;
        first.kill();
        let folder = format!("state/shards/k1704153600000/{PARENT}");
        around.objects.lock().unwrap().remove_under(&folder);
        let ended = end_of(&around, &second).await;
        assert!(
            matches!(&ended, Err(PipelineError::StateLost { shard, .. }) if shard == PARENT),
            "{ended:?}"
        );
        let objects = around.objects.lock().unwrap();
        assert_eq!(objects.under(&folder).count(), 0, "it was begun again");
        Ok(())
    })
}
