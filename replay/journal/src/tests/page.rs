//! The page for browsers: what is in it, and that nothing in a journal gets out of its place in it.

use interloom_engine::{Fault, FaultKind, Tree};
use serde_json::Value;

use super::super::export::{PAGE_EXCHANGES_DEFAULT, Selection, page};
use super::*;

/// Everything that could end a text, an element, a comment or a script.
const HOSTILE: &str =
    "</script><img src=x onerror=alert(1)><!-- ]]> & \" ' \u{2028}\u{202e}{script}{data}\n";

fn page_of(bytes: &[u8], limit: usize) -> String {
    let mut out = Vec::new();
    let reader = JournalReader::new(std::io::Cursor::new(bytes), "folder/a.ilj").unwrap();
    page(reader, Selection::default(), limit, &mut out, "out").unwrap();
    String::from_utf8(out).unwrap()
}

/// The JSON of a page.
fn data(page: &str) -> Value {
    let (_, rest) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

/// A fault whose code and particulars are hostile.
fn hostile_fault() -> Fault {
    let kind = FaultKind::Unknown {
        code: HOSTILE.into(),
        particulars: Tree::Text(HOSTILE.into()),
    };
    kind.into()
}

/// A journal in which every text is hostile.
fn hostile() -> Vec<u8> {
    let mut head = samples::head();
    head.device = HOSTILE.into();
    head.experiment.name = HOSTILE.into();
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "memory", &head).unwrap();
    let mut start = samples::run_start(0);
    start.name = HOSTILE.into();
    start.mediators[0].name = HOSTILE.into();
    writer.start_run(&start).unwrap();
    let path = writer.path(HOSTILE).unwrap();
    let site = SiteRef { path, iteration: 0 };
    let exchange = ExchangeRecord {
        asked: Some(site),
        at: Some(site),
        result: ExchangeResult::Refused,
        value: Some(ValueTree::Map(
            [(HOSTILE.into(), ValueTree::Text(HOSTILE.into()))].into(),
        )),
        fault: Some(hostile_fault()),
        origin: Some(OriginRecord {
            file: HOSTILE.into(),
            line: 1,
        }),
        ..samples::exchange(0, 0, Event::Value)
    };
    writer.exchange(&exchange).unwrap();
    let outcome = OutcomeRecord::Failed(FailureLine::new(HOSTILE, &HOSTILE));
    writer.end_run(outcome).unwrap();
    writer.finish().unwrap();
    bytes
}

#[test]
fn every_exchange_is_on_the_page_with_its_names() {
    let bytes = samples::golden();
    let page = page_of(&bytes, PAGE_EXCHANGES_DEFAULT);
    let data = data(&page);
    assert_eq!(data["title"], "a.ilj");
    assert!(page.contains("<title>a.ilj</title>"));
    assert_eq!(data["left_out"], Value::Null);
    let items = data["items"].as_array().unwrap();
    let expected: Vec<_> = samples::read_all(&bytes)
        .0
        .into_iter()
        .filter_map(|(_, record)| match record {
            Record::Exchange(exchange) => Some(exchange),
            _ => None,
        })
        .collect();
    assert_eq!(items.len(), expected.len());
    for (item, exchange) in items.iter().zip(&expected) {
        assert_eq!(item["index"], exchange.index);
        assert_eq!(item["run"], exchange.run);
        assert_eq!(item["event"], exchange.event.name());
        assert_eq!(item["result"], exchange.result.name());
        assert_eq!(item["asked"].is_null(), exchange.asked.is_none());
        let run = &data["runs"][exchange.run as usize];
        let lane = item["lane"].as_u64().unwrap() as usize;
        assert!(run["mediators"][lane]["name"].is_string());
    }
    assert_eq!(data["runs"][0]["mediators"][0]["name"], "read");
    let phases = items.iter().filter_map(|item| item["phase"].as_str());
    assert_eq!(phases.collect::<Vec<_>>(), ["in backward pass 0"]);
    assert_eq!(items[11]["phase"], "in backward pass 0");
}

#[test]
fn tensors_that_are_kept_have_figures() {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "memory", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let path = writer.path("a.output").unwrap();
    let elements = [3.0f32, -4.0];
    let raw = elements.map(f32::to_le_bytes).concat();
    let digest = Digest::of_tensor(DType::F32, &[2], &raw);
    writer.tensor(&digest, DType::F32, &[2], &raw).unwrap();
    for index in 0..2 {
        let exchange = samples::tensor_exchange(index, 7, Event::Value, path, &elements);
        writer.exchange(&exchange).unwrap();
    }
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let data = data(&page_of(&bytes, 10));
    assert_eq!(data["items"][0]["tensors"][0]["digest"], digest.to_string());
    let figures = &data["tensors"][digest.to_string()];
    assert_eq!(
        (&figures["min"], &figures["max"]),
        (&(-4.0).into(), &3.0.into())
    );
    assert_eq!(
        (&figures["mean"], &figures["norm"]),
        (&(-0.5).into(), &5.0.into())
    );
    // A mediator that the run does not list has a lane of its own, after those that it lists.
    assert_eq!(data["items"][0]["lane"], 2);
    assert_eq!(data["runs"][0]["mediators"][2]["name"], "#7");
}

#[test]
fn nothing_in_a_journal_gets_out_of_its_place() {
    let plain = page_of(&samples::golden(), 100);
    let page = page_of(&hostile(), 100);
    for text in ["<img", "<!--", "</script", "<script", "<title"] {
        assert_eq!(
            page.matches(text).count(),
            plain.matches(text).count(),
            "{text}"
        );
    }
    assert!(!page.contains('\u{2028}'));
    let data = data(&page);
    let shown = "</script><img src=x onerror=alert(1)>";
    let item = &data["items"][0];
    for text in [
        &item["asked"],
        &item["fault"],
        &item["origin"],
        &item["value"],
        &data["runs"][0]["title"],
        &data["runs"][0]["mediators"][0]["name"],
    ] {
        assert!(text.as_str().unwrap().contains(shown), "{text}");
    }
}

#[test]
fn a_title_is_text_too() {
    let bytes = samples::golden();
    let reader = JournalReader::new(std::io::Cursor::new(bytes), "</title>{style}<img>").unwrap();
    let mut out = Vec::new();
    page(reader, Selection::default(), 1, &mut out, "out").unwrap();
    let page = String::from_utf8(out).unwrap();
    assert!(
        page.contains("<title>title&gt;{style}&lt;img&gt;</title>"),
        "{}",
        &page[..600]
    );
    assert!(!page.contains("<img"));
}

#[test]
fn the_page_makes_no_markup_from_text_and_loads_nothing() {
    let page = page_of(&samples::golden(), 100);
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "src=",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "javascript:",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
    let links: Vec<_> = page
        .match_indices("http")
        .map(|(at, _)| &page[at..at + 26])
        .collect();
    assert_eq!(
        links,
        ["http-equiv=\"Content-Securit", "http://www.w3.org/2000/svg"].map(|link| &link[..26])
    );
}

#[test]
fn the_same_journal_gives_the_same_bytes() {
    for bytes in [samples::golden(), hostile()] {
        assert_eq!(page_of(&bytes, 7), page_of(&bytes, 7));
    }
}

#[test]
fn a_page_says_what_it_leaves_out() {
    let bytes = samples::golden();
    let few = data(&page_of(&bytes, 3));
    assert_eq!(few["items"].as_array().unwrap().len(), 3);
    assert_eq!(few["runs"].as_array().unwrap().len(), 1);
    insta::assert_snapshot!(few["left_out"].as_str().unwrap(), @"This page has the first 3 exchanges and leaves out 13 more, and 2 later runs. `interloom export --limit N` shows more, `--site SITE` others.");
    let none = data(&page_of(&bytes, 0));
    assert!(none["items"].as_array().unwrap().is_empty());
    assert!(none["left_out"].is_string());
}

#[test]
fn long_texts_are_cut_and_many_tensors_counted() {
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "memory", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let path = writer.path("a.output").unwrap();
    let exchange = ExchangeRecord {
        fault: Some(Fault::raise("é".repeat(100_000))),
        value: Some(ValueTree::List(vec![samples::tensor(&[1.0]); 100].into())),
        ..samples::tensor_exchange(0, u32::MAX, Event::Value, path, &[])
    };
    writer.exchange(&exchange).unwrap();
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    let page = page_of(&bytes, 10);
    assert!(page.len() < 60_000, "{}", page.len());
    let data = data(&page);
    let fault = data["items"][0]["fault"].as_str().unwrap();
    assert!(fault.ends_with("… (200006 bytes)"), "{fault}");
    assert_eq!(data["items"][0]["tensors"].as_array().unwrap().len(), 8);
    assert_eq!(data["items"][0]["more_tensors"], 92);
}

#[test]
fn an_output_that_fails_is_an_error() {
    use super::faults::{FaultFile, Plan};

    let bytes = samples::golden();
    for room in [0, 100, 20_000] {
        let mut file = FaultFile::new(Plan {
            room: Some(room),
            ..Plan::default()
        });
        let reader = JournalReader::new(std::io::Cursor::new(&bytes), "a.ilj").unwrap();
        let error = page(reader, Selection::default(), 10, &mut file, "out").unwrap_err();
        assert_eq!(error.code(), "E061");
    }
}
