#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::testing::rows;

fn cbor(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn columns_say_what_the_rows_say(list in proptest::collection::vec(rows(), 0..20)) {
        let columns = Rows::from(list.clone());
        prop_assert_eq!(columns.len(), list.len());
        prop_assert_eq!(columns.to_vec(), list.clone());
        for (view, row) in columns.iter().zip(&list) {
            for index in 0..row.values.len() + 2 {
                prop_assert_eq!(view.value(index), row.value(index));
            }
        }
    }

    #[test]
    fn appended_lists_are_one(one in proptest::collection::vec(rows(), 0..9), two in proptest::collection::vec(rows(), 0..9)) {
        let mut both = Rows::from(one.clone());
        let mut other = Rows::from(two.clone());
        let bytes = both.bytes();
        both.append(&mut other);
        prop_assert!(other.is_empty() && both.bytes() >= bytes);
        prop_assert_eq!(both, Rows::from([one, two].concat()));
    }

    #[test]
    fn a_list_of_rows_as_older_checkpoints_have_it_is_read(list in proptest::collection::vec(rows(), 0..9)) {
        let read: Rows = ciborium::from_reader(cbor(&list).as_slice()).unwrap();
        prop_assert_eq!(read, Rows::from(list));
    }

    #[test]
    fn json_shows_rows_one_by_one(list in proptest::collection::vec(rows(), 0..9)) {
        let columns = Rows::from(list.clone());
        prop_assert_eq!(serde_json::to_value(&columns).unwrap(), serde_json::to_value(&list).unwrap());
    }

    #[test]
    fn a_ticker_that_stands_twice_is_refused(row in rows()) {
        let mut value: ciborium::Value = ciborium::from_reader(cbor(&Rows::from(vec![row])).as_slice()).unwrap();
        for (name, field) in value.as_map_mut().unwrap() {
            if let (Some("tickers"), ciborium::Value::Array(tickers)) = (name.as_text(), field) {
                tickers.push(tickers[0].clone());
            }
        }
        let read: Result<Rows, _> = ciborium::from_reader(cbor(&value).as_slice());
        prop_assert!(read.is_err());
    }

    #[test]
    fn contradicting_columns_are_refused(list in proptest::collection::vec(rows(), 1..9), column in 0usize..8) {
        let mut value: ciborium::Value = ciborium::from_reader(cbor(&Rows::from(list)).as_slice()).unwrap();
        let names = ["ticker", "trade_date", "start", "end", "ticks", "values_end", "tickers", "kinds"];
        for (name, field) in value.as_map_mut().unwrap() {
            if name.as_text() == Some(names[column]) {
                match field {
                    ciborium::Value::Bytes(bytes) => bytes.push(9),
                    ciborium::Value::Array(tickers) => tickers.clear(),
                    _ => unreachable!(),
                }
            }
        }
        let read: Result<Rows, _> = ciborium::from_reader(cbor(&value).as_slice());
        prop_assert!(read.is_err());
    }
}
