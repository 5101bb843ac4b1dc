//! Whether `docs/FORMAT.md` is still of this code.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::sync::Arc;

use interloom_engine::{Fault, NoLeaf, RunError, Tree};
use serde::de::DeserializeOwned;

use super::super::digest::DType;
use super::super::exchange::TAGS;
use super::super::{particulars, wire};
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREAMBLE_BYTES, Preamble};
use super::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/FORMAT.md");
const END: &str = "<!-- end -->\n";

fn document() -> String {
    fs::read_to_string(DOCUMENT).unwrap().replace("\r\n", "\n")
}

/// Each part of the page that is computed, by its name.
fn computed() -> [(&'static str, String); 4] {
    [
        ("kinds", kinds()),
        ("codes", codes()),
        ("faults", faults()),
        ("failures", failures()),
    ]
}

fn kinds() -> String {
    let mut table =
        "| kind | record | payload | longest payload |\n|---:|---|---|---:|\n".to_owned();
    for kind in FrameKind::ALL {
        let payload = match kind {
            FrameKind::Path
            | FrameKind::Source
            | FrameKind::Visit
            | FrameKind::CacheDeclaration
            | FrameKind::Padding
            | FrameKind::Passage => "msgpack array, canonical",
            FrameKind::Exchange | FrameKind::Open => "msgpack array and number, canonical",
            FrameKind::Tensor => "raw",
            _ => "msgpack map",
        };
        let (longest, unit) = match kind.bytes_max() {
            bytes if bytes >> 30 > 0 => (bytes >> 30, "GiB"),
            bytes if bytes >> 20 > 0 => (bytes >> 20, "MiB"),
            bytes => (bytes >> 10, "KiB"),
        };
        let (code, name) = (kind as u8, kind.name());
        writeln!(
            table,
            "| `{code:02x}` | {name} | {payload} | {longest} {unit} |"
        )
        .unwrap();
    }
    table
}

fn codes() -> String {
    let listed = |names: Vec<String>| names.join(", ");
    let events = Event::ALL.map(|event| format!("{} {}", event.code(), event.name()));
    let results = ExchangeResult::ALL.map(|result| format!("{} {}", result.code(), result.name()));
    let types = DType::ALL.map(|dtype| format!("{} {}", dtype.code(), dtype.name()));
    format!(
        "- events: {}\n- results: {}\n- element types: {}\n",
        listed(events.into()),
        listed(results.into()),
        listed(types.into())
    )
}

/// The particulars of each fault that this version knows, by its code.
fn faults() -> String {
    let lines = samples::faults().into_iter().map(|fault| {
        let tree = particulars::tree_of(&fault);
        (tree, is_of::<Fault> as fn(&Tree<NoLeaf>) -> bool)
    });
    particulars_table("fault", lines)
}

/// The particulars of each failure of a run that the interleaver knows, by its name.
fn failures() -> String {
    let lines = samples::run_errors().into_iter().map(|error| {
        let tree = particulars::tree_of(&error);
        (tree, is_of::<RunError> as fn(&Tree<NoLeaf>) -> bool)
    });
    particulars_table("failure", lines)
}

fn is_of<T: DeserializeOwned>(tree: &Tree<NoLeaf>) -> bool {
    particulars::from_tree::<T>(tree).is_some()
}

/// What an error serialises to, and whether something else would be one too.
type Known = (Tree<NoLeaf>, fn(&Tree<NoLeaf>) -> bool);

fn particulars_table(what: &str, lines: impl Iterator<Item = Known>) -> String {
    let mut table = format!("| {what} | particulars |\n|---|---|\n");
    for (tree, is_known) in lines {
        let (code, particulars) = match &tree {
            Tree::Text(code) => (code.clone(), "none: the code alone".to_owned()),
            Tree::Map(entries) => {
                let [(code, particulars)] = &**entries else {
                    panic!("one code");
                };
                let with = |particulars| is_known(&Tree::Map([(code.clone(), particulars)].into()));
                (code.clone(), format!("`{}`", form(particulars, &with)))
            }
            _ => panic!("a code"),
        };
        writeln!(table, "| `{code}` | {particulars} |").unwrap();
    }
    table
}

/// The form of particulars, where `fits` tells whether other ones would do in their place.
fn form(tree: &Tree<NoLeaf>, fits: &dyn Fn(Tree<NoLeaf>) -> bool) -> String {
    let or_nil = if fits(Tree::Unit) { " or nil" } else { "" };
    let form = match tree {
        Tree::Text(_) => "text".to_owned(),
        Tree::Int(_) => "integer".to_owned(),
        Tree::List(items) => list_form(items, fits),
        Tree::Map(entries) => {
            let entry = |(place, (key, item)): (usize, &(Arc<str>, Tree<NoLeaf>))| {
                if &**key == "fault" {
                    let or_nil = if fits(with_entry(entries, place, Tree::Unit)) {
                        " or nil"
                    } else {
                        ""
                    };
                    return format!("fault: a fault{or_nil}");
                }
                let inner = |other| fits(with_entry(entries, place, other));
                format!("{key}: {}", form(item, &inner))
            };
            let entries: Vec<_> = entries.iter().enumerate().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => panic!("no sample has {other}"),
    };
    format!("{form}{or_nil}")
}

/// The form of an array: of any length if one item more fits too.
fn list_form(items: &[Tree<NoLeaf>], fits: &dyn Fn(Tree<NoLeaf>) -> bool) -> String {
    let item = |place: usize| {
        let inner = |other| {
            let mut items = items.to_vec();
            items[place] = other;
            fits(Tree::List(items.into()))
        };
        form(&items[place], &inner)
    };
    let longer = [items, &items[..1]].concat();
    if fits(Tree::List(longer.into())) {
        return format!("[{} …]", item(0));
    }
    let items: Vec<_> = (0..items.len()).map(item).collect();
    format!("[{}]", items.join(", "))
}

fn with_entry(
    entries: &[(Arc<str>, Tree<NoLeaf>)],
    place: usize,
    item: Tree<NoLeaf>,
) -> Tree<NoLeaf> {
    let mut entries = entries.to_vec();
    entries[place].1 = item;
    Tree::Map(entries.into())
}

#[test]
fn the_samples_have_every_fault_of_the_engine() {
    let of_faults = |code: &&str| {
        let ranges = [
            "E001".."E018",
            "E054".."E057",
            "E075".."E076",
            "E103".."E104",
        ];
        ranges.iter().any(|range| range.contains(code))
    };
    let known = interloom_engine::codes().map(|code| code.code);
    let known: BTreeSet<_> = known.filter(of_faults).collect();
    let faults = samples::faults();
    let sampled: BTreeSet<_> = faults.iter().map(Fault::code).collect();
    assert_eq!(sampled, known);
}

/// The page with these parts as they are computed.
fn with_computed(mut page: String) -> String {
    for (name, text) in computed() {
        let start = format!("<!-- computed by a test: {name} -->\n");
        let (before, rest) = page.split_once(&start).expect(name);
        let (_, after) = rest.split_once(END).unwrap();
        page = [before, &start, &text, END, after].concat();
    }
    page
}

#[test]
fn the_format_is_the_documented_one() {
    let page = document();
    assert_eq!(
        page,
        with_computed(page.clone()),
        "read docs/FORMAT.md, make it say what the code does now, and then run the test `write_the_format`"
    );
}

#[test]
#[ignore = "writes the computed parts of docs/FORMAT.md: cargo test -p interloom-journal --lib -- --ignored write_the_format"]
fn write_the_format() {
    fs::write(DOCUMENT, with_computed(document())).unwrap();
}

/// The rows of the table after this heading: each field, and where the page says that it stands.
fn fields(heading: &str) -> Vec<(String, Range<usize>)> {
    let page = document();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.filter_map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (offset, size) = (cells[0].parse().ok()?, cells[1].parse::<usize>().ok()?);
        Some((cells[2].to_owned(), offset..offset + size))
    })
    .collect()
}

/// Where the two differ, but for the CRC.
fn differing(a: &[u8], b: &[u8], crc: Range<usize>) -> Vec<usize> {
    (0..a.len())
        .filter(|at| a[*at] != b[*at] && !crc.contains(at))
        .collect()
}

#[track_caller]
fn assert_stands(fields: &[(String, Range<usize>)], field: &str, found: Vec<usize>) {
    let (_, place) = fields
        .iter()
        .find(|(name, _)| name.starts_with(field))
        .expect(field);
    assert_eq!(found, place.clone().collect::<Vec<_>>(), "{field}");
}

#[test]
fn the_fields_of_the_preamble_stand_where_the_page_says() {
    let fields = fields("Preamble");
    let zero = Preamble {
        major: 0,
        minor: 0,
        sync: [0; 16],
    };
    let differing = |other: Preamble| differing(&zero.encode(), &other.encode(), 60..64);
    let with_major = Preamble {
        major: u16::MAX,
        ..zero
    };
    let with_minor = Preamble {
        minor: u16::MAX,
        ..zero
    };
    let with_sync = Preamble {
        sync: [0xff; 16],
        ..zero
    };
    assert_stands(&fields, "major version", differing(with_major));
    assert_stands(&fields, "minor version", differing(with_minor));
    assert_stands(&fields, "sync marker", differing(with_sync));
    let versions = fields
        .iter()
        .filter_map(|(name, _)| name.split_once("version: "));
    let versions: Vec<u16> = versions
        .map(|(_, number)| number.parse().unwrap())
        .collect();
    assert_eq!(versions, [frame::FORMAT_MAJOR, frame::FORMAT_MINOR]);
    let (last, end) = fields.last().unwrap();
    assert_eq!(
        (last.as_str(), end.end),
        ("CRC of bytes 0 to 59", PREAMBLE_BYTES)
    );
    let bytes = Preamble::for_head(b"").encode();
    assert_eq!(bytes[60..], crc32fast::hash(&bytes[..60]).to_le_bytes());
}

#[test]
fn the_fields_of_a_header_stand_where_the_page_says() {
    let fields = fields("Frame");
    let zero = FrameHeader {
        kind: 0,
        length: 0,
        sequence: 0,
        payload_crc: 0,
    };
    let differing = |other: FrameHeader| differing(&zero.encode(0), &other.encode(0), 20..24);
    let kind = FrameHeader { kind: 0xff, ..zero };
    let length = FrameHeader {
        length: u32::MAX,
        ..zero
    };
    let sequence = FrameHeader {
        sequence: u64::MAX,
        ..zero
    };
    let payload_crc = FrameHeader {
        payload_crc: u32::MAX,
        ..zero
    };
    assert_stands(&fields, "kind", differing(kind));
    assert_stands(&fields, "payload length", differing(length));
    assert_stands(&fields, "sequence", differing(sequence));
    assert_stands(&fields, "CRC of the payload", differing(payload_crc));
    let preamble = Preamble::for_head(b"head");
    let bytes = zero.encode(preamble.header_seed());
    let expected = [&preamble.sync[..], &bytes[..20]].concat();
    assert_eq!(bytes[20..], crc32fast::hash(&expected).to_le_bytes());
    assert_eq!(fields.last().unwrap().1.end, FRAME_HEADER_BYTES);
}

#[test]
fn the_fields_of_a_tensor_stand_where_the_page_says() {
    let fields = fields("Tensor");
    let head = |digest, dtype| {
        let mut head = Vec::new();
        wire::encode_tensor_head(&Digest([digest; 32]), dtype, &[], &mut head);
        head
    };
    let zero = head(0, DType::F64);
    let differing = |other: Vec<u8>| differing(&zero, &other, 0..0);
    assert_stands(&fields, "digest", differing(head(1, DType::F64)));
    assert_stands(&fields, "element type", differing(head(0, DType::Bool)));
    assert_stands(&fields, "rank", vec![33]);
    let mut ranked = Vec::new();
    wire::encode_tensor_head(&Digest::ZERO, DType::F64, &[7; 3], &mut ranked);
    assert_eq!(
        (ranked[33], ranked.len()),
        (3, wire::TENSOR_FIXED_BYTES + 3 * 8)
    );
    assert_eq!(ranked[40..48], 7_u64.to_le_bytes());
}

#[test]
fn the_page_has_each_kind_of_value_with_its_tag() {
    let page = document();
    let (_, table) = page.split_once("| value | encoding |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let found: Vec<_> = rows
        .map(|row| {
            let (name, encoding) = row[2..].split_once(" | `[").unwrap();
            let tag = encoding.split([',', ']']).next().unwrap();
            (tag.parse().unwrap(), name)
        })
        .collect();
    assert_eq!(found, TAGS);
}
