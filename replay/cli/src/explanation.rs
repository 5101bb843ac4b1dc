//! Explanations of error codes: one page for each, in `docs/errors` of the repository.
//!
//! The folder `errors` of this crate leads there, so that its package contains the pages.

/// Explanation of an error code: the parts of its page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Explanation {
    /// What happened, in a few words.
    pub(crate) title: String,
    /// Who has to change something.
    pub(crate) at_fault: String,
    /// What the code means, as one paragraph.
    pub(crate) meaning: String,
    /// A message with this code, line by line.
    pub(crate) example: String,
    /// What to do, as one paragraph.
    pub(crate) advice: String,
}

impl Explanation {
    /// Returns the explanation of a code, if there is a page for it.
    pub(crate) fn of(code: &str) -> Option<Self> {
        let (_, page) = PAGES.iter().find(|(known, _)| *known == code)?;
        Some(Self::parse(code, page))
    }

    /// Splits a page into its parts; a part that the page lacks stays empty.
    fn parse(code: &str, page: &str) -> Self {
        let mut parts = Self::default();
        let mut section = Section::Meaning;
        for line in page.lines() {
            match line {
                "## Example" => section = Section::Example,
                "## What to do" => section = Section::Advice,
                "" | "```" | "```text" => {}
                line => parts.take(code, section, line),
            }
        }
        parts
    }

    fn take(&mut self, code: &str, section: Section, line: &str) {
        if let Some(title) = line.strip_prefix(&format!("# {code}: ")) {
            title.clone_into(&mut self.title);
        } else if let Some(party) = line.strip_prefix("At fault: ") {
            party.clone_into(&mut self.at_fault);
        } else {
            let (text, joint) = match section {
                Section::Meaning => (&mut self.meaning, " "),
                Section::Example => (&mut self.example, "\n"),
                Section::Advice => (&mut self.advice, " "),
            };
            if !text.is_empty() {
                text.push_str(joint);
            }
            text.push_str(line);
        }
    }
}

/// Part of a page below its title.
#[derive(Clone, Copy)]
enum Section {
    Meaning,
    Example,
    Advice,
}

macro_rules! pages {
    ($($code:literal)*) => {
        &[$(($code, include_str!(concat!("../errors/", $code, ".md")))),*]
    };
}

/// The pages, by code. A test compares this list with the folder.
#[rustfmt::skip]
const PAGES: &[(&str, &str)] = pages! {
    "E001" "E002" "E003" "E004" "E005" "E006" "E007" "E008" "E009" "E010" "E011" "E012"
    "E013" "E014" "E015" "E016" "E017" "E018" "E019" "E020" "E021" "E022" "E023" "E024" "E025"
    "E026" "E027" "E028" "E029" "E030" "E031" "E032" "E033" "E034" "E035" "E036" "E037"
    "E038" "E039" "E040" "E041" "E042" "E043" "E044" "E045" "E046" "E047" "E048" "E049"
    "E050" "E051" "E052" "E053" "E054" "E055" "E056" "E057" "E058" "E059" "E060" "E061" "E062" "E063" "E064" "E065" "E066" "E067"
    "E068" "E069" "E070" "E071" "E072" "E073" "E074" "E075" "E076" "E077" "E078" "E079" "E080" "E081" "E082" "E083" "E084" "E085" "E086" "E087" "E088" "E089" "E090" "E091" "E092" "E093"
    "E094" "E095" "E096" "E097" "E098" "E099" "E100" "E101" "E102" "E103" "E104" "E105"
    "E106" "E107" "E108" "E109" "E110" "E111" "E112" "E113" "E114" "E115" "E116" "E117"
    "E118" "E119" "E120" "E121" "E122" "E123" "E124" "E125" "E126" "E127" "E128" "E129" "E130" "E131" "E136" "E137" "E138" "E139" "E140" "E141" "E142" "E144" "E145" "E146" "E147"
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::codes;

    #[test]
    fn every_code_has_one_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("errors");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder of the pages")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.into_string().expect("a name in UTF-8"))
            .collect();
        files.sort_unstable();
        let codes: Vec<&str> = codes().iter().map(|code| code.code).collect();
        let expected: Vec<String> = codes.iter().map(|code| format!("{code}.md")).collect();
        assert_eq!(files, expected, "docs/errors and the codes");
        let included: Vec<&str> = PAGES.iter().map(|(code, _)| *code).collect();
        assert_eq!(included, codes, "PAGES and the codes");
    }

    #[test]
    fn pages_agree_with_the_codes_and_lack_no_part() {
        for code in codes() {
            let page = Explanation::of(code.code).expect(code.code);
            assert_eq!(page.title, code.title, "{}", code.code);
            assert_eq!(page.at_fault, code.at_fault.name(), "{}", code.code);
            assert!(page.meaning.len() > 40, "{}: {}", code.code, page.meaning);
            assert!(
                page.meaning.ends_with('.'),
                "{}: {}",
                code.code,
                page.meaning
            );
            assert!(page.advice.ends_with('.'), "{}: {}", code.code, page.advice);
            // The code in the example is that of the page, so that no page is a copy of another.
            let label = format!("error[{}]: ", code.code);
            assert!(
                page.example.starts_with(&label),
                "{}: {}",
                code.code,
                page.example
            );
            for text in [&page.title, &page.meaning, &page.advice] {
                assert!(
                    !text.contains("  ") && text.trim() == text,
                    "{}: {text}",
                    code.code
                );
            }
        }
    }

    #[test]
    fn a_page_is_split_into_its_parts() {
        let page = "# E999: a title\n\nAt fault: misuse\n\nOne\ntwo.\n\n## Example\n\n```text\nerror[E999]: x\n  y\n```\n\n## What to do\n\nThis\nthat.\n";
        let expected = Explanation {
            title: "a title".to_owned(),
            at_fault: "misuse".to_owned(),
            meaning: "One two.".to_owned(),
            example: "error[E999]: x\n  y".to_owned(),
            advice: "This that.".to_owned(),
        };
        assert_eq!(Explanation::parse("E999", page), expected);
        assert_eq!(
            Explanation::parse("E999", &page.replace('\n', "\r\n")),
            expected
        );
        assert_eq!(Explanation::of("E999"), None);
    }
}
