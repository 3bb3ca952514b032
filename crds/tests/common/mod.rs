//! A valid spec to make invalid ones from.

/// The fewest fields a pipeline needs.
pub const MINIMAL: &str = "\
apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata:
  name: stock-ticks
spec:
  source:
    kinesis:
      streamName: stock_stream
  output:
    path: s3://my-lake/streaming/avg_1min
  state:
    path: s3://my-lake/checkpoints/stock-ticks
";

/// [`MINIMAL`] with a piece replaced. Panics when the piece isn't there, as a test would then test
/// nothing.
pub fn minimal_with(old: &str, new: &str) -> String {
    assert!(MINIMAL.contains(old), "{old:?} is not in the minimal spec");
    MINIMAL.replace(old, new)
}

/// [`MINIMAL`] with lines put below `spec:`.
pub fn minimal_and(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("{MINIMAL}{indented}")
}
