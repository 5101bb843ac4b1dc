//! Programs of every shape.

use interloom_program::{
    Action, Along, Comparison, Condition, Expr, Item, Over, Program, ProgramStep, Side, Span,
};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z]{1,3}", 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = f64> {
    let odd = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        f64::MIN_POSITIVE,
        5e-324,
    ];
    prop_oneof![
        4 => any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()),
        1 => prop::sample::select(odd.to_vec()),
        1 => (-9i32..9).prop_map(f64::from),
    ]
}

fn span() -> impl Strategy<Value = Span> + Clone {
    (any::<Option<i64>>(), any::<Option<i64>>()).prop_map(|(start, end)| Span { start, end })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        any::<u32>().prop_map(Item::Place),
        name().prop_map(Item::Name)
    ]
}

fn along() -> impl Strategy<Value = Along> {
    prop::sample::select(vec![Along::Sum, Along::Mean, Along::Softmax])
}

pub(crate) fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        number().prop_map(Expr::Number),
        name().prop_map(Expr::Var),
        name().prop_map(Expr::Given),
        name().prop_map(Expr::Read),
        name().prop_map(Expr::Get),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let one = inner.clone().prop_map(Box::new);
        let two = (one.clone(), one.clone());
        let spans = prop::collection::vec(span(), 0..3);
        prop_oneof![
            two.clone().prop_map(|(l, r)| Expr::Add(l, r)),
            two.clone().prop_map(|(l, r)| Expr::Sub(l, r)),
            two.clone().prop_map(|(l, r)| Expr::Mul(l, r)),
            two.clone().prop_map(|(l, r)| Expr::Div(l, r)),
            one.clone().prop_map(Expr::ZerosLike),
            one.clone().prop_map(Expr::Sum),
            one.clone().prop_map(Expr::Mean),
            one.clone().prop_map(Expr::Abs),
            (along(), one.clone(), any::<i32>()).prop_map(|(operation, of, dimension)| {
                Expr::Along {
                    operation,
                    of,
                    dimension,
                }
            }),
            two.clone().prop_map(|(l, r)| Expr::Matmul(l, r)),
            one.clone().prop_map(Expr::Clone),
            one.clone().prop_map(Expr::ArgmaxLast),
            (one.clone(), spans.clone()).prop_map(|(of, spans)| Expr::Slice { of, spans }),
            (one.clone(), spans.clone()).prop_map(|(of, spans)| Expr::Clip { of, spans }),
            (two.clone(), spans).prop_map(|((of, with), spans)| Expr::Patch { of, spans, with }),
            (one.clone(), item()).prop_map(|(of, item)| Expr::Index { of, item }),
            (two, item()).prop_map(|((of, with), item)| Expr::Replace { of, item, with }),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::Tuple),
            prop::collection::btree_map(name(), inner, 0..3).prop_map(Expr::Map),
            (name(), one).prop_map(|(path, input)| Expr::Module { path, input }),
        ]
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    use Comparison::*;
    let comparison = prop::sample::select(vec![
        Equal,
        NotEqual,
        Less,
        LessOrEqual,
        Greater,
        GreaterOrEqual,
    ]);
    let leaf = prop_oneof![
        (expr(), comparison, expr()).prop_map(|(left, is, right)| Condition::Compare {
            left,
            is,
            right
        }),
        name().prop_map(Condition::IsSet),
        name().prop_map(Condition::Caught),
    ];
    leaf.prop_recursive(3, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|condition| !condition),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
            prop::collection::vec(inner, 0..3).prop_map(Condition::Any),
        ]
    })
}

fn modules() -> impl Strategy<Value = Option<Vec<String>>> {
    prop::option::of(prop::collection::vec(name(), 0..3))
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Inputs, Side::Outputs, Side::Both])
}

/// Loops of any kind; those of any length end soon, because the models of the tests do.
fn over() -> impl Strategy<Value = Over> {
    let place = || prop::option::of(0u32..4);
    prop_oneof![
        (place(), place()).prop_map(|(start, end)| Over::Slice { start, end }),
        prop::collection::vec(0u32..4, 0..3).prop_map(Over::List),
        any::<u32>().prop_map(Over::One),
    ]
}

fn steps() -> impl Strategy<Value = Vec<ProgramStep>> {
    let leaf = prop_oneof![
        (name(), expr()).prop_map(|(variable, value)| Action::Let { variable, value }),
        name().prop_map(|variable| Action::Save { variable }),
        (name(), expr(), any::<bool>()).prop_map(|(site, value, reshape)| Action::Write {
            site,
            value,
            reshape
        }),
        (name(), expr()).prop_map(|(site, value)| Action::Skip { site, value }),
        Just(Action::Stop),
        name().prop_map(|message| Action::Raise { message }),
        name().prop_map(|variable| Action::List { variable }),
        (name(), expr()).prop_map(|(list, value)| Action::Append { list, value }),
        name().prop_map(|text| Action::Mark { text }),
        any::<u32>().prop_map(|by| Action::Next { by }),
        name().prop_map(|name| Action::Barrier { name }),
        (name(), expr()).prop_map(|(name, value)| Action::Put { name, value }),
        expr().prop_map(|loss| Action::Backward { loss }),
        (name(), modules(), side(), any::<bool>()).prop_map(|(name, modules, side, gradients)| {
            Action::Cache {
                name,
                modules,
                side,
                gradients,
            }
        }),
    ];
    let step = |action: BoxedStrategy<Action>| {
        (action, any::<Option<u32>>()).prop_map(|(action, line)| ProgramStep { action, line })
    };
    let action = leaf.boxed().prop_recursive(3, 12, 3, move |inner| {
        let body = prop::collection::vec(step(inner.boxed()), 0..3);
        prop_oneof![
            (body.clone(), prop::option::of(name()))
                .prop_map(|(body, error)| Action::Try { body, error }),
            (over(), name(), body.clone()).prop_map(|(iterations, variable, body)| {
                Action::Each {
                    iterations,
                    variable,
                    body,
                }
            }),
            (condition(), body.clone(), body).prop_map(|(condition, then, otherwise)| {
                Action::If {
                    condition,
                    then,
                    otherwise,
                }
            }),
        ]
    });
    prop::collection::vec(step(action.boxed()), 0..5)
}

/// Programs that are written well; few of them make sense.
pub(crate) fn programs() -> impl Strategy<Value = Program> {
    (steps(), prop::option::of(name())).prop_map(|(steps, file)| {
        let mut program = Program::new();
        program.steps = steps;
        program.file = file;
        program
    })
}
