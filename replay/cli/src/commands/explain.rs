//! `interloom explain`: what does this error code mean?

use anstream::eprintln;
use clap::Args;
use interloom_engine::Code;
use serde_json::{Value, json};

use super::report::outln;
use super::{Ending, report};
use crate::codes;
use crate::explanation::Explanation;

/// Say what an error code means and what to do; without one, list all of them.
#[derive(Args)]
pub(super) struct Arguments {
    /// The code, such as E002.
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// The length of a line of a paragraph, in characters.
const WIDTH: usize = 80;

pub(super) fn run(arguments: &Arguments) -> Ending {
    match &arguments.code {
        None => list(arguments.json),
        Some(code) => explain(code, arguments.json),
    }
}

fn list(json: bool) -> Ending {
    let codes = codes();
    match json {
        true => outln!("{}", codes.into_iter().map(as_json).collect::<Value>()),
        false => codes
            .iter()
            .for_each(|code| outln!("{}  {}", code.code, code.title)),
    }
    Ending::Done
}

fn as_json(code: &Code) -> Value {
    let page = Explanation::of(code.code).unwrap_or_default();
    json!({
        "code": code.code,
        "title": code.title,
        "at_fault": code.at_fault.name(),
        "explanation": page.meaning,
        "example": page.example,
        "advice": page.advice,
    })
}

fn explain(asked: &str, json: bool) -> Ending {
    let same = |code: &&Code| code.code.eq_ignore_ascii_case(asked);
    match codes().into_iter().find(same) {
        Some(code) if json => {
            outln!("{}", as_json(code));
            Ending::Done
        }
        Some(code) => {
            print(code);
            Ending::Done
        }
        None => {
            eprintln!("no error code `{asked}`; `interloom explain` lists all of them");
            Ending::Usage
        }
    }
}

fn print(code: &Code) {
    let page = Explanation::of(code.code).unwrap_or_default();
    report::heading(&format!("{}: {}", code.code, code.title));
    outln!("at fault: {}\n", code.at_fault.name());
    outln!("{}\n", wrapped(&page.meaning, WIDTH));
    outln!("for example:\n");
    for line in page.example.lines() {
        outln!("    {line}");
    }
    let advice = format!("what to do: {}", page.advice);
    outln!("\n{}", wrapped(&advice, WIDTH));
}

/// Breaks a text into lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two  three four", 9), "one two\nthree\nfour");
        assert_eq!(wrapped("", 9), "");
    }

    #[test]
    fn codes_are_distinct() {
        let codes = codes();
        for pair in codes.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} twice", pair[0].code);
        }
        for code in codes {
            assert!(!code.title.ends_with('.'), "{}", code.code);
        }
    }
}
