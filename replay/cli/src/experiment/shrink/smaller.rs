//! What an experiment can be made into that is smaller.

use interloom_engine::explore::without;
use interloom_models::INDUCTION;
use interloom_models::induction::{POSITIONS, VOCABULARY};
use interloom_program::{Action, Condition, Expr, Over, ProgramStep, Span};

use super::super::plan::{Content, InvokePlan, ReportPlan, RunPlan};
use super::super::rows::Rows;
use super::draft::Draft;

/// Returns what a draft can be made into, what takes most away first.
pub(super) fn smaller(draft: &Draft) -> Vec<Draft> {
    let mut all = Vec::new();
    let (last, earlier) = draft.runs.split_last().expect("the run in question");
    for earlier in without(earlier) {
        all.push(Draft {
            runs: [&earlier[..], std::slice::from_ref(last)].concat(),
            ..draft.clone()
        });
    }
    // The run in question first.
    for place in (0..draft.runs.len()).rev() {
        let with = |run: RunPlan| {
            let mut draft = draft.clone();
            draft.runs[place] = run;
            draft
        };
        all.extend(smaller_run(&draft.runs[place]).into_iter().map(with));
    }
    all.extend(smaller_inputs(draft));
    all
}

/// Returns the same on the model that is part of the program, on as many tokens; it has to have the
/// sites.
pub(super) fn on_the_small_model(draft: &Draft, rows: &[Rows]) -> Option<Draft> {
    if draft.model == INDUCTION {
        return None;
    }
    let mut small = draft.clone();
    (small.model, small.device) = (INDUCTION.to_owned(), "cpu".to_owned());
    for (input, rows) in small.inputs.iter_mut().zip(rows) {
        let row = |(number, row): (usize, &Vec<u32>)| {
            let places = 0..row.len().min(POSITIONS);
            // Rows that differ, so that it can matter whose they are.
            let token = |place| (place + 7 * number) % VOCABULARY;
            places.map(|place| token(place) as u32).collect()
        };
        input.content = Content::Tokens(rows.tokens.iter().enumerate().map(row).collect());
        input.types = None;
    }
    for run in &mut small.runs {
        run.report = ReportPlan::default();
    }
    Some(small)
}

fn smaller_run(run: &RunPlan) -> Vec<RunPlan> {
    let with = |invokes: Vec<InvokePlan>| RunPlan {
        invokes,
        ..run.clone()
    };
    let mut all = Vec::new();
    for invokes in without(&run.invokes) {
        let fewer = with(invokes);
        all.extend(with_smaller_barriers(run, &fewer));
        all.push(fewer);
    }
    for steps in run.generate.into_iter().filter(|&steps| steps > 1) {
        all.extend([1, steps / 2, steps - 1].map(|steps| RunPlan {
            generate: Some(steps),
            ..run.clone()
        }));
    }
    if !run.report.lens.is_empty() {
        let mut blind = run.clone();
        blind.report.lens.clear();
        all.push(blind);
    }
    for barriers in without(&run.barriers) {
        all.push(RunPlan {
            barriers,
            ..run.clone()
        });
    }
    for (place, invoke) in run.invokes.iter().enumerate() {
        for steps in smaller_steps(&invoke.program.steps) {
            let mut run = run.clone();
            run.invokes[place].program.steps = steps;
            all.push(run);
        }
    }
    all
}

/// With fewer mediators, barriers need fewer participants.
fn with_smaller_barriers(whole: &RunPlan, fewer: &RunPlan) -> Option<RunPlan> {
    let comes = |invoke: &InvokePlan, barrier: &str| {
        let is_there =
            |action: &Action| matches!(action, Action::Barrier { name } if name == barrier);
        invoke.program.actions().any(is_there)
    };
    let count = |run: &RunPlan, barrier: &str| {
        let invokes = run.invokes.iter();
        invokes.filter(|invoke| comes(invoke, barrier)).count() as u32
    };
    let mut fitted = fewer.clone();
    for (barrier, participants) in &mut fitted.barriers {
        let gone = count(whole, barrier) - count(fewer, barrier);
        *participants = participants.saturating_sub(gone).max(1);
    }
    (fitted.barriers != fewer.barriers).then_some(fitted)
}

/// Fewer steps, the steps of a body in its place, shorter loops, and simpler values.
fn smaller_steps(steps: &[ProgramStep]) -> Vec<Vec<ProgramStep>> {
    let mut all = without(steps);
    for (place, step) in steps.iter().enumerate() {
        let instead = smaller_step(&step.action).into_iter();
        all.extend(instead.map(|actions| {
            let new = actions.into_iter().map(|action| ProgramStep {
                action,
                line: step.line,
            });
            let new: Vec<ProgramStep> = new.collect();
            [&steps[..place], &new, &steps[place + 1..]].concat()
        }));
    }
    all
}

/// What can stand in place of a step.
fn smaller_step(action: &Action) -> Vec<Vec<Action>> {
    match action {
        Action::Try { body, error } => {
            let smaller = smaller_steps(body).into_iter();
            let smaller = smaller.map(|body| {
                vec![Action::Try {
                    body,
                    error: error.clone(),
                }]
            });
            std::iter::once(actions(body)).chain(smaller).collect()
        }
        Action::Each {
            iterations,
            variable,
            body,
        } => smaller_loop(iterations, variable, body),
        Action::If {
            condition,
            then,
            otherwise,
        } => smaller_choice(condition, then, otherwise),
        Action::Next { by: 2.. } => vec![vec![Action::Next { by: 1 }]],
        _ => smaller_values(action),
    }
}

/// The body in place of the loop, fewer iterations, and a smaller body.
fn smaller_loop(iterations: &Over, variable: &str, body: &[ProgramStep]) -> Vec<Vec<Action>> {
    let each = |iterations, body| {
        vec![Action::Each {
            iterations,
            variable: variable.to_owned(),
            body,
        }]
    };
    let mut all = vec![actions(body)];
    let shorter = shorter(iterations).into_iter();
    all.extend(shorter.map(|iterations| each(iterations, body.to_vec())));
    let smaller = smaller_steps(body).into_iter();
    all.extend(smaller.map(|body| each(iterations.clone(), body)));
    all
}

/// One branch in place of both, and smaller branches.
fn smaller_choice(
    condition: &Condition,
    then: &[ProgramStep],
    otherwise: &[ProgramStep],
) -> Vec<Vec<Action>> {
    let either = |then, otherwise| {
        vec![Action::If {
            condition: condition.clone(),
            then,
            otherwise,
        }]
    };
    let mut all = vec![actions(then), actions(otherwise)];
    let thens = smaller_steps(then).into_iter();
    all.extend(thens.map(|then| either(then, otherwise.to_vec())));
    let others = smaller_steps(otherwise).into_iter();
    all.extend(others.map(|otherwise| either(then.to_vec(), otherwise)));
    all
}

fn actions(steps: &[ProgramStep]) -> Vec<Action> {
    steps.iter().map(|step| step.action.clone()).collect()
}

/// Fewer iterations.
fn shorter(over: &Over) -> Vec<Over> {
    match over {
        Over::List(list) if list.len() > 1 => without(list).into_iter().map(Over::List).collect(),
        Over::Slice {
            start,
            end: Some(end),
        } => {
            let first = start.unwrap_or(0);
            let mut shorter = Vec::new();
            if end.saturating_sub(first) > 1 {
                shorter.push(Over::Slice {
                    start: *start,
                    end: Some(first + (end - first) / 2),
                });
                shorter.push(Over::Slice {
                    start: *start,
                    end: Some(end - 1),
                });
                shorter.push(Over::Slice {
                    start: Some(first + 1),
                    end: Some(*end),
                });
            }
            shorter
        }
        Over::Slice { start, end: None } => vec![Over::Slice {
            start: *start,
            end: Some(start.unwrap_or(0) + 1),
        }],
        _ => Vec::new(),
    }
}

/// The same step with simpler values.
fn smaller_values(action: &Action) -> Vec<Vec<Action>> {
    let mut all = Vec::new();
    for (place, value) in action.values().into_iter().enumerate() {
        let with = |smaller| {
            let mut action = action.clone();
            *action.values_mut()[place] = smaller;
            vec![action]
        };
        all.extend(smaller_value(value).into_iter().map(with));
    }
    all
}

/// An operand in place of a value, the number 1 in its place, or the same with a smaller operand.
fn smaller_value(value: &Expr) -> Vec<Expr> {
    let mut all: Vec<Expr> = value.operands().into_iter().cloned().collect();
    if let Expr::Patch { spans, with, .. } = value {
        // The whole is changed in place of a part.
        let mut with = Expr::clone(with);
        if unslice(&mut with, spans) {
            all.push(with);
        }
    }
    if !matches!(value, Expr::Number(_)) {
        all.push(Expr::Number(1.0));
    }
    for (place, operand) in value.operands().into_iter().enumerate() {
        for smaller in smaller_value(operand) {
            let mut value = value.clone();
            *value.operands_mut()[place] = smaller;
            all.push(value);
        }
    }
    all
}

/// Takes the whole wherever this part of it is taken, and returns whether there is such a place.
fn unslice(value: &mut Expr, part: &[Span]) -> bool {
    if let Expr::Slice { of, spans } | Expr::Clip { of, spans } = value
        && spans == part
    {
        *value = Expr::clone(of);
        return true;
    }
    let mut is_any = false;
    for operand in value.operands_mut() {
        is_any |= unslice(operand, part);
    }
    is_any
}

/// Fewer rows, and fewer tokens.
fn smaller_inputs(draft: &Draft) -> Vec<Draft> {
    let mut all = fewer_rows(draft);
    all.extend(fewer_tokens(draft));
    all
}

fn fewer_rows(draft: &Draft) -> Vec<Draft> {
    let mut all = Vec::new();
    for input in draft.used_inputs() {
        if let Content::Tokens(rows) = &draft.inputs[input].content {
            let fewer = without(rows).into_iter().filter(|rows| !rows.is_empty());
            all.extend(fewer.map(|rows| with_content(draft, input, Content::Tokens(rows))));
        }
    }
    all
}

/// Fewer tokens of all inputs that are equally long, so that they stay so, and of each of them.
fn fewer_tokens(draft: &Draft) -> Vec<Draft> {
    let mut by_length: Vec<(usize, Vec<usize>)> = Vec::new();
    for input in draft.used_inputs() {
        let length = length(&draft.inputs[input].content);
        match by_length.iter_mut().find(|(other, _)| *other == length) {
            Some((_, inputs)) => inputs.push(input),
            None => by_length.push((length, vec![input])),
        }
    }
    let mut all = Vec::new();
    for (length, inputs) in by_length {
        let places: Vec<usize> = (0..length).collect();
        for kept in without(&places).iter().filter(|kept| !kept.is_empty()) {
            let shorter = |draft: Draft, &input: &usize| {
                let content = keep(&draft.inputs[input].content, kept);
                with_content(&draft, input, content)
            };
            all.push(inputs.iter().fold(draft.clone(), shorter));
            if inputs.len() > 1 {
                all.extend(inputs.iter().map(|input| shorter(draft.clone(), input)));
            }
        }
    }
    all
}

fn with_content(draft: &Draft, input: usize, content: Content) -> Draft {
    let mut draft = draft.clone();
    draft.inputs[input].content = content;
    draft.inputs[input].types = None;
    draft
}

/// How many tokens a row has, or words a prompt.
fn length(content: &Content) -> usize {
    match content {
        Content::Tokens(rows) => rows.iter().map(Vec::len).max().unwrap_or(0),
        Content::Prompt(prompt) => prompt.split_whitespace().count(),
        Content::Pair(_) | Content::Chat(_) | Content::Tensor(_) | Content::Pixels(_) => 0,
    }
}

/// Keeps the tokens at these places of each row, or the words.
fn keep(content: &Content, kept: &[usize]) -> Content {
    match content {
        Content::Tokens(rows) => {
            let row = |row: &Vec<u32>| {
                let kept = kept.iter().filter_map(|&place| row.get(place));
                kept.copied().collect()
            };
            let rows = rows.iter().map(row);
            Content::Tokens(rows.filter(|row: &Vec<u32>| !row.is_empty()).collect())
        }
        Content::Prompt(prompt) => {
            let words: Vec<&str> = prompt.split_whitespace().collect();
            let kept: Vec<&str> = kept.iter().map(|&place| words[place]).collect();
            Content::Prompt(kept.join(" "))
        }
        Content::Pair(_) | Content::Chat(_) | Content::Tensor(_) | Content::Pixels(_) => {
            content.clone()
        }
    }
}
