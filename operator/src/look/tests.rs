#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn standing(state: State, reason: &'static str) -> Standing {
    Standing::new(state, reason, "")
}

async fn looked(part: &mut Part<Standing>, generation: i64, state: State) -> Option<Standing> {
    part.begin(generation, || async move { Some(standing(state, "R")) });
    fetched(part, 1).await
}

async fn fetched(part: &mut Part<Standing>, within_secs: u64) -> Option<Standing> {
    part.wait_until(Instant::now() + Duration::from_secs(within_secs))
        .await;
    part.take_news().pop()
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_is_left_alone_and_fetched_later() {
    let mut part = Part::default();
    let begun = Arc::new(AtomicUsize::new(0));
    let slow = |part: &mut Part<Standing>| {
        let begun = begun.clone();
        part.begin(1, || async move {
            begun.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(5)).await;
            Some(standing(State::Ready, "R"))
        });
    };
    for _ in 0..2 {
        slow(&mut part);
        assert!(fetched(&mut part, 2).await.is_none());
        assert!(part.is_under_way() && part.found().is_none());
    }
    let found = fetched(&mut part, 2).await;
    assert_eq!(found.unwrap().state, State::Ready);
    assert_eq!(begun.load(Ordering::Relaxed), 1, "one look at a time");
    assert!(!part.is_under_way());
}

#[tokio::test(start_paused = true)]
async fn a_look_is_taken_again_when_it_is_due_or_the_spec_is_another() {
    let mut part = Part::default();
    assert!(looked(&mut part, 1, State::Ready).await.is_some());
    assert!(looked(&mut part, 1, State::Ready).await.is_none());
    assert!(looked(&mut part, 2, State::Ready).await.is_some());
    tokio::time::advance(READY_AGAIN).await;
    assert!(looked(&mut part, 2, State::Waiting).await.is_some());
    tokio::time::advance(WAITING_AGAIN).await;
    assert!(looked(&mut part, 2, State::Ready).await.is_some());
}

/// What was found while the spec was another one is no answer to this one.
#[tokio::test(start_paused = true)]
async fn a_look_that_began_before_a_change_is_followed_by_another() {
    let mut part = Part::default();
    part.begin(1, || async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Some(standing(State::Ready, "R"))
    });
    part.begin(2, || async { Some(standing(State::Stuck, "R")) });
    let found = fetched(&mut part, 9).await;
    assert_eq!(found.unwrap().state, State::Ready);
    assert!(part.found_for(2).is_none() && part.found_for(1).is_some());
    assert_eq!(part.due(2), Some(Instant::now()), "at once");
    assert!(looked(&mut part, 2, State::Stuck).await.is_some());
    assert_eq!(part.found().unwrap().state, State::Stuck);
}

#[tokio::test(start_paused = true)]
async fn what_was_ready_stays_so_for_two_failures_and_steps_are_told_all_the_same() {
    let mut part = Part::default();
    looked(&mut part, 1, State::Ready).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        tokio::time::advance(READY_AGAIN).await;
        let found = looked(&mut part, 1, State::Failing).await;
        assert_eq!(found.unwrap().state, State::Failing);
        told.push(part.found().unwrap().state);
    }
    assert_eq!(told, [State::Ready, State::Ready, State::Failing]);
}

#[tokio::test(start_paused = true)]
async fn who_forgets_a_part_ends_its_look() {
    let ended = Arc::new(AtomicUsize::new(0));
    let mut part = Part::default();
    let own = ended.clone();
    part.begin(1, || async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        own.fetch_add(1, Ordering::Relaxed);
        Some(standing(State::Ready, "R"))
    });
    part.forget();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(ended.load(Ordering::Relaxed), 0);
}
