//! The protocol, broken in named ways, to prove that the simulation notices.
//!
//! Owns the names. Without the feature `mutants`, which no product has, nothing is ever broken and every question is
//! compiled to nothing. What is broken holds for one thread.

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A batch is published before the version that seals it is created.
    PublishBeforeCommit,
    /// Reading resumes at the last applied record, not after it.
    ResumeAt,
    /// A child doesn't inherit the floors of its parents.
    NoFloors,
    /// A version that was created counts without a look at what lies above it.
    NoListAfterCreate,
    /// Old versions are collected however young they are.
    CollectAtOnce,
    /// A child begins before its parents have ended.
    ChildBeforeParent,
    /// Time that passed is measured by the calendar.
    TrustWallClock,
    /// A version whose outcome isn't known is sent again with other bytes.
    NewBytesForAmbiguousPut,
    /// A take seals the batches that it finds sealed once more, together.
    RegroupSealedBatch,
    /// Where "latest" is, is asked again with every iterator.
    LatestNotPinned,
    /// A take keeps the epoch of the owner before.
    TakeWithoutNewEpoch,
    /// An object that exists is taken for one's own.
    ExistsIsOurs,
    /// A take forgets what was sealed and not yet published.
    ForgottenOutbox,
    /// A shard at its end is let go before its outbox is empty.
    ReleaseBeforeOutboxIsEmpty,
    /// A worker whose lease has run out reads and commits on.
    CommitWithoutLease,
    /// A shard is taken from a worker that lives and holds it.
    TakeFromTheLiving,
    /// Whoever joins that can't read the newest format, others write on in it.
    FormatNotLowered,
    /// Whoever a chain names as its owner is believed to hold it again at each look at the chain.
    BelievedAnew,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Mutant; 18] = [
        Mutant::PublishBeforeCommit,
        Mutant::ResumeAt,
        Mutant::NoFloors,
        Mutant::NoListAfterCreate,
        Mutant::CollectAtOnce,
        Mutant::ChildBeforeParent,
        Mutant::TrustWallClock,
        Mutant::NewBytesForAmbiguousPut,
        Mutant::RegroupSealedBatch,
        Mutant::LatestNotPinned,
        Mutant::TakeWithoutNewEpoch,
        Mutant::ExistsIsOurs,
        Mutant::ForgottenOutbox,
        Mutant::ReleaseBeforeOutboxIsEmpty,
        Mutant::CommitWithoutLease,
        Mutant::TakeFromTheLiving,
        Mutant::FormatNotLowered,
        Mutant::BelievedAnew,
    ];
}

/// Whether the protocol is broken in this way on this thread.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn broken(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether the protocol is broken in this way on this thread.
#[cfg(feature = "mutants")]
pub fn broken(mutant: Mutant) -> bool {
    BROKEN.get() == Some(mutant)
}

/// Breaks the protocol on this thread, or mends it.
#[cfg(feature = "mutants")]
pub fn break_protocol(mutant: Option<Mutant>) {
    BROKEN.set(mutant);
}
