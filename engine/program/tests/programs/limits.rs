//! Programs that are too deep, too large, or would not end.

use interloom_engine::array::Array;
use interloom_program::{
    BODIES_MAX, Condition, DEPTH_MAX, Expr, Machine, Program, ProgramError, SIZE_MAX, is_set,
    tuple, var,
};

use crate::support::stack;

fn limits(program: &Program) -> Result<(), ProgramError> {
    let map = stack().map;
    let machine = Machine::<Array>::new(program, &map).map(drop);
    let checked = program.check(&*map);
    // The limits come first in both.
    if machine.is_err() {
        assert_eq!(machine, checked);
    }
    machine
}

/// An expression that has others inside it, `depth` of them with itself.
fn deep(depth: u32) -> Expr {
    (1..depth).fold(Expr::Number(1.0), |inner, _| -> Expr {
        tuple([inner]).rows(0, 1) * 1.0
    })
}

fn sums(depth: u32) -> Expr {
    (1..depth).fold(Expr::Number(1.0), |inner, _| inner.sum())
}

fn bodies(count: u32, innermost: Program) -> Program {
    (0..count).fold(innermost, |inner, _| Program::new().attempt(inner))
}

#[test]
fn the_deepest_program_survives_a_round_trip() {
    let condition = (2..DEPTH_MAX).fold(is_set("x"), |inner, _| Condition::All(vec![inner]));
    let innermost = Program::new()
        .set("x", sums(DEPTH_MAX - 1).slice([0..1]))
        .when(condition, Program::new());
    let program = bodies(BODIES_MAX, innermost);
    limits(&program).unwrap();
    let json = serde_json::to_string(&program).unwrap();
    assert_eq!(serde_json::from_str::<Program>(&json).unwrap(), program);
    let packed = rmp_serde::to_vec_named(&program).unwrap();
    assert_eq!(rmp_serde::from_slice::<Program>(&packed).unwrap(), program);
}

#[test]
fn one_level_more_is_too_deep() {
    let expr = Program::new().line(5).set("x", sums(DEPTH_MAX + 1));
    insta::assert_snapshot!(limits(&expr).unwrap_err(), @"line 5: the program goes too deep here; at most 8 bodies stand inside one another, and at most 32 expressions; give an inner value a name with `let`");
    let body = bodies(BODIES_MAX + 1, Program::new().stop());
    insta::assert_snapshot!(limits(&body).unwrap_err(), @"step 10: the program goes too deep here; at most 8 bodies stand inside one another, and at most 32 expressions; give an inner value a name with `let`");
    let nested = (1..=DEPTH_MAX).fold(is_set("x"), |inner, _| !inner);
    let condition = Program::new().when(nested, Program::new());
    assert_eq!(limits(&condition).unwrap_err().code(), "E100");
    let compared = Condition::Compare {
        left: sums(DEPTH_MAX),
        is: interloom_program::Comparison::Less,
        right: Expr::Number(0.0),
    };
    assert_eq!(
        limits(&Program::new().when(compared, Program::new()))
            .unwrap_err()
            .code(),
        "E100"
    );
}

/// Far deeper than any stack: a look at it must not descend all the way.
#[test]
fn depth_without_end_is_refused_at_the_limit() {
    let error = limits(&Program::new().set("x", deep(3_000))).unwrap_err();
    assert_eq!(error.code(), "E100");
    let error = limits(&bodies(3_000, Program::new())).unwrap_err();
    assert_eq!(error.code(), "E100");
}

#[test]
fn what_nests_without_end_in_a_file_is_refused_by_its_reader() {
    let json = format!(
        r#"{{"steps":[{{"action":{{"let":{{"variable":"x","value":{}"#,
        r#"{"sum":"#.repeat(100_000)
    );
    assert!(serde_json::from_str::<Program>(&json).is_err());
    // {"sum": {"sum": … in msgpack.
    let packed = [0x81, 0xa3, b's', b'u', b'm'].repeat(100_000);
    let error = rmp_serde::from_slice::<Expr>(&packed).unwrap_err();
    insta::assert_snapshot!(error, @"the program nests deeper than 80 levels; give an inner value a name with `let`");
    // The next one starts from the top again.
    assert!(rmp_serde::from_slice::<Expr>(&rmp_serde::to_vec(&sums(DEPTH_MAX)).unwrap()).is_ok());
}

#[test]
fn a_program_may_be_long_but_not_too_long() {
    let mark = Program::new().mark("here").steps.remove(0);
    let mut program = Program::new();
    program.steps = vec![mark.clone(); SIZE_MAX as usize];
    limits(&program).unwrap();
    program.steps.push(mark);
    let error = limits(&program).unwrap_err();
    assert_eq!(error.code(), "E101");
    insta::assert_snapshot!(error, @"step 65537: the program is too large; it may have 65536 steps and expressions together");
    // Expressions count, too.
    let wide = Program::new().set("x", tuple(vec![var("x"); SIZE_MAX as usize]));
    assert_eq!(limits(&wide).unwrap_err().code(), "E101");
}
