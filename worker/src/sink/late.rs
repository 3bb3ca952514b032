//! Late ticks as a Parquet file.
//!
//! Owns the columns of the late output. `data` is binary: it is the record as it came, whatever it holds.

use bytes::Bytes;
use stockstream_core::layout::BatchName;
use stockstream_core::row::{LateTick, late_digest};

use super::parquet_file::{Compression, Data, EncodeError, NamedData, encode};
use super::provenance::Provenance;

/// The file of a batch's late ticks: `ticker`, `trade_date`, `event_time`, `arrival_time`, `watermark`,
/// `sequence_number`, `sub_sequence_number` (of an aggregated record's sub-record, else null), `shard`, `data`.
///
/// # Errors
/// [`EncodeError`].
pub fn late_parquet(
    name: &BatchName,
    ticks: &[LateTick],
    compression: Compression,
) -> Result<Bytes, EncodeError> {
    let provenance = Provenance::new(
        name,
        late_digest(ticks),
        ticks.iter().map(|tick| tick.sequence.clone()),
        ticks.iter().map(|tick| tick.sequence.clone()),
        ticks.len() as u64,
    );
    let texts = |text: &dyn Fn(&LateTick) -> String| {
        Data::Texts(ticks.iter().map(|tick| Bytes::from(text(tick))).collect())
    };
    let times = |time: fn(&LateTick) -> i64| Data::Timestamps(ticks.iter().map(time).collect());
    let sub_sequences = ticks.iter().map(|tick| tick.sub_sequence.map(i64::from));
    let data = [
        NamedData::new("ticker", texts(&|tick| tick.ticker.to_string())),
        NamedData::new("trade_date", texts(&|tick| tick.trade_date.to_string())),
        NamedData::new("event_time", times(|tick| tick.event_time.0)),
        NamedData::new("arrival_time", times(|tick| tick.arrival.0)),
        NamedData::new("watermark", times(|tick| tick.watermark.0)),
        NamedData::new("sequence_number", texts(&|tick| tick.sequence.to_string())),
        NamedData::new("sub_sequence_number", Data::Longs(sub_sequences.collect())),
        NamedData::new("shard", texts(&|_| name.shard.clone())),
        NamedData::new(
            "data",
            Data::Binaries(ticks.iter().map(|tick| tick.data.clone()).collect()),
        ),
    ];
    encode(&data, &provenance, compression)
}
