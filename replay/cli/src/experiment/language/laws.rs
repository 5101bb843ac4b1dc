//! The laws of programs as text: what is written is read as the same program, and no text panics.

use interloom_program::{
    Action, Along, Comparison, Condition, Expr, Item, Over, Program, ProgramStep, Side, Span,
};
use proptest::prelude::*;

use super::lexer::QUOTED_BYTES_MAX;
use super::tests::{forget_lines, parsed};
use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1,2}",
        "[a-c][0-9]\\.[0-9a-c]{1,2}(\\.i[0-9])?",
        Just("input".to_owned()),
        Just("sum".to_owned()),
        Just("for".to_owned()),
        Just("a\"b\\\n\t c".to_owned()),
        Just(String::new()),
        ".{0,3}",
    ]
}

fn variable() -> impl Strategy<Value = String> {
    "[a-d]{1,2}|mean|h_1"
}

fn span() -> impl Strategy<Value = Span> {
    let place = || prop::option::of(-9i64..9);
    (place(), place()).prop_map(|(start, end)| Span { start, end })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        any::<u32>().prop_map(Item::Place),
        name().prop_map(Item::Name)
    ]
}

fn number() -> impl Strategy<Value = f64> {
    // Not a number is equal to nothing, itself included.
    let any = any::<f64>().prop_filter("no NaN", |number| !number.is_nan());
    prop_oneof![Just(-0.0), Just(2.0), Just(-1.0), Just(f64::INFINITY), any]
}

fn along() -> impl Strategy<Value = Along> {
    prop::sample::select(vec![Along::Sum, Along::Mean, Along::Softmax])
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        number().prop_map(Expr::Number),
        name().prop_map(Expr::Text),
        variable().prop_map(Expr::Var),
        name().prop_map(Expr::Given),
        name().prop_map(Expr::Read),
        name().prop_map(Expr::Get),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let one = || inner.clone().prop_map(Box::new);
        let spans = || prop::collection::vec(span(), 0..3);
        prop_oneof![
            (one(), one()).prop_map(|(l, r)| Expr::Add(l, r)),
            (one(), one()).prop_map(|(l, r)| Expr::Sub(l, r)),
            (one(), one()).prop_map(|(l, r)| Expr::Mul(l, r)),
            (one(), one()).prop_map(|(l, r)| Expr::Div(l, r)),
            one().prop_map(Expr::ZerosLike),
            one().prop_map(Expr::Sum),
            one().prop_map(Expr::Mean),
            one().prop_map(Expr::Abs),
            (along(), one(), any::<i32>()).prop_map(|(operation, of, dimension)| Expr::Along {
                operation,
                of,
                dimension
            }),
            (one(), one()).prop_map(|(l, r)| Expr::Matmul(l, r)),
            one().prop_map(Expr::Clone),
            one().prop_map(Expr::ArgmaxLast),
            (one(), spans()).prop_map(|(of, spans)| Expr::Slice { of, spans }),
            (one(), spans()).prop_map(|(of, spans)| Expr::Clip { of, spans }),
            (one(), spans(), one()).prop_map(|(of, spans, with)| Expr::Patch { of, spans, with }),
            (one(), item()).prop_map(|(of, item)| Expr::Index { of, item }),
            (one(), item(), one()).prop_map(|(of, item, with)| Expr::Replace { of, item, with }),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::Tuple),
            prop::collection::btree_map(name(), inner.clone(), 0..3).prop_map(Expr::Map),
            (name(), one()).prop_map(|(path, input)| Expr::Module { path, input }),
        ]
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let is = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::GreaterOrEqual),
    ];
    let leaf = prop_oneof![
        (expr(), is, expr()).prop_map(|(left, is, right)| Condition::Compare { left, is, right }),
        variable().prop_map(Condition::IsSet),
        variable().prop_map(Condition::Caught),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|condition| !condition),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner, 0..4).prop_map(Condition::Any),
        ]
    })
}

fn over() -> impl Strategy<Value = Over> {
    let end = || prop::option::of(any::<u32>());
    prop_oneof![
        (end(), end()).prop_map(|(start, end)| Over::Slice { start, end }),
        prop::collection::vec(any::<u32>(), 0..3).prop_map(Over::List),
        any::<u32>().prop_map(Over::One),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let side = prop_oneof![Just(Side::Inputs), Just(Side::Outputs), Just(Side::Both)];
    let modules = prop::option::of(prop::collection::vec(name(), 0..3));
    let leaf = prop_oneof![
        (variable(), expr()).prop_map(|(variable, value)| Action::Let { variable, value }),
        variable().prop_map(|variable| Action::Save { variable }),
        (name(), expr(), any::<bool>()).prop_map(|(site, value, reshape)| Action::Write {
            site,
            value,
            reshape
        }),
        (name(), expr()).prop_map(|(site, value)| Action::Skip { site, value }),
        Just(Action::Stop),
        name().prop_map(|message| Action::Raise { message }),
        variable().prop_map(|variable| Action::List { variable }),
        (variable(), expr()).prop_map(|(list, value)| Action::Append { list, value }),
        any::<u32>().prop_map(|by| Action::Next { by }),
        name().prop_map(|name| Action::Barrier { name }),
        (name(), expr()).prop_map(|(name, value)| Action::Put { name, value }),
        expr().prop_map(|loss| Action::Backward { loss }),
        (name(), modules, side, any::<bool>()).prop_map(|(name, modules, side, gradients)| {
            Action::Cache {
                name,
                modules,
                side,
                gradients,
            }
        }),
        name().prop_map(|text| Action::Mark { text }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let body = || prop::collection::vec(inner.clone().prop_map(ProgramStep::from), 0..3);
        prop_oneof![
            (body(), prop::option::of(variable()))
                .prop_map(|(body, error)| Action::Try { body, error }),
            (condition(), body(), body()).prop_map(|(condition, then, otherwise)| Action::If {
                condition,
                then,
                otherwise
            }),
            (over(), variable(), body()).prop_map(|(iterations, variable, body)| Action::Each {
                iterations,
                variable,
                body
            }),
        ]
    })
}

/// A message is as long as it likes; a name that is too long to be read is not written.
#[test]
fn what_is_too_long_to_be_read_is_not_written() {
    let long = "ä".repeat(QUOTED_BYTES_MAX / 2);
    let messages = |program: Program| program.mark(&long.repeat(3)).raise(&long.repeat(3));
    let mut written = messages(Program::new().write(&long, 1.0).barrier(&long));
    let text = to_text(&written).expect("short names");
    let mut read = parsed(&text).unwrap();
    forget_lines(&mut read.steps);
    forget_lines(&mut written.steps);
    assert_eq!(read, written);
    let longer = format!("{long}a");
    let item = interloom_program::var("h").index(longer.as_str());
    for program in [
        Program::new().write(&longer, 1.0),
        Program::new().barrier(&longer),
        Program::new().set("x", interloom_program::get(&longer)),
        Program::new().set("x", item),
        Program::new().cache("c", [longer.as_str()], Side::Both),
    ] {
        assert_eq!(to_text(&program), None);
    }
    for text in [
        format!("'{longer}' = 1"),
        format!("h = '{longer}'"),
        format!("barrier '{longer}'"),
        format!("h = t['{longer}']"),
    ] {
        let error = parsed(&text).unwrap_err();
        assert_eq!(error.expected, "at most 4096 bytes", "{text:.40}");
    }
    // What is shown of a text is short.
    let shown = parsed(&format!("h = 1 '{longer}'")).unwrap_err().found;
    assert!(shown.len() < 300, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_the_same_program(
        actions in prop::collection::vec(action(), 0..4)
    ) {
        let mut written = Program::new();
        written.steps = actions.into_iter().map(ProgramStep::from).collect();
        let text = to_text(&written).expect("its variables are words");
        let mut read = parsed(&text).map_err(|error| {
            TestCaseError::fail(format!("{text}\n{error:?}"))
        })?;
        forget_lines(&mut read.steps);
        prop_assert_eq!(read, written, "{}", text);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _whatever_it_is = parsed(&text);
    }

    /// Words of the language in any order, which come much further than any text does.
    #[test]
    fn no_row_of_words_panics_and_programs_survive(words in prop::collection::vec(word(), 0..40)) {
        let text = words.join(" ");
        if let Ok(mut program) = parsed(&text) {
            let again = to_text(&program).expect("its variables are words");
            let mut read = parsed(&again).expect("what is written can be read");
            forget_lines(&mut program.steps);
            forget_lines(&mut read.steps);
            prop_assert_eq!(read, program);
        }
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "h",
        "layers.0.output",
        "output",
        "1",
        "2.5",
        "-",
        "+",
        "*",
        "/",
        "=",
        "+=",
        "==",
        "<",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "..",
        "\n",
        "\n",
        "if",
        "else",
        "for",
        "in",
        "try",
        "catch",
        "save",
        "stop",
        "next",
        "and",
        "or",
        "not",
        "set",
        "sum",
        "patch",
        "clip",
        "get",
        "all",
        "$",
        "'x'",
        "cache",
        "outputs",
        "backward",
        "backward h {\n",
        "grad",
        "layers.0.grad",
        "put",
        "append",
        "skip",
        "inf",
        "a = b\n",
        "save h\n",
        "h = a[0..2]\n",
        "stop\n",
        "layers.0[.., -1] += h\n",
        "for i in .. {\n",
        "}\n",
    ])
}
