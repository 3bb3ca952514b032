//! A tick's numbers in a row of doubles.
//!
//! Owns the place-holder of a number that isn't there: NaN, which no tick has (JSON knows none, and the parser refuses
//! what isn't finite).

/// Stands for a number that is absent or null.
pub(crate) const ABSENT: f64 = f64::NAN;

/// The number, unless it is absent.
pub(crate) fn present(number: f64) -> Option<f64> {
    (!number.is_nan()).then_some(number)
}
