//! What a program does wrong: found before the run where that can be known, and else in it, with
//! mediator, site and line.

use crate::Place;
use crate::experiment::with_text;

const START: &str = "model = 'induction'

[[input]]
name = 'a'
tokens = [1, 2, 3, 4, 5]

[[input]]
name = 'b'
tokens = [2, 3, 4, 5, 6]

[[run]]
name = 'r'
";

/// A run of one program, whose first line is line 16.
fn one(program: &str) -> Place {
    with_text(&format!(
        "{START}input = 'a'\n\nprogram = '''\n{program}\n'''\n"
    ))
}

/// A run of two programs with a row each; the first line of the second stands five lines after the
/// last of the first.
fn two(more: &str, first: &str, second: &str) -> Place {
    let mut text = format!("{START}{more}\n");
    for (name, input, program) in [("one", "a", first), ("two", "b", second)] {
        text += &format!(
            "[[run.invoke]]\nname = '{name}'\ninput = '{input}'\nprogram = '''\n{program}\n'''\n"
        );
    }
    with_text(&text)
}

/// Runs the experiment, which fails; if it is refused before the run, nothing is recorded.
#[track_caller]
fn fails(place: &Place, code: &str) -> String {
    let message = place
        .run(&["run", "e.toml", "--journal", "e.ilj"])
        .error(code, 1);
    let is_refused = ["E108", "E109", "E113", "E119"].contains(&code);
    assert_eq!(place.files().contains(&"e.ilj".to_owned()), !is_refused);
    message
}

#[test]
fn a_tuple_in_place_of_a_tensor_is_refused() {
    let pair = one("layers.0 = (layers.0, layers.0)");
    insta::assert_snapshot!(fails(&pair, "E109"), @"e.toml:16, mediator `r`: the replacement for `layers.0.output` is a tuple (a tensor [1, 5, 64], a tensor [1, 5, 64]), but the site has a tensor [1, 5, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
}

#[test]
fn a_call_with_a_shape_that_the_module_does_not_take_is_refused() {
    let narrow = one("x = unembed(layers.0[.., .., 0..5])");
    insta::assert_snapshot!(fails(&narrow, "E108"), @"e.toml:16, mediator `r`: `unembed` takes floats of [batch, 1 to 48 positions, 64], found a tensor [1, 5, 5]; give it what it takes, or call another module");
    // What a call gives is known, too.
    let twice = one("x = unembed(unembed(layers.0))");
    insta::assert_snapshot!(fails(&twice, "E108"), @"e.toml:16, mediator `r`: `unembed` takes floats of [batch, 1 to 48 positions, 64], found a tensor [1, 5, 40]; give it what it takes, or call another module");
    let uncallable = one("x = layers.0.attn.q(layers.0.input)");
    insta::assert_snapshot!(fails(&uncallable, "E108"), @"e.toml:16, mediator `r`: `layers.0.attn.q` cannot be called on a value; of this model `embed`, `layers.N`, `layers.N.attn` and `unembed` can; give it what it takes, or call another module");
    let written = one("layers.0 = unembed(layers.0)");
    insta::assert_snapshot!(fails(&written, "E109"), @"e.toml:16, mediator `r`: the replacement for `layers.0.output` is a tensor [1, 5, 40], but the site has a tensor [1, 5, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    one("try { x = unembed(layers.0[.., .., 0..5]) }")
        .run(&["run", "e.toml"])
        .with(0);
    // The last position alone, as a lens has it.
    one("save x = unembed(layers.0[.., -1])")
        .run(&["run", "e.toml"])
        .with(0);
}

/// The shapes of the first step, though those after it have one position more, or only one.
#[test]
fn a_shape_is_refused_in_a_loop_over_tokens_too() {
    let text = format!("{START}input = 'a'\ngenerate = 3\nprogram = '''\nfor i in .. {{\n");
    let place = with_text(&format!(
        "{text}layers.0 = layers.0[.., .., 0..5]\n}}\n'''\n"
    ));
    insta::assert_snapshot!(fails(&place, "E109"), @"e.toml:17, mediator `r`: the replacement for `layers.0.output` is a tensor [1, 5, 5], but the site has a tensor [1, 5, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a reshaping write");
    let last = with_text(&format!("{text}layers.0[.., -1] *= 2\n}}\n'''\n"));
    last.run(&["run", "e.toml"]).with(0);
}

#[test]
fn sites_out_of_order_are_refused_where_no_run_can_leave_them_out() {
    let late = one("h = layers.1\n# too late\ng = layers.0");
    insta::assert_snapshot!(fails(&late, "E119"), @"e.toml:18, mediator `r`: `layers.0.output.i0` is asked for after `layers.1.output.i0` (e.toml:16), but the model passes it before; ask for it first, and keep the value if it is needed later");
    let in_loop = one("for i in .. {\nh = layers.1\ng = layers.0\n}");
    insta::assert_snapshot!(fails(&in_loop, "E119"), @"e.toml:18, mediator `r`: `layers.0.output.i0` is asked for after `layers.1.output.i0` (e.toml:17), but the model passes it before; ask for it first, and keep the value if it is needed later");
    one("h = layers.1\ntry { g = layers.0 } catch e")
        .run(&["run", "e.toml"])
        .with(0);
    one("h = layers.1\nif sum(h) == 0 { g = layers.0 }")
        .run(&["run", "e.toml"])
        .with(0);
    one("stop\nh = layers.1\ng = layers.0")
        .run(&["run", "e.toml"])
        .with(0);
    // In a generation every token is one more iteration.
    let tokens = "generate = 2\n";
    let text =
        format!("{START}input = 'a'\n{tokens}program = '''\nh = layers.1\ng = layers.0.i1\n'''\n");
    with_text(&text).run(&["run", "e.toml"]).with(0);
    let late = with_text(&text.replace("i1", "i0"));
    insta::assert_snapshot!(fails(&late, "E119"), @"e.toml:17, mediator `r`: `layers.0.output.i0` is asked for after `layers.1.output.i0` (e.toml:16), but the model passes it before; ask for it first, and keep the value if it is needed later");
}

/// Before the first token is generated, not after the last one.
#[test]
fn what_a_loop_over_tokens_has_passed_is_refused() {
    let run = |tokens: &str, behind: &str| {
        let program = format!("for t in .. {{ layers.0[.., -1] *= 2 }}\n{behind}");
        with_text(&format!(
            "{START}input = 'a'\n{tokens}program = '''\n{program}\n'''\n"
        ))
    };
    let late = run("generate = 5\n", "save final = output");
    insta::assert_snapshot!(fails(&late, "E119"), @"e.toml:17, mediator `r`: `output.i0` is asked for after `layers.0.output.i4` (e.toml:16), but the model passes it before; ask for it first, and keep the value if it is needed later");
    let single = run("", "save final = output");
    insta::assert_snapshot!(fails(&single, "E119"), @"e.toml:16, mediator `r`: `output.i0` is asked for after all of `layers.0.output` (e.toml:15), but the model passes it before; ask for it first, and keep the value if it is needed later");
    fails(&run("generate = 5\n", "save h = layers.0.i3"), "E119");
    let last = run("generate = 5\n", "next 4\nsave final = output");
    last.run(&["run", "e.toml"]).with(0);
    let caught = run("generate = 5\n", "try { save final = output } catch e");
    caught.run(&["run", "e.toml"]).with(0);
}

#[test]
fn what_a_run_never_passes_is_refused() {
    let never = one("h = layers.1\ng = layers.0.i3");
    insta::assert_snapshot!(fails(&never, "E108"), @"e.toml:17, mediator `r`: the model never passes `layers.0.output.i3` in this run, and `layers.0.output.i0` is the last of its passings; ask for that");
    let late = one("h = layers.1\ncache c = outputs(layers.0, layers.1)");
    insta::assert_snapshot!(fails(&late, "E108"), @"e.toml:17, mediator `r`: the cache comes too late for `layers.0.output`, which the model has passed by then, for `layers.1.output.i0` has been asked for before (e.toml:16); declare it before the first request");
}

/// A step that may be left out is warned of, and the run says the same when it comes to it.
#[test]
fn what_a_branch_may_leave_out_is_a_warning() {
    let branch = |condition: &str| one(&format!("h = layers.1\nif {condition} {{ g = layers.0 }}"));
    let ended = branch("sum(h) == 0").run(&["run", "e.toml"]).with(0);
    insta::assert_snapshot!(ended.err, @"warning: e.toml:17, mediator `r`: `layers.0.output.i0` is asked for after `layers.1.output.i0` (e.toml:16), but the model passes it before; ask for it first, and keep the value if it is needed later; this fails the run if it comes to the step");
    let place = branch("sum(h) != 0");
    let ended = place.run(&["run", "e.toml", "--journal", "e.ilj"]).with(1);
    let (warning, error) = ended.err.split_once('\n').unwrap();
    assert!(
        warning.starts_with("warning: e.toml:17, mediator `r`: "),
        "{warning}"
    );
    let message = error.lines().next().unwrap();
    insta::assert_snapshot!(message, @"error[E002]: mediator `r` failed at `layers.1.output.i0` (e.toml:17): `layers.0.output.i0` was already passed when it was asked for, with the model at `layers.1.output.i0`; ask for it before you ask for a later site, or keep the value when it passes");
    // It is recorded, and its replay fails in the same way.
    let replayed = place.run(&["replay", "e.ilj"]).error("E002", 1);
    assert_eq!(format!("error[E002]: {replayed}"), message);
}

#[test]
fn a_skip_with_which_the_model_cannot_go_on_is_refused() {
    let narrow = one("skip layers.0 = layers.0.input[.., .., 0..5]");
    insta::assert_snapshot!(fails(&narrow, "E108"), @"e.toml:16, mediator `r`: skipping `layers.0.input` with a tensor [1, 5, 5] in place of a tensor [1, 5, 64] is not possible, because the model cannot go on: assert_shape!(input, [.., d_input]): axis 2 expected 64, got 5 (dims [1, 5, 5]); put out what the module does");
    let flat = one("h = layers.0.input\nskip layers.0.attn = sum(h)");
    // How the library shapes a sum is not known, so that it is found in the run.
    insta::assert_snapshot!(fails(&flat, "E035"), @"the model cannot go on at `layers.0.attn.output` with what mediator `r` (e.toml:17) put there: expected a tensor of 3 dimensions and kind float, found f32[1]; put in what the model passes there");
    let pair = one("h = layers.0.input\nskip layers.0.attn = (h, h)");
    insta::assert_snapshot!(fails(&pair, "E108"), @"e.toml:17, mediator `r`: skipping `layers.0.attn.input` with a tuple (a tensor [1, 5, 64], a tensor [1, 5, 64]) in place of a tensor [1, 5, 64] is not possible, because the model cannot go on: it is of another structure; put out what the module does");
    // The model minds no other number of positions here, and a stop comes before it goes on.
    one("skip layers.0 = layers.0.input[.., 0..2]")
        .run(&["run", "e.toml"])
        .with(0);
    one("skip layers.0 = layers.0.input[.., .., 0..5]\nstop")
        .run(&["run", "e.toml"])
        .with(0);
}

/// Invokes that share a batch skip a module together, and their rows make one output.
#[test]
fn skips_of_a_batch_are_refused_together() {
    let of = |first: &str, second: &str| two("", first, second);
    let skip = "skip layers.0 = layers.0.input";
    insta::assert_snapshot!(fails(&of(skip, "h = layers.0"), "E108"), @"e.toml:18, mediator `one`: `layers.0.input.i0` is skipped here, but never by `two`; invokes that share a batch skip a module together or not at all, or one without rows skips it for all of them");
    insta::assert_snapshot!(fails(&of(&format!("{skip}[.., 0..2]"), skip), "E108"), @"e.toml:18, mediator `one`: skipping `layers.0.input.i0` with tensors [1, 2, 64], [1, 5, 64] in place of what the module puts out is not possible, because the model cannot go on: the rows of invokes have to be alike; put out what the module does");
    let narrow = format!("{skip}[.., .., 0..5]");
    insta::assert_snapshot!(fails(&of(&narrow, &narrow), "E108"), @"e.toml:18, mediator `one`: skipping `layers.0.input.i0` with tensors [1, 5, 5], [1, 5, 5] in place of what the module puts out is not possible, because the model cannot go on: assert_shape!(input, [.., d_input]): axis 2 expected 64, got 5 (dims [2, 5, 5]); put out what the module does");
    // Together, or not at all, or with a stop that comes before.
    let fine = [
        of(skip, skip),
        of(&format!("{skip}[.., 0..2]"), &format!("{skip}[.., 0..2]")),
        of(skip, "x = layers.0.input\nstop"),
        of(&format!("try {{ {skip} }}"), &format!("try {{ {skip} }}")),
        of(
            "if 1 == 2 {\nskip layers.0 = layers.0.input\n}",
            "h = layers.0",
        ),
    ];
    for place in fine {
        place.run(&["run", "e.toml"]).with(0);
    }
}

/// R22: without rows, one skips for the whole batch, and who has rows may put other ones there.
#[test]
fn r22_a_skip_for_the_whole_batch_is_not_refused() {
    let invoke = |name: &str, input: &str, program: &str| {
        format!("[[run.invoke]]\nname = '{name}'\n{input}program = '''\n{program}\n'''\n")
    };
    let batch = |whole: &str, first: &str, second: &str| {
        let invokes = [
            invoke("all", "", whole),
            invoke("one", "input = 'a'\n", first),
            invoke("two", "input = 'b'\n", second),
        ];
        with_text(&format!("{START}{}", invokes.concat()))
    };
    let (skip, read) = ("x = layers.0.input\nskip layers.0 = x", "h = layers.0");
    for (first, second) in [(read, read), (skip, read), (skip, skip)] {
        let place = batch(skip, first, second);
        place.run(&["run", "e.toml", "--journal", "e.ilj"]).with(0);
        place.run(&["replay", "e.ilj"]).with(0);
    }
    let narrow = batch("skip layers.0 = layers.0.input[.., .., 0..5]", read, read);
    insta::assert_snapshot!(fails(&narrow, "E036"), @"the model panicked after `layers.0.output.i0`: assert_shape!(input, [.., d_input]): axis 2 expected 64, got 5 (dims [2, 5, 5]); before that, mediator `all` changed what passes at `layers.0.input.i0` (e.toml:16): look at its shape");
    let part = "x = layers.0.input\nif sum(x) != 0 { skip layers.0 = x[.., 0..2] }";
    insta::assert_snapshot!(fails(&batch(skip, part, read), "E021"), @"the replacements of `all` (e.toml:17), `one` (e.toml:24) for the skipped `layers.0.input.i0` cannot be joined: expected f32[1, 5, 64], found f32[1, 2, 64]; let them differ in rows only");
}

#[test]
fn what_the_model_cannot_use_is_told_with_mediator_and_line() {
    let unusable = one("h = layers.0\nreshape layers.0 = sum(h)");
    insta::assert_snapshot!(fails(&unusable, "E035"), @"the model cannot go on at `layers.0.output` with what mediator `r` (e.toml:17) put there: expected a tensor of 3 dimensions and kind float, found f32[1]; put in what the model passes there");
    // A kernel that is given nothing reads what is not its own.
    let nothing = one("reshape layers.0 = layers.0[0..0]");
    insta::assert_snapshot!(fails(&nothing, "E035"), @"the model cannot go on at `layers.0.output` with what mediator `r` (e.toml:16) put there: expected tensors with elements, found f32[0, 5, 64]; put in what the model passes there");
    let skipped = one("skip layers.0 = layers.0.input[0..0]");
    insta::assert_snapshot!(fails(&skipped, "E108"), @"e.toml:16, mediator `r`: skipping `layers.0.input` with a tensor [0, 5, 64] in place of a tensor [1, 5, 64] is not possible, because the model cannot go on: at `layers.0.input`, expected tensors with elements, found f32[0, 5, 64]; put out what the module does");
    let panics = one("h = layers.0\nreshape layers.0 = h[.., .., 0..5]");
    insta::assert_snapshot!(fails(&panics, "E036"), @"the model panicked after `layers.0.output.i0`: assert_shape!(input, [.., d_input]): axis 2 expected 64, got 5 (dims [1, 5, 5]); before that, mediator `r` changed what passes at `layers.0.output.i0` (e.toml:17): look at its shape");
}

#[test]
fn what_goes_wrong_in_the_run_is_told_with_site_mediator_line_and_what_to_do() {
    insta::assert_snapshot!(fails(&one("h = layers.1\nif sum(h) != 0 { next 3 }\ng = layers.0"), "E003"), @"mediator `r` failed (e.toml:18): the model finished without passing `layers.0.output.i3`; passed in this run: `layers.0.output.i0`; ask for a site that the model passes, or catch the refusal");
    let misfit = two(
        "",
        "h = layers.0\nput x = h[.., 0..1]",
        "h = layers.0\nlayers.1 = get(x)",
    );
    insta::assert_snapshot!(fails(&misfit, "E004"), @"mediator `two` failed at `layers.1.output.i0` (e.toml:26): the replacement for `layers.1.output.i0` does not fit: expected f32[1, 5, 64], found f32[1, 1, 64]; a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap");
    let skip = "x = layers.0.input\nif sum(x) != 0 { skip layers.0 = x }";
    let partial = two("", skip, "h = layers.0");
    insta::assert_snapshot!(fails(&partial, "E020"), @"`layers.0.input.i0` is skipped by `one` (e.toml:19) but not by `two`; `two` waits for VALUE `layers.0.output.i0` (e.toml:25); invokes that share a batch skip a module together or not at all, or one without rows skips it for all of them");
    let part = skip.replace("= x }", "= x[.., 0..2] }");
    insta::assert_snapshot!(fails(&two("", &part, skip), "E021"), @"the replacements of `one` (e.toml:19), `two` (e.toml:26) for the skipped `layers.0.input.i0` cannot be joined: expected f32[1, 2, 64], found f32[1, 5, 64]; let them differ in rows only");
    let unmet = two(
        "barriers = { met = 2 }",
        "h = layers.0\nbarrier met",
        "h = layers.0",
    );
    insta::assert_snapshot!(fails(&unmet, "E025"), @"the model finished with barrier `met` closed: it is for 2, 1 came: `one` from `layers.0.output.i0` (e.toml:19); missing: `two`; let as many arrive as it is for, or declare it for fewer");
    let circle = two(
        "barriers = { x = 2, y = 2 }",
        "h = layers.0\nbarrier x",
        "barrier y",
    );
    insta::assert_snapshot!(fails(&circle, "E026"), @"mediators wait for one another in a circle: at `x`, which is for 2, `one` from `layers.0.output.i0` (e.toml:19); at `y`, which is for 2, `two` (e.toml:25); arrive at barriers in one order");
    let stopped = two("", "h = layers.0\nstop", "h = layers.1");
    insta::assert_snapshot!(fails(&stopped, "E003"), @"mediator `two` failed (e.toml:25): the run ended without passing `layers.1.output.i0`, for mediator `one` stopped it at `layers.0.output.i0`; passed in this run: `layers.0.output.i0`, `layers.0.input.i0`, `layers.0.attn.output.i0`; ask for a site that the model passes, or catch the refusal");
}
