#![allow(clippy::unwrap_used)]
use super::*;
use crate::time::Micros;

const BEAT: i64 = 2_000_000;

fn watch() -> Watch {
    let mut me = MemberInfo::new("me-1", "me", "k1", "r", Micros(0));
    me.address = Some("10.0.0.1:8080".to_owned());
    me.machine = Some("m".to_owned());
    Watch::new(me, LeaseTiming::new(BEAT, 3 * BEAT), Monotonic(0))
}

fn entry(member: &str, beat: u32) -> Seen {
    Seen {
        member: member.to_owned(),
        beat: Some(beat.to_string()),
        info: Some("i".to_owned()),
        age: 0,
    }
}

fn aged(member: &str, beat: u32, age: i64) -> Seen {
    Seen {
        age,
        ..entry(member, beat)
    }
}

/// One round: a beat that succeeds, and a listing.
fn round(watch: &mut Watch, number: i64, seen: Vec<Seen>) -> Found {
    let now = Monotonic(number * BEAT);
    watch.beat_succeeded(now);
    watch.listed(now, seen)
}

fn is_live(watch: &Watch, member: &str) -> bool {
    watch.peers()[member].is_live
}

#[test]
fn three_rounds_without_a_change_are_death_and_a_change_is_life() {
    let mut watch = watch();
    for number in 0..3 {
        round(&mut watch, number, vec![entry("p-1", 7)]);
        assert!(is_live(&watch, "p-1"), "round {number}");
    }
    round(&mut watch, 3, vec![entry("p-1", 7)]);
    assert!(!is_live(&watch, "p-1"));
    assert_eq!(watch.stable_since(), Monotonic(3 * BEAT));
    round(&mut watch, 4, vec![entry("p-1", 8)]);
    assert!(is_live(&watch, "p-1"));
}

#[test]
fn a_store_that_was_away_for_everybody_kills_nobody() {
    let mut watch = watch();
    round(&mut watch, 0, vec![entry("p-1", 7)]);
    round(&mut watch, 1, vec![entry("p-1", 7)]);
    round(&mut watch, 2, vec![entry("p-1", 7)]);
    for _ in 0..20 {
        watch.beat_failed();
    }
    // Back again: the peer's own beats needed the store as well.
    round(&mut watch, 30, vec![entry("p-1", 7)]);
    round(&mut watch, 31, vec![entry("p-1", 7)]);
    assert!(is_live(&watch, "p-1"));
    round(&mut watch, 32, vec![entry("p-1", 7)]);
    assert!(!is_live(&watch, "p-1"));
}

#[test]
fn the_dead_stay_dead_while_the_store_is_away() {
    let mut watch = watch();
    for number in 0..4 {
        round(&mut watch, number, vec![entry("p-1", 7)]);
    }
    assert!(!is_live(&watch, "p-1"));
    let since = watch.stable_since();
    watch.beat_failed();
    assert!(!is_live(&watch, "p-1"));
    round(&mut watch, 5, vec![entry("p-1", 7)]);
    assert!(!is_live(&watch, "p-1"));
    assert_eq!(watch.stable_since(), since);
    round(&mut watch, 6, vec![entry("p-1", 8)]);
    assert!(is_live(&watch, "p-1"));
}

#[test]
fn listings_that_come_too_soon_or_without_a_beat_of_ones_own_dont_count() {
    let mut watch = watch();
    for number in 0..10 {
        watch.beat_succeeded(Monotonic(number));
        watch.listed(Monotonic(number), vec![entry("p-1", 7)]);
    }
    assert!(is_live(&watch, "p-1"));
    for number in 1..10 {
        watch.listed(Monotonic(number * BEAT), vec![entry("p-1", 7)]);
    }
    assert!(is_live(&watch, "p-1"));
}

#[test]
fn a_hint_kills_at_once_and_two_beats_refute_it_and_later_ones() {
    let mut watch = watch();
    round(&mut watch, 0, vec![entry("p-1", 7)]);
    let info = MemberInfo::new("p-1", "p", "k1", "r", Micros(0));
    watch.info_read("p-1", "i".to_owned(), info.clone(), Monotonic(1));
    assert!(watch.refused("p-1", Monotonic(2)));
    assert!(!is_live(&watch, "p-1"));
    // Written before it died, perhaps.
    round(&mut watch, 1, vec![entry("p-1", 8)]);
    assert!(!is_live(&watch, "p-1"));
    round(&mut watch, 2, vec![entry("p-1", 9)]);
    assert!(is_live(&watch, "p-1"));
    assert!(!watch.refused("p-1", Monotonic(2 * BEAT + 1)));
    assert!(is_live(&watch, "p-1"));
    // What else its info says makes no difference.
    let mut later = info.clone();
    later.draining = true;
    watch.info_read("p-1", "j".to_owned(), later, Monotonic(2 * BEAT + 2));
    assert!(!watch.refused("p-1", Monotonic(2 * BEAT + 3)));
    // Until it listens elsewhere.
    let mut moved = info;
    moved.address = Some("10.0.0.9:8080".to_owned());
    watch.info_read("p-1", "k".to_owned(), moved, Monotonic(2 * BEAT + 4));
    assert!(watch.refused("p-1", Monotonic(2 * BEAT + 5)));
}

#[test]
fn an_id_at_ones_own_address_is_dead_unless_it_beats() {
    let mut watch = watch();
    round(&mut watch, 0, vec![entry("me-0", 7)]);
    let mut info = MemberInfo::new("me-0", "me", "k1", "r", Micros(0));
    info.address = Some("10.0.0.1:8080".to_owned());
    info.machine = Some("m".to_owned());
    watch.info_read("me-0", "i".to_owned(), info.clone(), Monotonic(1));
    assert!(!is_live(&watch, "me-0"));
    round(&mut watch, 1, vec![entry("me-0", 8)]);
    round(&mut watch, 2, vec![entry("me-0", 9)]);
    assert!(is_live(&watch, "me-0"));
    watch.info_read("me-0", "j".to_owned(), info, Monotonic(2 * BEAT + 1));
    assert!(
        is_live(&watch, "me-0"),
        "its next infos don't kill it again"
    );
}

#[test]
fn a_member_that_left_is_gone_at_once() {
    let mut watch = watch();
    round(&mut watch, 0, vec![entry("p-1", 7)]);
    round(&mut watch, 1, vec![]);
    assert!(watch.peers().is_empty());
    assert_eq!(watch.stable_since(), Monotonic(BEAT));
}

#[test]
fn infos_are_fetched_when_their_tag_changes_and_again_when_that_failed() {
    let mut watch = watch();
    let wanted = vec![("p-1".to_owned(), "i".to_owned())];
    assert_eq!(round(&mut watch, 0, vec![entry("p-1", 7)]).fetch, wanted);
    assert_eq!(round(&mut watch, 1, vec![entry("p-1", 8)]).fetch, wanted);
    let info = MemberInfo::new("p-1", "p", "k1", "r", Micros(0));
    watch.info_read("p-1", "i".to_owned(), info, Monotonic(BEAT));
    assert!(round(&mut watch, 2, vec![entry("p-1", 9)]).fetch.is_empty());
}

#[test]
fn a_listing_without_my_own_info_says_so() {
    let mut watch = watch();
    assert!(round(&mut watch, 0, vec![]).own_info_is_missing);
    assert!(!round(&mut watch, 1, vec![entry("me-1", 1)]).own_info_is_missing);
}

#[test]
fn the_long_dead_are_forgotten() {
    let mut watch = watch();
    let rounds = FORGET_AFTER / BEAT;
    for number in 0..rounds {
        let found = round(&mut watch, number, vec![entry("p-1", 7)]);
        assert!(found.forget.is_empty());
    }
    let found = round(&mut watch, rounds, vec![entry("p-1", 7)]);
    assert_eq!(found.forget, ["p-1"]);
}

#[test]
fn reading_is_allowed_for_one_expiry_after_a_beat() {
    let mut watch = watch();
    assert_eq!(watch.may_read_until(), None);
    watch.beat_succeeded(Monotonic(5));
    watch.beat_failed();
    assert_eq!(watch.may_read_until(), Some(Monotonic(5 + 3 * BEAT)));
}

#[test]
fn a_newcomer_counts_what_the_stores_stamps_say_but_needs_two_listings_of_its_own() {
    let mut watch = watch();
    let stale = || vec![entry("o-1", 1), aged("p-1", 7, 5 * BEAT)];
    round(&mut watch, 0, stale());
    round(&mut watch, 1, stale());
    assert!(is_live(&watch, "p-1"));
    round(&mut watch, 2, stale());
    assert!(!is_live(&watch, "p-1"));
}

#[test]
fn the_long_dead_are_dead_to_a_newcomer_at_once_and_live_again_with_their_next_beat() {
    let mut watch = watch();
    let age = LONG_DEAD_EXPIRIES * 3 * BEAT;
    round(&mut watch, 0, vec![entry("o-1", 1), aged("p-1", 7, age)]);
    assert!(is_live(&watch, "o-1") && !is_live(&watch, "p-1"));
    round(&mut watch, 1, vec![entry("o-1", 2), entry("p-1", 8)]);
    assert!(is_live(&watch, "p-1"));
}

#[test]
fn a_newcomer_after_an_outage_for_everybody_calls_nobody_dead() {
    let mut watch = watch();
    let age = 100 * BEAT;
    let own = Seen {
        member: "me-1".to_owned(),
        ..entry("me-1", 1)
    };
    let seen = vec![own, aged("o-1", 1, age), aged("p-1", 7, age)];
    round(&mut watch, 0, seen);
    assert!(is_live(&watch, "o-1") && is_live(&watch, "p-1"));
}
