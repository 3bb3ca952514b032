#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use super::{ALL, Point};
use crate::kinds::Kind;

#[test]
fn no_two_points_have_one_name() {
    let names: BTreeSet<&str> = ALL.iter().copied().collect();
    assert_eq!(names.len(), ALL.len(), "{ALL:?}");
}

#[test]
fn every_kind_has_a_point_that_is_named_after_it() {
    for kind in Kind::ALL {
        assert_eq!(
            Point::applied(kind).name(),
            format!("applied:{}", kind.name())
        );
    }
}
