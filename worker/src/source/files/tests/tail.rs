//! The last file in pieces: the same lines, places and marks as one by one.

use proptest::prelude::*;
use stockstream_core::plan::MAX_TICK_BYTES;
use tokio::sync::mpsc;

use super::super::END_MARK;
use super::super::tail::{self, Parsing};
use super::*;

/// A line with its end, as it may stand in a file.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        4 => "[ -~]{1,60}".prop_map(String::into_bytes),
        1 => Just(Vec::new()),
        1 => "\\r{1,3}".prop_map(String::into_bytes),
        1 => (MAX_TICK_BYTES - 3..MAX_TICK_BYTES + 300).prop_map(|length| vec![b'x'; length]),
    ];
    let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b"\r\r\n"[..])];
    (text, end).prop_map(|(text, end)| [&text, end].concat())
}

fn parser() -> TickParser {
    TickParser::new(&RecordMapping::default(), &[])
}

/// What the pieces hold, and where each ends.
fn in_pieces(folder: &Folder, mark: u64, buffer_size: usize) -> (Vec<Vec<u8>>, Vec<u64>) {
    let list = folder.list();
    let runtime = folder.runtime.handle().clone();
    let blob = Blob::new(&list.files()[0], &Stores::default(), runtime).unwrap();
    let rest = tail::Tail::new(Arc::new(blob), buffer_size, vec![mark], 0);
    let (sender, mut pieces) = mpsc::channel(2);
    std::thread::spawn(move || tail::read(rest, &parser(), &sender));
    let (mut lines, mut marks) = (Vec::new(), Vec::new());
    loop {
        match pieces.blocking_recv().unwrap() {
            Parsing::Piece(piece) => {
                let piece = piece.blocking_recv().unwrap();
                lines.extend((0..piece.block.len()).map(|index| piece.block.data(index).to_vec()));
                marks.push(piece.marks[0]);
            }
            Parsing::Ended(ended) => {
                ended.unwrap();
                return (lines, marks);
            }
        }
    }
}

fn one_by_one(folder: &Folder, mark: u64) -> Vec<Vec<u8>> {
    let resume = Resume {
        ordinal: 0,
        marks: vec![mark],
    };
    let mut merge = folder
        .merge(&folder.list(), Some(resume), OpenLimits::default())
        .unwrap();
    let mut lines = Vec::new();
    while let Some(block) = merge.next_block(BlockLimits::default()).unwrap() {
        lines.extend(block.ticks.iter().map(|(_, data)| data.to_vec()));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pieces_hold_the_lines_that_are_read_one_by_one(
        lines in proptest::collection::vec(line(), 0..40), cut in 0usize..3, begins_with_mark in any::<bool>(),
        buffer in prop_oneof![1usize..200, Just(1 << 18)],
    ) {
        let mut bytes = if begins_with_mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        bytes.extend(lines.concat());
        bytes.truncate(bytes.len().saturating_sub(cut));
        bytes.extend_from_slice(b"{}");
        let folder = Folder::new();
        folder.put("a.ndjson", bytes);
        let (found, marks) = in_pieces(&folder, 0, buffer.max(4));
        prop_assert_eq!(&found, &one_by_one(&folder, 0));
        prop_assert_eq!(marks.last(), Some(&END_MARK));
        // Each piece's end is a place to go on from.
        for mark in marks.iter().step_by(7) {
            let rest = one_by_one(&folder, *mark);
            prop_assert!(found.ends_with(&rest));
            if *mark != END_MARK {
                prop_assert_eq!(in_pieces(&folder, *mark, buffer.max(4)).0, rest);
            }
        }
    }
}

#[test]
fn a_file_that_changes_under_the_pieces_is_refused() {
    let folder = Folder::new();
    folder.put("a.ndjson", "{}\n".repeat(1_000));
    let list = folder.list();
    folder.put("a.ndjson", "{}\n".repeat(999));
    let mapping = RecordMapping::default();
    let limits = BlockLimits::default();
    let ended = folder.runtime.block_on(async {
        let mut source =
            FileSource::open(&list, &Stores::default(), &mapping, &parser(), None, limits)?;
        all_texts(&mut source).await
    });
    assert!(
        matches!(ended, Err(FilesError::Changed { .. })),
        "{ended:?}"
    );
}
