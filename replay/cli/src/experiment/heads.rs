//! Places that are swept over the heads of a model, and stand in another dimension of a value.
//!
//! A place has no name, so that `attn.pattern[.., .., {head}]` reads a query of each head, and no
//! check can say that a head was meant. Two signs are taken for that: the name that the file gives
//! the place, and a sweep over just as many numbers as the value has heads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use interloom_engine::{Point, SiteMap};
use interloom_program::{Action, Expr, Item, Program, ProgramStep, Shapes, Span};

use super::language;
use super::outlook::Outlook;
use super::plan::Plan;
use super::subject::Subject;
use crate::Progress;

/// The number that a name is given to see where it stands; no value of the file is likely to be it.
pub(super) const MARK: u32 = 1_735_289_203;

/// A program in which [`MARK`] stands in the place of one name that the file sets or sweeps over.
#[derive(Clone, Debug)]
pub(super) struct MarkedProgram {
    pub(super) name: String,
    /// What the name stands for.
    pub(super) values: BTreeSet<String>,
    pub(super) program: Program,
}

/// Warns of names that stand for heads, and of sweeps over as many numbers as there are heads,
/// where something else than a head is taken.
pub(super) fn warn_of_heads(
    plan: &Plan,
    subject: &Subject,
    outlooks: &[Outlook<'_>],
    progress: &mut dyn Progress,
) {
    let Some(outlook) = outlooks.first() else {
        return;
    };
    let model = Model {
        map: subject.sites().map(),
        shapes: outlook.plain(),
    };
    let mut warned = BTreeSet::new();
    for marked in &plan.marked {
        let mut program = marked.program.clone();
        language::resolve(&mut program, model.map);
        for place in Places::of(&program) {
            let doubt = model.doubt(marked, &place);
            if let Some(doubt) = doubt.filter(|doubt| warned.insert(doubt.clone())) {
                progress.warn(&doubt);
            }
        }
    }
}

/// A place of a dimension that a program takes by the marked name.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Place {
    file: String,
    line: u32,
    /// The site of the value.
    site: String,
    dimension: usize,
}

/// The marked places of a program.
#[derive(Default)]
struct Places<'p> {
    /// The sites that variables were read at: most that is done to a value leaves its dimensions
    /// what they are.
    variables: BTreeMap<&'p str, &'p str>,
    file: &'p str,
    line: u32,
    found: Vec<Place>,
}

impl<'p> Places<'p> {
    fn of(program: &'p Program) -> Vec<Place> {
        let mut places = Self {
            file: program.file.as_deref().unwrap_or_default(),
            ..Self::default()
        };
        places.steps(&program.steps);
        places.found
    }

    fn steps(&mut self, steps: &'p [ProgramStep]) {
        for step in steps {
            self.line = step.line.unwrap_or(self.line);
            for value in step.action.values() {
                self.value(value);
            }
            if let Action::Let { variable, value } = &step.action {
                match self.site(value) {
                    Some(site) => drop(self.variables.insert(variable, site)),
                    None => drop(self.variables.remove(&**variable)),
                }
            }
            for body in step.action.bodies() {
                self.steps(body);
            }
        }
    }

    fn value(&mut self, value: &'p Expr) {
        for operand in value.operands() {
            self.value(operand);
        }
        let (of, dimensions) = match value {
            Expr::Slice { of, spans }
            | Expr::Clip { of, spans }
            | Expr::Patch { of, spans, .. } => {
                let marked = (0..).zip(spans).filter(|(_, span)| is_marked(**span));
                (of, marked.map(|(dimension, _)| dimension).collect())
            }
            Expr::Index { of, item } | Expr::Replace { of, item, .. } => match item {
                Item::Place(MARK) => (of, vec![0]),
                _ => return,
            },
            _ => return,
        };
        let Some(site) = self.site(of) else { return };
        let place = |dimension| Place {
            file: self.file.to_owned(),
            line: self.line,
            site: site.to_owned(),
            dimension,
        };
        self.found.extend(dimensions.into_iter().map(place));
    }

    /// Returns the site whose dimensions a value has.
    fn site(&self, value: &'p Expr) -> Option<&'p str> {
        match value {
            Expr::Read(site) => Some(site),
            Expr::Var(name) => self.variables.get(&**name).copied(),
            Expr::Clone(of)
            | Expr::Abs(of)
            | Expr::Along { of, .. }
            | Expr::ZerosLike(of)
            | Expr::Slice { of, .. }
            | Expr::Clip { of, .. }
            | Expr::Patch { of, .. } => self.site(of),
            Expr::Add(left, right)
            | Expr::Sub(left, right)
            | Expr::Mul(left, right)
            | Expr::Div(left, right) => self.site(left).or_else(|| self.site(right)),
            _ => None,
        }
    }
}

fn is_marked(span: Span) -> bool {
    let mark = i64::from(MARK);
    [span.start, span.end]
        .into_iter()
        .flatten()
        .any(|place| place.abs() == mark)
}

/// What is known of the model.
struct Model<'m> {
    map: &'m SiteMap,
    shapes: &'m Shapes,
}

impl Model<'_> {
    /// Returns what is to be said of a place, if it is most likely meant for a head and is of
    /// something else.
    fn doubt(&self, marked: &MarkedProgram, place: &Place) -> Option<String> {
        let (point, _) = self.map.site(&place.site)?;
        let shape = self.shape(point)?;
        let Place { dimension, .. } = *place;
        let heads = self.dimension_of_heads(point, &shape);
        let length = *shape.get(dimension)?;
        let is_meant = match heads {
            Some(heads) if heads == dimension => false,
            Some(heads) => {
                is_of_head(&marked.name) || (length > shape[heads] && counts(marked, shape[heads]))
            }
            None => is_of_head(&marked.name),
        };
        let fix = match heads {
            _ if !is_meant => return None,
            Some(heads) => Fix {
                name: &marked.name,
                site: None,
                heads,
            },
            // The nearest value that has heads.
            None => self.beside(point, &marked.name)?,
        };
        Some(format!(
            "{file}:{line}: `{{{name}}}` is a place among {what} of `{site}`, dimension {dimension} of {shape:?}; {fix}",
            file = place.file,
            line = place.line,
            name = marked.name,
            what = self.what(point, dimension, heads),
            site = place.site,
        ))
    }

    /// Returns the dimension of heads of a value that is split into heads: inside attention, the
    /// first that is neither of rows nor of positions.
    fn dimension_of_heads(&self, point: Point, shape: &[u64]) -> Option<usize> {
        self.attention(point)?;
        let positions = self.map.positions(point).of(0);
        let is_split = shape.len() == 4;
        let mut others = (1..shape.len()).filter(|dimension| !positions.contains(dimension));
        others.next().filter(|_| is_split)
    }

    /// Returns the path of the attention that a point is in, which has a pattern.
    fn attention(&self, point: Point) -> Option<&str> {
        let has_pattern = |path: &str| self.point_of(path, "pattern").is_some();
        let mut path = self.map.path_name(point.path);
        while !has_pattern(path) {
            path = path.rsplit_once('.')?.0;
        }
        Some(path)
    }

    /// Returns the path of the first attention inside the module of a point.
    fn attention_below(&self, point: Point) -> Option<&str> {
        let below = self.map.points_below(point.path);
        let mut paths = below.map(|point| self.map.path_name(point.path));
        paths.find_map(|path| path.strip_suffix(".pattern"))
    }

    /// Returns a value with heads in the attention that a point is in, or that is in its module.
    fn beside<'n>(&self, point: Point, name: &'n str) -> Option<Fix<'n>> {
        let attention = self.attention(point);
        let attention = attention.or_else(|| self.attention_below(point))?;
        let beside = |value| {
            let point = self.point_of(attention, value)?;
            let heads = self.dimension_of_heads(point, &self.shape(point)?)?;
            let site = Some(format!("{attention}.{value}"));
            Some(Fix { name, site, heads })
        };
        beside("z").or_else(|| beside("pattern"))
    }

    fn point_of(&self, path: &str, value: &str) -> Option<Point> {
        self.map.point(&format!("{path}.{value}.output"))
    }

    fn shape(&self, point: Point) -> Option<Vec<u64>> {
        self.shapes.of(self.map, point.at(0), None)
    }

    /// Returns what the places of a dimension are.
    fn what(&self, point: Point, dimension: usize, heads: Option<usize>) -> &'static str {
        match self.map.positions(point).of(0) {
            _ if dimension == 0 => "the rows",
            [queries, _] if *queries == dimension => "the queries",
            [_, keys] if *keys == dimension => "the keys",
            positions if positions.contains(&dimension) => "the positions",
            _ if heads.is_some() => "the numbers of each head",
            _ => "the numbers of each position",
        }
    }
}

/// What would take a head.
struct Fix<'n> {
    name: &'n str,
    /// Another site, if the value has no heads.
    site: Option<String>,
    heads: usize,
}

impl fmt::Display for Fix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, site, heads } = self;
        let spans = ".., ".repeat(*heads);
        match site {
            Some(site) => write!(
                f,
                "it is not split into heads: for a head write `{site}[{spans}{{{name}}}]`"
            ),
            None => write!(
                f,
                "its heads are dimension {heads}: for a head write `[{spans}{{{name}}}]`"
            ),
        }
    }
}

/// Returns whether a name says that it is of a head: `h`, `head`, `from_head`, `head2`.
fn is_of_head(name: &str) -> bool {
    const OTHERS: [&str; 7] = ["lm", "dim", "width", "size", "count", "len", "length"];
    let name = name.to_lowercase();
    let words = || {
        name.split(['_', '-'])
            .map(|word| word.trim_end_matches(|digit: char| digit.is_ascii_digit()))
    };
    words().any(|word| matches!(word, "h" | "head" | "heads"))
        && !words().any(|word| OTHERS.contains(&word))
}

/// Returns whether a name that says nothing stands for the numbers from 0 to before `count`.
fn counts(marked: &MarkedProgram, count: u64) -> bool {
    const NAMES: [&str; 6] = ["i", "j", "n", "x", "index", "number"];
    let is_value = |place: u64| marked.values.contains(&place.to_string());
    NAMES.contains(&&*marked.name)
        && count > 1
        && marked.values.len() as u64 == count
        && (0..count).all(is_value)
}

#[cfg(test)]
mod tests {
    use interloom_journal::Policy;

    use super::super::{FileExperiment, Purpose};
    use super::*;

    /// Returns what is warned of an experiment.
    fn warnings_of(text: &str) -> String {
        struct Warnings(Vec<String>);
        impl Progress for Warnings {
            fn begin(&mut self, _: &str, _: u64) {}

            fn step(&mut self) {}

            fn warn(&mut self, warning: &str) {
                self.0.push(warning.to_owned());
            }
        }
        let mut warnings = Warnings(Vec::new());
        let experiment = FileExperiment::new("e.toml", text);
        experiment
            .open_model_for(Purpose::Run, Policy::Digest, &mut warnings)
            .unwrap();
        warnings.0.join("\n")
    }

    /// Returns what is warned of a run of the Induction model, which has four heads.
    fn warnings(each: &str, program: &str) -> String {
        let swept = each.split(", ").filter_map(|name| name.split_once(" = "));
        let name: String = swept.map(|(name, _)| format!("-{{{name}}}")).collect();
        warnings_of(&format!(
            "model = 'induction'\n[set]\nhead = 2\n[[input]]\nname = 'a'\ntokens = [1, 2, 3, 4, 5, 6]\n[[run]]\n\
             name = 'r{name}'\neach = {{ {each} }}\ninput = 'a'\nprogram = '''\n{program}\n'''\n"
        ))
    }

    #[test]
    fn a_name_of_heads_in_another_dimension_is_warned_of_with_the_likely_fix() {
        let heads = "h = '0..4', n_head = [1]";
        insta::assert_snapshot!(warnings(heads, "save p = layers.0.attn.pattern[.., .., {h}]"), @"e.toml:12: `{h}` is a place among the queries of `layers.0.attn.pattern.output`, dimension 2 of [1, 4, 6, 6]; its heads are dimension 1: for a head write `[.., {h}]`");
        insta::assert_snapshot!(warnings(heads, "z = layers.1.attn.z * 2\nz[.., {h}] = 0\nlayers.1.attn.z = z"), @"e.toml:13: `{h}` is a place among the positions of `layers.1.attn.z.output`, dimension 1 of [1, 6, 4, 16]; its heads are dimension 2: for a head write `[.., .., {h}]`");
        insta::assert_snapshot!(warnings("h = '0..1'", "save p = layers.0.attn.pattern[{h}]"), @"e.toml:12: `{h}` is a place among the rows of `layers.0.attn.pattern.output`, dimension 0 of [1, 4, 6, 6]; its heads are dimension 1: for a head write `[.., {h}]`");
        insta::assert_snapshot!(warnings(heads, "save o = layers.0.attn[.., .., {h}]"), @"e.toml:12: `{h}` is a place among the numbers of each position of `layers.0.attn.output`, dimension 2 of [1, 6, 64]; it is not split into heads: for a head write `layers.0.attn.z[.., .., {h}]`");
        insta::assert_snapshot!(warnings(heads, "save o = layers.1[.., .., {h}]"), @"e.toml:12: `{h}` is a place among the numbers of each position of `layers.1.output`, dimension 2 of [1, 6, 64]; it is not split into heads: for a head write `layers.1.attn.z[.., .., {h}]`");
        insta::assert_snapshot!(warnings("i = '0..4'", "layers.0.attn.pattern[.., .., .., {i}] *= 0"), @"e.toml:12: `{i}` is a place among the keys of `layers.0.attn.pattern.output`, dimension 3 of [1, 4, 6, 6]; its heads are dimension 1: for a head write `[.., {i}]`");
        insta::assert_snapshot!(warnings("", "layers.0.attn.k[.., {head}] = 0"), @"e.toml:12: `{head}` is a place among the positions of `layers.0.attn.k.output`, dimension 1 of [1, 6, 4, 16]; its heads are dimension 2: for a head write `[.., .., {head}]`");
        insta::assert_snapshot!(warnings("n_head = [1]", "try { save z = layers.0.attn.z[.., {n_head}..] }"), @"e.toml:12: `{n_head}` is a place among the positions of `layers.0.attn.z.output`, dimension 1 of [1, 6, 4, 16]; its heads are dimension 2: for a head write `[.., .., {n_head}]`");
    }

    #[test]
    fn what_may_well_be_meant_is_not_warned_of() {
        for (each, program) in [
            ("h = '0..4'", "layers.1.attn.z[.., .., {h}] = 0"),
            ("h = '0..4'", "save p = layers.0.attn.pattern[.., {h}]"),
            ("h = '0..2'", "save p = layers.{h}.attn.pattern[.., .., 0]"),
            // A position; and fewer numbers than heads.
            ("pos = '0..4'", "save z = layers.0.attn.z[.., {pos}]"),
            ("i = '0..3'", "save z = layers.0.attn.z[.., {i}]"),
            // No value of attention is split into heads there, and its name says nothing.
            ("i = '0..4'", "save z = layers.0.attn[.., .., {i}]"),
            // Of what is not a site's, the dimensions are not known.
            ("h = '0..4'", "z = layers.0.attn.z[0]\nsave s = z[{h}]"),
            (
                "h = '0..4'",
                "z = sum(layers.0.attn.z, -1)\nsave s = z[.., .., {h}]",
            ),
            ("h = '0..4'", "save s = embed.output[.., .., {h}]"),
        ] {
            assert_eq!(warnings(each, program), "", "{program}");
        }
    }

    #[test]
    fn nothing_is_warned_of_where_heads_are_swept_over_in_the_experiments_that_come_along() {
        let ablation = include_str!("../../experiments/ablation.toml");
        for text in [ablation, include_str!("../commands/demo.toml")] {
            assert!(text.contains("{head}"));
            assert_eq!(warnings_of(text), "");
        }
    }

    #[test]
    fn names_say_that_they_are_of_heads() {
        for name in ["h", "head", "Head", "from_head", "head2", "n-head"] {
            assert!(is_of_head(name), "{name}");
        }
        for name in ["header", "lm_head", "head_dim", "hidden", "layer", "ahead"] {
            assert!(!is_of_head(name), "{name}");
        }
    }
}
