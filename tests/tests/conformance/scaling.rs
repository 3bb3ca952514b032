//! UpdateShardCount, UpdateStreamMode, the retention period, DescribeLimits.

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::types::{ScalingType, Shard, ShardIteratorType, StreamMode, StreamStatus};
use serde_json::json;

use super::case::cases;
use super::context::{Context, S0, Stream, by_size, mode, texts};
use super::refusal::{INVALID, Refusal, outcome, refused, same};
use super::shards::range;

cases! {
    UpdateShardCount {
        Plain:
            tells_the_old_and_the_new_count,
            doubling_makes_shards_of_equal_size,
            halving_makes_shards_of_equal_size,
            an_uneven_count_makes_shards_of_equal_size,
            lineage_leads_from_the_old_shards_to_the_new,
            records_stay_readable_and_numbers_grow,
            limit_exceeded_exception_for_the_eleventh_in_a_day = eleven_updates,
            refused_for_more_than_double = more_than_double,
            refused_for_less_than_half = less_than_half,
            invalid_argument_exception_for_no_shards = to_no_shards,
            invalid_argument_exception_for_an_unknown_scaling_type = unknown_scaling,
            validation_exception_on_demand = count_on_demand;
        Delays:
            is_updating_then_active = count_updating,
            resource_in_use_exception_while_updating = count_while_updating;
    }
    UpdateStreamMode {
        Plain:
            to_on_demand_and_back,
            shards_and_records_stay,
            invalid_argument_exception_for_an_arn_of_another_service = mode_of_bad_arn,
            validation_exception_for_an_unknown_mode = unknown_mode;
        Limits: limit_exceeded_exception_for_the_third_in_a_day = three_modes;
        Delays:
            resource_in_use_exception_while_updating = mode_while_updating;
    }
    IncreaseStreamRetentionPeriod {
        Plain:
            up_to_a_year,
            invalid_argument_exception_for_a_shorter_one = increase_to_shorter,
            invalid_argument_exception_for_the_same = increase_to_same,
            invalid_argument_exception_for_8761_hours = increase_beyond;
        Delays:
            resource_in_use_exception_while_creating = increase_while_creating;
    }
    DecreaseStreamRetentionPeriod {
        Plain:
            down_to_a_day,
            invalid_argument_exception_for_a_longer_one = decrease_to_longer,
            invalid_argument_exception_for_the_same = decrease_to_same,
            invalid_argument_exception_for_23_hours = decrease_beyond;
        Delays:
            resource_in_use_exception_while_creating = decrease_while_creating;
    }
    DescribeLimits {
        Plain:
            counts_open_shards,
            counts_on_demand_streams,
            tells_the_limits;
    }
}

async fn update(
    context: &Context,
    stream: &Stream,
    count: i32,
) -> anyhow::Result<Result<(), Refusal>> {
    let update = context
        .client
        .update_shard_count()
        .stream_name(&stream.name);
    let update = update
        .target_shard_count(count)
        .scaling_type(ScalingType::UniformScaling);
    let updated = outcome(update.send().await)?;
    if updated.is_ok() {
        context.active(&stream.name).await?;
    }
    Ok(updated.map(drop))
}

async fn tells_the_old_and_the_new_count(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let update = context
        .client
        .update_shard_count()
        .stream_name(&stream.name);
    let update = update
        .target_shard_count(4)
        .scaling_type(ScalingType::UniformScaling);
    let told = update.send().await?;
    same("the name", told.stream_name(), Some(stream.name.as_str()))?;
    let counts = (told.current_shard_count(), told.target_shard_count());
    same("the counts", counts, (Some(2), Some(4)))
}

fn is_open(shard: &Shard) -> bool {
    let numbers = shard.sequence_number_range.as_ref();
    numbers.is_some_and(|numbers| numbers.ending_sequence_number.is_none())
}

/// The open shards, which must share the whole key space.
async fn open_shards(context: &Context, stream: &Stream) -> anyhow::Result<Vec<Shard>> {
    let mut open = context.shards(&stream.name).await?;
    open.retain(is_open);
    let start = |shard: &Shard| {
        range(shard).map_or(u128::MAX, |(start, _)| start.parse().unwrap_or(u128::MAX))
    };
    open.sort_by_key(start);
    let mut next = 0_u128;
    for shard in &open {
        let (start, end) = range(shard)?;
        same(
            "a range begins after the one before",
            start.parse::<u128>()?,
            next,
        )?;
        next = end.parse::<u128>()?.wrapping_add(1);
    }
    same("the last range ends the space", next, 0)?;
    Ok(open)
}

/// "Uniform scaling creates shards of equal size": equal but for what can't be divided.
async fn scales(context: &Context, from: i32, to: i32) -> anyhow::Result<()> {
    let stream = context.stream(from).await?;
    let updated = update(context, &stream, to).await?;
    ensure!(updated.is_ok(), "{updated:?}");
    let open = open_shards(context, &stream).await?;
    same("open shards", open.len(), usize::try_from(to)?)?;
    let equal = u128::MAX / u128::try_from(to)?;
    for shard in &open {
        let (start, end) = range(shard)?;
        let size = end.parse::<u128>()? - start.parse::<u128>()?;
        ensure!(
            size.abs_diff(equal) <= 1_000_000,
            "{} has {size} keys of {equal}",
            shard.shard_id()
        );
    }
    same(
        "OpenShardCount",
        context.summary(&stream.name).await?.open_shard_count,
        to,
    )
}

async fn doubling_makes_shards_of_equal_size(context: &Context) -> anyhow::Result<()> {
    scales(context, 2, 4).await
}

async fn halving_makes_shards_of_equal_size(context: &Context) -> anyhow::Result<()> {
    scales(context, 4, 2).await
}

async fn an_uneven_count_makes_shards_of_equal_size(context: &Context) -> anyhow::Result<()> {
    scales(context, 3, 5).await
}

/// "To update the shard count, Kinesis Data Streams performs splits or merges on individual shards." So every new shard
/// has one parent or two, the parents are closed and listed, and the way up from each ends at the first shards.
async fn lineage_leads_from_the_old_shards_to_the_new(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    let updated = update(context, &stream, 5).await?;
    ensure!(updated.is_ok(), "{updated:?}");
    let shards = context.shards(&stream.name).await?;
    for shard in &shards[3..] {
        let id = shard.shard_id();
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        let parents: Vec<&str> = parents.into_iter().flatten().collect();
        ensure!(!parents.is_empty(), "{id} has no parent");
        for parent in parents {
            let parent = shards.iter().find(|shard| shard.shard_id() == parent);
            let parent = parent.with_context(|| format!("a parent of {id} isn't listed"))?;
            ensure!(!is_open(parent), "{}, a parent, is open", parent.shard_id());
            let number = |shard: &Shard| {
                let range = shard.sequence_number_range.as_ref();
                range.map(|range| range.starting_sequence_number.clone())
            };
            let (above, below) = (
                number(shard).context("no range")?,
                number(parent).context("no range")?,
            );
            ensure!(
                by_size(&above) > by_size(&below),
                "{id} begins at {above}, its parent at {below}"
            );
        }
    }
    Ok(())
}

async fn records_stay_readable_and_numbers_grow(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let before = context.put(&stream.name, "before").await?;
    let updated = update(context, &stream, 2).await?;
    ensure!(updated.is_ok(), "{updated:?}");
    let after = context.put(&stream.name, "after").await?;
    ensure!(by_size(&after) > by_size(&before), "{after} after {before}");
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let read = context.read_from(Some(iterator), 9).await?;
    same("the old shard", texts(&read), vec!["before".to_owned()])
}

/// "By default, you cannot scale more than ten times per rolling 24-hour period per stream."
async fn eleven_updates(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for count in [2, 1, 2, 1, 2, 1, 2, 1, 2, 1] {
        let updated = update(context, &stream, count).await?;
        ensure!(updated.is_ok(), "{updated:?}");
    }
    let eleventh = update(context, &stream, 2).await?.err();
    let eleventh = eleventh.context("the eleventh was accepted")?;
    eleventh.is(&["LimitExceededException"]).map(drop)
}

/// "By default, you cannot scale up to more than double your current shard count": called a limit, of a parameter.
const OUT_OF_REACH: &[&str] = &["InvalidArgumentException", "LimitExceededException"];

async fn count_refused(
    context: &Context,
    from: i32,
    to: i32,
    codes: &[&str],
) -> anyhow::Result<()> {
    let stream = context.stream(from).await?;
    let refusal = update(context, &stream, to).await?.err();
    refusal.context("it was accepted")?.is(codes).map(drop)
}

async fn more_than_double(context: &Context) -> anyhow::Result<()> {
    count_refused(context, 2, 5, OUT_OF_REACH).await
}

async fn less_than_half(context: &Context) -> anyhow::Result<()> {
    count_refused(context, 5, 2, OUT_OF_REACH).await
}

async fn to_no_shards(context: &Context) -> anyhow::Result<()> {
    count_refused(context, 1, 0, INVALID).await
}

async fn unknown_scaling(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let update = context
        .client
        .update_shard_count()
        .stream_name(&stream.name);
    let update = update
        .target_shard_count(2)
        .scaling_type("RANDOM_SCALING".into());
    refused(update.send().await, INVALID).map(drop)
}

/// "This API is only supported for the data streams with the provisioned capacity mode."
async fn count_on_demand(context: &Context) -> anyhow::Result<()> {
    let stream = context.on_demand().await?;
    let refusal = update(context, &stream, 5).await?.err();
    refusal
        .context("it was accepted")?
        .is(&["ValidationException"])
        .map(drop)
}

async fn begin_update(context: &Context, stream: &Stream) -> anyhow::Result<()> {
    let update = context
        .client
        .update_shard_count()
        .stream_name(&stream.name);
    let update = update
        .target_shard_count(4)
        .scaling_type(ScalingType::UniformScaling);
    update.send().await.map(drop).map_err(Into::into)
}

async fn count_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    begin_update(context, &stream).await?;
    let status = context.summary(&stream.name).await?.stream_status;
    same("the status at once", status, StreamStatus::Updating)?;
    context.active(&stream.name).await.map(drop)
}

async fn count_while_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    begin_update(context, &stream).await?;
    let update = context
        .client
        .update_shard_count()
        .stream_name(&stream.name);
    let update = update
        .target_shard_count(3)
        .scaling_type(ScalingType::UniformScaling);
    refused(update.send().await, &["ResourceInUseException"]).map(drop)
}

async fn set_mode(
    context: &Context,
    stream: &Stream,
    to: StreamMode,
) -> anyhow::Result<Result<(), Refusal>> {
    let update = context.client.update_stream_mode().stream_arn(&stream.arn);
    let updated = outcome(update.stream_mode_details(mode(to)?).send().await)?;
    if updated.is_ok() {
        context.active(&stream.name).await?;
    }
    Ok(updated.map(drop))
}

async fn to_on_demand_and_back(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for to in [StreamMode::OnDemand, StreamMode::Provisioned] {
        let updated = set_mode(context, &stream, to.clone()).await?;
        ensure!(updated.is_ok(), "{updated:?}");
        let mode = context.summary(&stream.name).await?.stream_mode_details;
        same("the mode", mode.map(|mode| mode.stream_mode), Some(to))?;
    }
    Ok(())
}

async fn shards_and_records_stay(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    context.put(&stream.name, "data").await?;
    let before = context.shards(&stream.name).await?.len();
    let updated = set_mode(context, &stream, StreamMode::OnDemand).await?;
    ensure!(updated.is_ok(), "{updated:?}");
    let after = context.shards(&stream.name).await?;
    ensure!(after.len() >= before, "{} shards of {before}", after.len());
    let read = context.read(&stream.name, S0, 1).await?;
    same("the record", texts(&read), vec!["data".to_owned()])
}

/// Developer guide, "Switching between capacity modes": "You can switch between the two capacity modes twice within 24
/// hours."
async fn three_modes(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for to in [StreamMode::OnDemand, StreamMode::Provisioned] {
        let updated = set_mode(context, &stream, to).await?;
        ensure!(updated.is_ok(), "{updated:?}");
    }
    let third = set_mode(context, &stream, StreamMode::OnDemand)
        .await?
        .err();
    third
        .context("the third was accepted")?
        .is(&["LimitExceededException"])
        .map(drop)
}

async fn mode_of_bad_arn(context: &Context) -> anyhow::Result<()> {
    let update = context.client.update_stream_mode();
    let update = update.stream_arn("arn:aws:s3:us-east-1:000000000000:stream/ticks");
    let update = update.stream_mode_details(mode(StreamMode::OnDemand)?);
    refused(update.send().await, INVALID).map(drop)
}

async fn unknown_mode(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let body = json!({"StreamARN": stream.arn, "StreamModeDetails": {"StreamMode": "SOMETIMES"}});
    let refusal = context.raw("UpdateStreamMode", &body).await?.refusal()?;
    refusal.is(INVALID).map(drop)
}

async fn mode_while_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    begin_update(context, &stream).await?;
    let update = context.client.update_stream_mode().stream_arn(&stream.arn);
    let update = update.stream_mode_details(mode(StreamMode::OnDemand)?);
    refused(update.send().await, &["ResourceInUseException"]).map(drop)
}

async fn retain(
    context: &Context,
    stream: &Stream,
    up: bool,
    hours: i32,
) -> anyhow::Result<Result<(), Refusal>> {
    let (client, name) = (&context.client, &stream.name);
    let set = if up {
        let set = client.increase_stream_retention_period().stream_name(name);
        outcome(set.retention_period_hours(hours).send().await)?.map(drop)
    } else {
        let set = client.decrease_stream_retention_period().stream_name(name);
        outcome(set.retention_period_hours(hours).send().await)?.map(drop)
    };
    if set.is_ok() {
        context.active(name).await?;
    }
    Ok(set)
}

/// A stream that retains records for so many hours.
async fn retaining(context: &Context, hours: i32) -> anyhow::Result<Stream> {
    let stream = context.stream(1).await?;
    if hours > 24 {
        let set = retain(context, &stream, true, hours).await?;
        ensure!(set.is_ok(), "{set:?}");
    }
    Ok(stream)
}

async fn retained(context: &Context, stream: &Stream, hours: i32) -> anyhow::Result<()> {
    let summary = context.summary(&stream.name).await?;
    same(
        "RetentionPeriodHours",
        summary.retention_period_hours,
        hours,
    )
}

/// "The maximum value of a stream's retention period is 8760 hours (365 days)."
async fn up_to_a_year(context: &Context) -> anyhow::Result<()> {
    let stream = retaining(context, 25).await?;
    context.put(&stream.name, "data").await?;
    retained(context, &stream, 25).await?;
    let set = retain(context, &stream, true, 8760).await?;
    ensure!(set.is_ok(), "{set:?}");
    retained(context, &stream, 8760).await?;
    same("records", context.read(&stream.name, S0, 1).await?.len(), 1)
}

/// "The minimum value of a stream's retention period is 24 hours."
async fn down_to_a_day(context: &Context) -> anyhow::Result<()> {
    let stream = retaining(context, 48).await?;
    context.put(&stream.name, "data").await?;
    for hours in [30, 24] {
        let set = retain(context, &stream, false, hours).await?;
        ensure!(set.is_ok(), "{set:?}");
        retained(context, &stream, hours).await?;
    }
    same("records", context.read(&stream.name, S0, 1).await?.len(), 1)
}

async fn not_retained(context: &Context, from: i32, up: bool, to: i32) -> anyhow::Result<()> {
    let stream = retaining(context, from).await?;
    let refusal = retain(context, &stream, up, to).await?.err();
    refusal.context("it was accepted")?.is(INVALID)?;
    retained(context, &stream, from).await
}

async fn increase_to_shorter(context: &Context) -> anyhow::Result<()> {
    not_retained(context, 48, true, 36).await
}

/// RetentionPeriodHours: "Must be more than the current retention period."
async fn increase_to_same(context: &Context) -> anyhow::Result<()> {
    not_retained(context, 48, true, 48).await
}

async fn increase_beyond(context: &Context) -> anyhow::Result<()> {
    not_retained(context, 24, true, 8761).await
}

async fn decrease_to_longer(context: &Context) -> anyhow::Result<()> {
    not_retained(context, 48, false, 50).await
}

/// RetentionPeriodHours: "Must be less than the current retention period."
async fn decrease_to_same(context: &Context) -> anyhow::Result<()> {
    not_retained(context, 48, false, 48).await
}

async fn decrease_beyond(context: &Context) -> anyhow::Result<()> {
    not_retained(context, 48, false, 23).await
}

async fn retain_while_creating(context: &Context, up: bool) -> anyhow::Result<()> {
    let _creating = context.hold_creations(false).await?;
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    create.shard_count(1).send().await?;
    let stream = Stream {
        name: name.clone(),
        arn: String::new(),
    };
    let refusal = retain(context, &stream, up, 48).await?.err();
    context.active(&name).await?;
    let refusal = refusal.context("it was accepted")?;
    refusal.is(&["ResourceInUseException"]).map(drop)
}

async fn increase_while_creating(context: &Context) -> anyhow::Result<()> {
    retain_while_creating(context, true).await
}

async fn decrease_while_creating(context: &Context) -> anyhow::Result<()> {
    retain_while_creating(context, false).await
}

/// Other cases make streams meanwhile: this one's shards are among those counted.
async fn counts_open_shards(context: &Context) -> anyhow::Result<()> {
    context.stream(7).await?;
    let limits = context.client.describe_limits().send().await?;
    ensure!(limits.open_shard_count >= 7, "{limits:?}");
    Ok(())
}

async fn counts_on_demand_streams(context: &Context) -> anyhow::Result<()> {
    context.on_demand().await?;
    let limits = context.client.describe_limits().send().await?;
    ensure!(limits.on_demand_stream_count >= 1, "{limits:?}");
    Ok(())
}

async fn tells_the_limits(context: &Context) -> anyhow::Result<()> {
    let limits = context.client.describe_limits().send().await?;
    ensure!(limits.shard_limit >= limits.open_shard_count, "{limits:?}");
    ensure!(
        limits.on_demand_stream_count_limit >= limits.on_demand_stream_count,
        "{limits:?}"
    );
    Ok(())
}
