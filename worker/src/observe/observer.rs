//! The handle through which the runtime tells what it does, and everything that shows it asks.
//!
//! Owns the current view of one process, behind a lock held only for a copy. Must never block the
//! data path for longer than that, nor keep more than its stated limits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::event::Event;
use super::state::{
    Condition, ConditionStatus, Counters, EventReport, MemberReport, PipelineName, PipelinePhase,
    PipelineReport, ShardPhase, ShardReport, TickerReport, WorkerReport,
};

use crate::storage::{Meter, Requests};

/// Most tickers in one report; the rest is counted in `tickersOmitted`.
pub const MAX_TICKERS: usize = 5_000;
/// Most events kept for the report.
pub const MAX_EVENTS: usize = 50;
/// What a healthy pipeline tells all the time, and how much of it is kept whatever else happened.
const ROUTINE_EVENTS: [&str; 3] = ["sealed", "published", "idle_advance"];
const MIN_ROUTINE_EVENTS: usize = 20;
/// Most conditions kept; setting a further type is ignored.
pub const MAX_CONDITIONS: usize = 32;

/// What is known about the pipeline and the process before anything is read.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Which pipeline.
    pub pipeline: PipelineName,
    /// Kinesis stream name, or a short description of the files.
    pub stream: String,
    /// This process. User names and passwords in its URLs are cut out.
    pub worker: WorkerReport,
    /// Where rows are written.
    pub output_path: String,
    /// Where late ticks and dead letters are written.
    pub rejects_path: String,
    /// Where checkpoints are written.
    pub state_path: String,
    /// Names of the aggregates in the order of the spec.
    pub aggregates: Vec<String>,
}

/// A cheap handle on this process's view of its pipeline; clones share it.
#[derive(Debug, Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    view: Mutex<View>,
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct View {
    /// Everything but shards, tickers, totals and events.
    head: PipelineReport,
    shards: BTreeMap<String, ShardView>,
    events: VecDeque<EventReport>,
    /// The report of this revision, built when it is first asked for.
    built: Option<Arc<PipelineReport>>,
    /// Counts this process's requests to its stores.
    meter: Option<Meter>,
}

#[derive(Debug)]
struct ShardView {
    /// What had been counted when this process first reported the shard, which is as it is taken.
    at_take: Counters,
    report: ShardReport,
    tickers: Vec<TickerReport>,
}

impl Observer {
    /// A view in which the pipeline is starting and has no shards.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let mut worker = identity.worker;
        worker.endpoint = worker.endpoint.map(|url| without_credentials(&url));
        worker.listen = worker.listen.map(|url| without_credentials(&url));
        let head = PipelineReport {
            pipeline: identity.pipeline,
            stream: identity.stream,
            incarnation: None,
            state_id: None,
            worker,
            output_path: without_credentials(&identity.output_path),
            rejects_path: without_credentials(&identity.rejects_path),
            state_path: without_credentials(&identity.state_path),
            aggregates: identity.aggregates,
            phase: PipelinePhase::Starting,
            reason: None,
            shards: Vec::new(),
            tickers: Vec::new(),
            tickers_omitted: 0,
            totals: Counters::default(),
            members: Vec::new(),
            conditions: Vec::new(),
            events: Vec::new(),
        };
        let view = View {
            head,
            shards: BTreeMap::new(),
            events: VecDeque::new(),
            built: None,
            meter: None,
        };
        let shared = Shared {
            view: Mutex::new(view),
            revision: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sets what the pipeline is doing and why.
    pub fn set_phase(&self, phase: PipelinePhase, reason: Option<String>) {
        self.change(|view| {
            view.head.phase = phase;
            view.head.reason = reason;
        });
    }

    /// Sets the stream's incarnation and the state's id once they are known.
    pub fn set_ids(&self, incarnation: impl Into<String>, state_id: impl Into<String>) {
        let (incarnation, state_id) = (incarnation.into(), state_id.into());
        self.change(|view| {
            view.head.incarnation = Some(incarnation);
            view.head.state_id = Some(state_id);
        });
    }

    /// Sets the URL at which this process serves its state.
    pub fn set_listen(&self, url: impl Into<String>) {
        let url = without_credentials(&url.into());
        self.change(|view| view.head.worker.listen = Some(url));
    }

    /// Replaces what is known about one shard, and all of its tickers.
    pub fn update_shard(&self, report: ShardReport, tickers: Vec<TickerReport>) {
        self.change(|view| match view.shards.get_mut(&report.shard) {
            Some(known) => (known.report, known.tickers) = (report, tickers),
            None => view.add(report, tickers),
        });
    }

    /// Replaces what is known about one shard, and keeps its tickers as they are.
    pub fn update_shard_only(&self, report: ShardReport) {
        self.change(|view| match view.shards.get_mut(&report.shard) {
            Some(known) => known.report = report,
            None => view.add(report, Vec::new()),
        });
    }

    /// What the shards had counted when this process took them: totals less these are this run's.
    #[must_use]
    pub fn totals_at_take(&self) -> Counters {
        let view = self.lock();
        let mut totals = Counters::default();
        for shard in view.shards.values() {
            totals.add(&shard.at_take);
        }
        totals
    }

    /// Forgets a shard and its tickers. Its counts leave the totals.
    pub fn remove_shard(&self, shard: &str) {
        self.change(|view| {
            view.shards.remove(shard);
        });
    }

    /// Replaces what is known about the pipeline's workers.
    pub fn set_members(&self, members: Vec<MemberReport>) {
        self.change(|view| view.head.members = members);
    }

    /// Sets where this process's requests to its stores are counted.
    pub fn set_meter(&self, meter: Meter) {
        self.change(|view| view.meter = Some(meter));
    }

    /// This process's requests to its stores.
    #[must_use]
    pub fn storage_requests(&self) -> Requests {
        let meter = self.lock().meter.clone();
        meter.map_or_else(Requests::default, |meter| meter.requests())
    }

    /// Sets this process's member id, which it has for one life of the stream.
    pub fn set_member_id(&self, member: &str) {
        self.change(|view| member.clone_into(&mut view.head.worker.member_id));
    }

    /// Sets a condition; its transition time changes only when its status does.
    ///
    /// `at`: now, in microseconds since 1970 UTC. A type beyond [`MAX_CONDITIONS`] is ignored.
    pub fn set_condition(
        &self,
        kind: &str,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
        at: i64,
    ) {
        let condition = Condition {
            kind: kind.to_owned(),
            status,
            reason: reason.into(),
            message: message.into(),
            last_transition: at,
        };
        self.change(|view| merge_condition(&mut view.head.conditions, condition));
    }

    /// Logs an event (see [`Event::log`]) and, unless it is a debug event, keeps it for the report.
    ///
    /// `at`: now, in microseconds since 1970 UTC.
    pub fn emit(&self, event: &Event, at: i64) {
        event.log();
        let Some(report) = event.report(at) else {
            return;
        };
        self.change(|view| {
            if view.events.len() == MAX_EVENTS {
                view.forget_one_event();
            }
            view.events.push_back(report);
        });
    }

    /// The view as it is now. Built once for each change that somebody looks at.
    #[must_use]
    pub fn report(&self) -> Arc<PipelineReport> {
        let mut view = self.lock();
        if let Some(built) = &view.built {
            return Arc::clone(built);
        }
        let built = Arc::new(view.build());
        view.built = Some(Arc::clone(&built));
        built
    }

    /// Waits for changes: the value is a revision that grows with each; ask [`Observer::report`] after it changed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        {
            let mut view = self.lock();
            view.built = None;
            change(&mut view);
        }
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        // A panic while holding it leaves at worst one stale figure, which is still worth showing.
        self.shared
            .view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Makes room for an event. Publishing tells something every few seconds: hand-overs and troubles outlast it.
    fn forget_one_event(&mut self) {
        let routine = |event: &EventReport| ROUTINE_EVENTS.contains(&event.event.as_str());
        let kept = self.events.iter().filter(|event| routine(event)).count();
        let which = kept > MIN_ROUTINE_EVENTS;
        let oldest = self.events.iter().position(|event| routine(event) == which);
        self.events.remove(oldest.unwrap_or(0));
    }

    fn add(&mut self, report: ShardReport, tickers: Vec<TickerReport>) {
        let added = ShardView {
            at_take: report.counters.clone(),
            report,
            tickers,
        };
        self.shards.insert(added.report.shard.clone(), added);
    }

    fn build(&self) -> PipelineReport {
        let mut report = self.head.clone();
        for shard in self.shards.values() {
            report.totals.add(&shard.report.counters);
            report.shards.push(shard.report.clone());
        }
        let mut tickers: Vec<(&TickerReport, bool)> = self
            .shards
            .values()
            .flat_map(|shard| {
                let current = !matches!(shard.report.phase, ShardPhase::Ended | ShardPhase::Fenced);
                shard.tickers.iter().map(move |ticker| (ticker, current))
            })
            .collect();
        // A ticker moves from parent to child at a reshard: the shard that still runs knows it best.
        tickers.sort_by(|(a, a_current), (b, b_current)| {
            a.ticker
                .cmp(&b.ticker)
                .then(b_current.cmp(a_current))
                .then(b.latest_event_time.cmp(&a.latest_event_time))
        });
        tickers.dedup_by(|(later, _), (first, _)| later.ticker == first.ticker);
        report.tickers_omitted = tickers.len().saturating_sub(MAX_TICKERS) as u64;
        report.tickers = tickers
            .into_iter()
            .take(MAX_TICKERS)
            .map(|(ticker, _)| ticker.clone())
            .collect();
        report.events = self.events.iter().cloned().collect();
        report
    }
}

/// Puts a condition into a list ordered by type; the time of its last transition stays unless the status changes.
fn merge_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.binary_search_by(|known| known.kind.cmp(&new.kind)) {
        Ok(place) => {
            if let Some(known) = conditions.get_mut(place) {
                if known.status == new.status {
                    new.last_transition = known.last_transition;
                }
                *known = new;
            }
        }
        Err(place) if conditions.len() < MAX_CONDITIONS => conditions.insert(place, new),
        Err(_) => {}
    }
}

/// A URL without the user name and password it may carry before its host.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{tail}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::observe::fixtures::{observer, ticker_report};

    #[test]
    fn totals_are_the_sums_over_the_shards_and_a_removed_shard_leaves_them() {
        let observer = observer();
        for (shard, ticks) in [("b", 3), ("a", 4)] {
            let mut report = ShardReport::new(shard);
            report.counters.ticks = ticks;
            report.counters.add_dead_letters("malformed_json", 2);
            observer.update_shard(report, Vec::new());
        }
        let report = observer.report();
        assert_eq!(
            report
                .shards
                .iter()
                .map(|s| s.shard.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(
            (report.totals.ticks, report.totals.dead_letters_total()),
            (7, 4)
        );

        observer.remove_shard("b");
        assert_eq!(observer.report().totals.ticks, 4);
    }

    #[test]
    fn a_condition_keeps_its_transition_time_until_its_status_changes() {
        let observer = observer();
        observer.set_condition("KeyedByTicker", ConditionStatus::True, "Keyed", "", 10);
        observer.set_condition("KeyedByTicker", ConditionStatus::True, "StillKeyed", "", 20);
        let report = observer.report();
        assert_eq!(
            (
                report.conditions[0].last_transition,
                &*report.conditions[0].reason
            ),
            (10, "StillKeyed")
        );

        observer.set_condition("KeyedByTicker", ConditionStatus::False, "WrongKey", "", 30);
        assert_eq!(observer.report().conditions[0].last_transition, 30);
    }

    #[test]
    fn conditions_and_tickers_are_bounded() {
        let observer = observer();
        for n in 0..MAX_CONDITIONS + 5 {
            observer.set_condition(&format!("C{n:03}"), ConditionStatus::True, "R", "", 0);
        }
        let tickers = (0..MAX_TICKERS + 7)
            .map(|n| ticker_report(&format!("T{n:05}"), "s"))
            .collect();
        observer.update_shard(ShardReport::new("s"), tickers);
        let report = observer.report();
        assert_eq!(report.conditions.len(), MAX_CONDITIONS);
        assert_eq!(
            (report.tickers.len(), report.tickers_omitted),
            (MAX_TICKERS, 7)
        );
    }

    #[test]
    fn a_hand_over_outlasts_the_news_of_publishing() {
        let observer = observer();
        let taken = |epoch| Event::ShardTaken {
            shard: "s".into(),
            epoch,
            version: 1,
            previous_owner: None,
        };
        let published = |batch| Event::Published {
            shard: "s".into(),
            batch,
            files: 1,
            rows: 1,
            bytes: 1,
            millis: 1,
        };
        observer.emit(&taken(1), 0);
        for batch in 0..1_000 {
            observer.emit(&published(batch), 1);
        }
        let events = observer.report().events.clone();
        assert_eq!(
            (events.len(), &*events[0].event),
            (MAX_EVENTS, "shard_taken")
        );
        // Many hand-overs leave room for what was published last.
        for epoch in 0..1_000 {
            observer.emit(&taken(epoch), 2);
        }
        let events = observer.report().events.clone();
        let routine = events.iter().filter(|event| event.event == "published");
        assert_eq!(
            (events.len(), routine.count()),
            (MAX_EVENTS, MIN_ROUTINE_EVENTS)
        );
    }

    #[test]
    fn a_ticker_of_an_ended_parent_gives_way_to_the_childs() {
        let observer = observer();
        let mut parent = ShardReport::new("parent");
        parent.phase = ShardPhase::Ended;
        let mut child = ShardReport::new("child");
        child.phase = ShardPhase::Reading;
        observer.update_shard(parent, vec![ticker_report("AAPL", "parent")]);
        observer.update_shard(child, vec![ticker_report("AAPL", "child")]);
        let report = observer.report();
        assert_eq!(
            report
                .tickers
                .iter()
                .map(|t| t.shard.as_str())
                .collect::<Vec<_>>(),
            ["child"]
        );
    }

    #[test]
    fn a_report_is_built_once_per_change_and_subscribers_are_told() {
        let observer = observer();
        let changes = observer.subscribe();
        assert!(Arc::ptr_eq(&observer.report(), &observer.report()));
        let before = observer.report();
        observer.clone().set_phase(PipelinePhase::Running, None);
        assert!(changes.has_changed().unwrap());
        assert!(!Arc::ptr_eq(&before, &observer.report()));
        assert_eq!(observer.report().phase, PipelinePhase::Running);
    }

    #[test]
    fn updating_only_the_shard_keeps_its_tickers() {
        let observer = observer();
        observer.update_shard(ShardReport::new("s"), vec![ticker_report("AAPL", "s")]);
        let mut newer = ShardReport::new("s");
        newer.epoch = 9;
        observer.update_shard_only(newer);
        let report = observer.report();
        assert_eq!((report.shards[0].epoch, report.tickers.len()), (9, 1));
    }

    #[test]
    fn credentials_in_urls_never_reach_the_report() {
        assert_eq!(
            without_credentials("http://user:pass@host:4567/x?y@z"),
            "http://host:4567/x?y@z"
        );
        assert_eq!(without_credentials("s3://bucket/a@b"), "s3://bucket/a@b");
        assert_eq!(without_credentials("./plain"), "./plain");
    }
}
