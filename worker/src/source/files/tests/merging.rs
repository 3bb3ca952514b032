//! The order of the merge, and resuming it.

use proptest::prelude::*;
use stockstream_core::plan::RecordMapping;
use stockstream_core::tick::TickParser;
use stockstream_core::time::Micros;

use super::*;
use crate::source::files::{END_MARK, FileSource};

const FEW_OPEN: OpenLimits = OpenLimits {
    files: 2,
    bytes: usize::MAX,
    buffer: Some(64),
};

/// The rule, written the slow obvious way: a malformed line takes the event time of the line before it in its file;
/// always the first file, by path, whose next line has the smallest time.
fn expected(files: &[Vec<String>]) -> Vec<String> {
    let mut parser = TickParser::new(&RecordMapping::default(), &[]);
    let mut queues: Vec<Vec<(Micros, String)>> = files
        .iter()
        .map(|lines| {
            let mut before = Micros(i64::MIN);
            let timed = lines.iter().map(|line| {
                if let Ok(tick) = parser.parse(line.as_bytes()) {
                    before = tick.event_time;
                }
                (before, line.clone())
            });
            timed.collect()
        })
        .collect();
    let mut merged = Vec::new();
    loop {
        let mut best: Option<(Micros, usize)> = None;
        for (index, queue) in queues.iter().enumerate() {
            if let Some((time, _)) = queue.first()
                && best.is_none_or(|(least, _)| *time < least)
            {
                best = Some((*time, index));
            }
        }
        let Some((_, index)) = best else {
            return merged;
        };
        merged.push(queues[index].remove(0).1);
    }
}

#[test]
fn one_big_file_one_per_ticker_and_many_per_day_give_the_same_ticks() {
    let tickers = ["AAPL", "IBM", "MSFT"];
    let all: Vec<(usize, u32)> = (0..200u32)
        .flat_map(|second| (0..3).map(move |index| (index, second * 40)))
        .collect();
    let text = |chosen: &dyn Fn(usize, u32) -> bool| -> String {
        let chosen = all.iter().filter(|(index, second)| chosen(*index, *second));
        chosen
            .map(|(index, second)| tick(tickers[*index], *second, *second) + "\n")
            .collect()
    };
    let big = Folder::new();
    big.put("all.ndjson", text(&|_, _| true));
    let per_ticker = Folder::new();
    for (index, ticker) in tickers.iter().enumerate() {
        per_ticker.put(
            &format!("ticker={ticker}/x.ndjson"),
            text(&|own, _| own == index),
        );
    }
    let per_hour = Folder::new();
    for hour in (0..3u32).rev() {
        // Names that don't sort as the times do.
        let name = format!("part-{}.ndjson", (hour * 7 + 3) % 10);
        per_hour.put(&name, text(&|_, second| second / 3600 == hour));
    }
    let whole = big.read().unwrap();
    assert_eq!(whole.len(), 600);
    assert_eq!(per_ticker.read().unwrap(), whole);
    assert_eq!(per_hour.read().unwrap(), whole);
}

#[test]
fn equal_event_times_go_by_path_and_a_file_out_of_order_keeps_its_own() {
    let folder = Folder::new();
    let (first, second) = (
        vec![tick("B", 10, 1), tick("B", 5, 2), tick("B", 20, 3)],
        vec![tick("A", 10, 4), tick("A", 20, 5)],
    );
    folder.put("1.ndjson", first.join("\n"));
    folder.put("2.ndjson", second.join("\n"));
    let read = folder.read().unwrap();
    assert_eq!(
        read.iter().collect::<Vec<_>>(),
        [&first[0], &first[1], &second[0], &first[2], &second[1]]
    );
    assert_eq!(read, expected(&[first, second]));
}

#[test]
fn sequences_count_the_ticks_and_arrivals_are_the_files_last_changes() {
    let folder = Folder::new();
    folder.put("1.ndjson", tick("A", 1, 1));
    folder.put("2.ndjson", tick("A", 2, 1));
    set_modified(&folder.dir.path().join("1.ndjson"), 1_000);
    set_modified(&folder.dir.path().join("2.ndjson"), 2_000);
    let mut merge = folder
        .merge(&folder.list(), None, OpenLimits::default())
        .unwrap();
    let block = merge.next_block(BlockLimits::default()).unwrap().unwrap();
    let found: Vec<_> = block
        .ticks
        .iter()
        .map(|(meta, _)| (meta.sequence.to_string(), meta.arrival.millis()))
        .collect();
    assert_eq!(found, [("1".into(), 1_000_000), ("2".into(), 2_000_000)]);
    assert_eq!(block.marks, [END_MARK, END_MARK]);
}

#[test]
fn two_thousand_files_are_merged_with_few_of_them_open() {
    let folder = Folder::new();
    let mut files = Vec::new();
    for index in 0..2_000u32 {
        let second = index * 7919 % 2_000 * 40; // disjoint times, not in the order of the names
        let lines: Vec<_> = (0..4)
            .map(|step| tick("A", second + step * 9, index))
            .collect();
        folder.put(&format!("{index:04}.ndjson"), lines.join("\n"));
        files.push((second, lines));
    }
    let limits = OpenLimits {
        files: 16,
        ..OpenLimits::default()
    };
    let mut merge = folder.merge(&folder.list(), None, limits).unwrap();
    let mut found = Vec::new();
    while let Some(block) = merge
        .next_block(BlockLimits {
            ticks: 100,
            bytes: usize::MAX,
        })
        .unwrap()
    {
        assert!(
            merge.open_files() <= 16,
            "{} files are open",
            merge.open_files()
        );
        found.extend(texts(&[block]));
    }
    files.sort();
    let expected: Vec<_> = files.into_iter().flat_map(|(_, lines)| lines).collect();
    assert_eq!(found, expected);
}

#[test]
fn heads_that_take_too_much_memory_are_dropped_and_read_again() {
    let folder = Folder::new();
    let mut files = Vec::new();
    for index in 0..6u32 {
        let pad = "x".repeat(200_000);
        let lines: Vec<_> = (0..3)
            .map(|step| {
                tick("A", index + step * 6, 0).replace('}', &format!(r#","pad":"{pad}"}}"#))
            })
            .collect();
        folder.put(&format!("{index}.ndjson"), lines.join("\r\n"));
        files.push(lines);
    }
    let limits = OpenLimits {
        bytes: 700_000,
        buffer: Some(4_096),
        ..OpenLimits::default()
    };
    let mut merge = folder.merge(&folder.list(), None, limits).unwrap();
    assert!(merge.open_files() < 6);
    let found = texts(&rest(&mut merge, BlockLimits::default()).unwrap());
    assert_eq!(found, expected(&files));
}

#[test]
fn the_source_gives_blocks_to_async_code_and_then_none() {
    let folder = Folder::new();
    let lines: Vec<_> = (0..1_000).map(|second| tick("A", second, second)).collect();
    folder.put("a.ndjson", lines.join("\n"));
    let list = folder.list();
    folder.runtime.block_on(async {
        let limits = BlockLimits {
            ticks: 64,
            bytes: 1 << 20,
        };
        let mapping = RecordMapping::default();
        let parser = TickParser::new(&mapping, &[]);
        let stores = Stores::default();
        let open = |resume| FileSource::open(&list, &stores, &mapping, &parser, resume, limits);
        let mut source = open(None).unwrap();
        assert_eq!(all_texts(&mut source).await.unwrap(), lines);
        assert!(source.next_block().await.unwrap().is_none());
        // Dropped in the middle: the thread must not keep the runtime.
        drop(open(None).unwrap());
        let resume = Some(Resume {
            ordinal: 0,
            marks: vec![0, 0],
        });
        assert!(matches!(open(resume), Err(FilesError::Marks { .. })));
    });
}

/// How a test's file is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Windows,
    Gzip,
    Zstd,
    Csv,
    CsvGzip,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Plain,
        Kind::Windows,
        Kind::Gzip,
        Kind::Zstd,
        Kind::Csv,
        Kind::CsvGzip,
    ])
}

/// A line's event time in seconds; `None`: malformed.
type Lines = Vec<Option<u32>>;

/// Writes a file; gives its name and its ticks as the merge passes them on.
fn write(folder: &Folder, index: usize, kind: Kind, lines: &Lines) -> Vec<String> {
    let ticker = format!("T{index}");
    let csv = matches!(kind, Kind::Csv | Kind::CsvGzip);
    let name = |extension: &str| format!("{index}.{extension}");
    let ticks: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(row, second)| match second {
            Some(second) => tick(&ticker, *second, row as u32),
            None if csv => format!(r#"["oops {row}"]"#),
            None => format!("oops {row}"),
        })
        .collect();
    if csv {
        let mut text = "\u{feff}ticker,timestamp,close\r\n".to_owned();
        for (row, second) in lines.iter().enumerate() {
            let line = match second {
                Some(second) => {
                    let time = tick(&ticker, *second, 0);
                    let start = time.find("2024").unwrap();
                    format!("\"{ticker}\",{},{row}\n\n", &time[start..start + 20])
                }
                None => format!("oops {row}\r\n"),
            };
            text += &line;
        }
        match kind {
            Kind::Csv => folder.put(&name("csv"), text),
            _ => folder.put(&name("csv.gz"), gzip(text.as_bytes())),
        }
        return ticks;
    }
    let text = ticks.join("\n");
    match kind {
        Kind::Windows => folder.put(
            &name("ndjson"),
            format!("\u{feff}{}\r\n\r\n", ticks.join("\r\n")),
        ),
        Kind::Gzip => {
            // Two members, cut anywhere.
            let (head, tail) = text.as_bytes().split_at(text.len() / 3);
            folder.put(&name("jsonl.gz"), [gzip(head), gzip(tail)].concat());
        }
        Kind::Zstd => folder.put(
            &name("ndjson.zst"),
            zstd::encode_all(text.as_bytes(), 3).unwrap(),
        ),
        _ => folder.put(&name("ndjson"), text),
    }
    ticks
}

fn files() -> impl Strategy<Value = Vec<(Kind, Lines)>> {
    // Few different times, so that files are equal often; some lines out of order, some malformed.
    let line = prop_oneof![4 => (0u32..12).prop_map(Some), 1 => Just(None)];
    let lines =
        (prop::collection::vec(line, 0..12), any::<bool>()).prop_map(|(mut lines, sorted)| {
            if sorted {
                lines.sort();
            }
            lines
        });
    prop::collection::vec((kinds(), lines), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_merge_follows_the_rule_and_goes_on_from_any_cut(
        files in files(),
        cuts in prop::collection::vec(1usize..8, 1..20),
    ) {
        let folder = Folder::new();
        let written: Vec<Vec<String>> = files
            .iter()
            .enumerate()
            .map(|(index, (kind, lines))| write(&folder, index, *kind, lines))
            .collect();
        let expected = expected(&written);
        let list = folder.list();
        let mut whole = folder.merge(&list, None, OpenLimits::default()).unwrap();
        prop_assert_eq!(&texts(&rest(&mut whole, BlockLimits::default()).unwrap()), &expected);

        // The same in pieces, each by a new process, as it were, with another number of open files.
        let mut resume = None;
        let mut found = Vec::new();
        for (turn, size) in cuts.iter().cycle().enumerate() {
            let limits = if turn % 2 == 0 { FEW_OPEN } else { OpenLimits::default() };
            let mut merge = folder.merge(&list, resume.clone(), limits).unwrap();
            let block = merge.next_block(BlockLimits { ticks: *size, bytes: usize::MAX }).unwrap();
            let Some(block) = block else { break };
            let first = block.ticks[0].0.sequence.to_string();
            prop_assert_eq!(first, (found.len() + 1).to_string());
            found.extend(texts(std::slice::from_ref(&block)));
            resume = Some(Resume { ordinal: found.len() as u64, marks: block.marks });
        }
        prop_assert_eq!(&found, &expected);
    }
}
