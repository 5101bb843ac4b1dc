//! Where Interloom differs from the reference by its rules, and why.
//!
//! That Interloom does what the rules say, and that the recording is what the reference does, to
//! the last request and value, is known before this table is read. What is left to say is why the
//! two differ: each aspect in which they do has to be that of a rule that has to do with what
//! happened.

use std::collections::BTreeSet;

use crate::cause::Cause;
use crate::compare::{Aspect, Difference};
use crate::outcome::{Fault, Outcome, Said, Served};
use crate::recording::Recording;
use crate::scenario::{RawBlock, RawIter, RawStep, Run, Scenario, has_step};

use Aspect::{Caches, Caught, Error, Marks, Order, Outputs, Saved, Status};

/// A rule of the behaviour, and why the recording differs from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its number.
    pub rule: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// What a rule can look at.
pub(crate) struct Case<'c> {
    pub(crate) scenario: &'c Scenario,
    pub(crate) own: &'c Outcome,
    pub(crate) recorded: &'c Recording,
}

struct Row {
    rule: &'static str,
    reason: &'static str,
    /// In what it can make a difference.
    aspects: &'static [Aspect],
    /// Whether what happened has to do with it.
    applies: fn(&Case<'_>) -> bool,
}

const ALL: &[Aspect] = &[Status, Error, Saved, Marks, Caught, Outputs, Caches, Order];

/// Returns the rules that say why, in every aspect that differs; nothing if one is left.
pub(crate) fn explain(case: &Case<'_>, differences: &[Difference]) -> Option<Vec<Rule>> {
    let rows: Vec<&Row> = TABLE.iter().filter(|row| (row.applies)(case)).collect();
    let mut rules: Vec<Rule> = Vec::new();
    for difference in differences {
        let about = rows
            .iter()
            .filter(|row| row.aspects.contains(&difference.aspect));
        let about: Vec<Rule> = about
            .map(|row| Rule {
                rule: row.rule,
                reason: row.reason,
            })
            .collect();
        if about.is_empty() {
            return None;
        }
        rules.extend(
            about
                .into_iter()
                .filter(|rule| !rules.contains(rule))
                .collect::<Vec<_>>(),
        );
    }
    Some(rules)
}

const TABLE: &[Row] = &[
    Row {
        rule: "R1",
        reason: "after a STOP before the model starts it does not run at all; this version of the reference runs it",
        aspects: &[Outputs, Saved, Marks, Caught, Caches, Order],
        applies: |case| {
            case.is_of_threads() && case.said(&|said| said.is("STOP", None) && said.at.is_none())
        },
    },
    Row {
        rule: "R60",
        reason: "who waits when another one stops the run before the model starts gets a verdict; the reference forgets them",
        aspects: &[Status, Error, Saved, Marks, Caught],
        applies: |case| {
            !case.is_of_threads() && case.said(&|said| said.is("STOP", None) && said.at.is_none())
        },
    },
    Row {
        rule: "R60",
        reason: "a STOP cannot be caught; in the reference it is an error like any other",
        aspects: ALL,
        applies: |case| case.has_in(is_try, &|step| matches!(step, RawStep::Stop)),
    },
    Row {
        rule: "R60",
        reason: "after a STOP those that wait for this very site are served; this version of the reference ends there",
        aspects: ALL,
        applies: |case| case.is_of_threads() && case.said(&|said| said.is("STOP", None)),
    },
    Row {
        rule: "R3",
        reason: "a write to an input is one SWAP; the reference reads the other arguments first",
        aspects: &[Order, Status, Error],
        applies: |case| {
            case.has(&|step| match step {
                RawStep::Write { target, .. } => target == "input" || target.ends_with(".input"),
                _ => false,
            })
        },
    },
    Row {
        rule: "R10",
        reason: "a request for what has passed is refused at once, and who catches that goes on; the reference tells it after the run, \
                 and drops what follows",
        aspects: ALL,
        applies: |case| case.said(&|said| said.fault == Some(Cause::OutOfOrder)),
    },
    Row {
        rule: "R10",
        reason: "what has passed is refused in a backward pass as anywhere, and what is still to pass is waited for; the reference has \
                 nothing but gradients there, and one version of it fails over its own tables",
        aspects: ALL,
        applies: |case| {
            case.has_in(is_backward, &|step| match step {
                RawStep::Read { .. } | RawStep::Write { .. } | RawStep::Skip { .. } => true,
                step => step
                    .expr()
                    .is_some_and(|expr| expr.to_string().contains("[\"read\"")),
            })
        },
    },
    Row {
        rule: "R11",
        reason: "everybody who still waits gets a verdict when the model has finished, and goes on with what there is; the reference \
                 ends with the first",
        aspects: ALL,
        applies: |case| {
            let mut caught = case.own.caught.values();
            case.failed_when_over() || caught.any(|fault| fault.cause == Cause::NotProvided)
        },
    },
    Row {
        rule: "R12",
        reason: "a loop whose iterations do not come any more ends, nothing of that can be caught around it, and what follows is run; \
                 the reference ends the block, or fails it",
        aspects: ALL,
        applies: |case| {
            case.has(&is_loop)
                && case.said(&|said| {
                    said.is("EXCEPTION", Some(Cause::NotProvided)) && said.at.is_none()
                })
        },
    },
    Row {
        rule: "R20",
        reason: "SKIP is asked for at the module's input, where it is served in turn and the input may still be read; the reference \
                 has a place for it after the input, where all have read",
        aspects: ALL,
        applies: |case| case.said(&|said| said.is("SKIP", None)),
    },
    Row {
        rule: "R20",
        reason: "a replacement is of the kind that the module puts out, and nothing is none of it; the reference goes on with anything, \
                 or takes nothing for no skip",
        aspects: ALL,
        applies: |case| case.failed_with(Cause::Unusable),
    },
    Row {
        rule: "R22",
        reason: "one without rows skips for the whole batch, and those with rows put their own in its place; in the reference one takes \
                 the place of the others",
        aspects: ALL,
        applies: |case| {
            let mut runs = case.scenario.traces.iter();
            let is_shared = |run: &Run| run.blocks().any(|block| block.input.is_some());
            let is_rowless =
                |block: &RawBlock| block.input.is_none() && has_step(&block.steps, &is_skip);
            let mut edits = case.scenario.edits.iter();
            let has_edit = edits.any(|edit| has_step(&edit.steps, &is_skip));
            runs.any(|run| is_shared(run) && (has_edit || run.blocks().any(is_rowless)))
        },
    },
    Row {
        rule: "R24",
        reason: "a pass of a module that is skipped counts for the sites inside it; in the reference these are one behind",
        aspects: ALL,
        applies: |case| case.has_skipped_around_requests(),
    },
    Row {
        rule: "R30",
        reason: "in iteration i a request is for pass i of its site; in the reference the first request of an iteration is, and those \
                 after it are for what comes next",
        aspects: ALL,
        applies: |case| !case.is_of_threads() && case.has(&is_loop) && case.serves_others(),
    },
    Row {
        rule: "R32",
        reason: "a list of iterations is taken in ascending order; this version of the reference takes it as it is",
        aspects: ALL,
        applies: |case| {
            !case.is_of_threads()
                && case.has(&|step| match step {
                    RawStep::Iter {
                        iter: RawIter::List(list),
                        ..
                    } => !list.is_sorted(),
                    _ => false,
                })
        },
    },
    Row {
        rule: "R32",
        reason: "an empty slice runs nothing; this version of the reference runs it once",
        aspects: ALL,
        applies: |case| {
            case.is_of_threads()
                && case.has(&|step| match step {
                    RawStep::Iter {
                        iter: RawIter::Slice(start, Some(end)),
                        ..
                    } => start.unwrap_or(0) >= *end,
                    _ => false,
                })
        },
    },
    Row {
        rule: "R32",
        reason: "a loop without an upper bound ends at the declared steps of a generation; in the reference it goes on to a step that \
                 does not come",
        aspects: ALL,
        applies: |case| {
            let mut blocks = case.scenario.traces.iter().flat_map(Run::blocks);
            let is_open = |step: &RawStep| match step {
                RawStep::Iter { iter, .. } => matches!(iter, RawIter::Slice(_, None)),
                _ => false,
            };
            blocks.any(|block| block.generate.is_some()) && case.has(&is_open)
        },
    },
    Row {
        rule: "R33",
        reason: "next(n) advances the mediator's own iteration; this version of the reference has no such method",
        aspects: ALL,
        applies: |case| {
            !case.is_of_threads() && case.has(&|step| matches!(step, RawStep::Next { .. }))
        },
    },
    Row {
        rule: "R34",
        reason: "an error in an iteration fails its mediator, and no `try` around the loop catches it; in this version of the reference \
                 one does",
        aspects: ALL,
        applies: |case| !case.is_of_threads() && case.has_in(is_try, &is_loop),
    },
    Row {
        rule: "R40",
        reason: "a barrier releases all in definition order; the reference those that wait, in the order in which they came, and then \
                 the last, which gets what goes wrong with them",
        aspects: ALL,
        applies: |case| case.said(&|said| said.is("BARRIER", None)),
    },
    Row {
        rule: "R43",
        reason: "a barrier that too few come to fails the run; this version of the reference leaves them waiting",
        aspects: &[Status, Error],
        applies: |case| case.is_of_threads() && case.failed_with(Cause::BarrierUnmet),
    },
    Row {
        rule: "R50",
        reason: "tensors without dimensions pass whole; the reference looks for their rows and fails",
        aspects: ALL,
        applies: |case| {
            let mut classes = case.recorded.error.iter().map(|error| error.class.as_str());
            classes.any(|class| class == "IndexError")
        },
    },
    Row {
        rule: "R50",
        reason: "values never change; what the reference edits in place, and all that shares its memory, is a SWAP of a filled copy here",
        aspects: ALL,
        applies: |case| case.has(&|step| matches!(step, RawStep::InplaceFill { .. })),
    },
    Row {
        rule: "R51",
        reason: "a swap of another shape or kind is refused at the swap; the reference takes it, and the model fails or goes on",
        aspects: ALL,
        applies: |case| {
            // What is no arguments is no swap of them.
            let is_of_arguments = |step: &RawStep| match step {
                RawStep::Write { target, .. } => target == "inputs" || target.ends_with(".inputs"),
                _ => false,
            };
            let faults = || case.own.faults.iter().chain(case.own.caught.values());
            let is_refused = faults().any(|fault| fault.cause.kind() == Cause::Program);
            case.said(&|said| said.is("SWAP", Some(Cause::Misfit)))
                || (is_refused && case.has(&is_of_arguments))
        },
    },
    Row {
        rule: "R62",
        reason: "a failure halts the model where it happens; the reference lets the model finish and raises afterwards, or the model \
                 fails first",
        aspects: ALL,
        applies: |case| case.has_failed_in_the_model(),
    },
    Row {
        rule: "R70",
        reason: "a run may have a cache of its own, outside every invoke; this version of the reference refuses it",
        aspects: ALL,
        applies: |case| {
            let mut runs = case.scenario.traces.iter();
            !case.is_of_threads() && runs.any(|run| !run.pre.is_empty())
        },
    },
    Row {
        rule: "R70",
        reason: "a cache collects what a site passes on, with all changes, also at a STOP; and nothing at the site of a failure, where \
                 not all had their turn",
        aspects: &[Caches],
        applies: |case| case.said(&|said| said.is("STOP", None)) || !case.own.faults.is_empty(),
    },
    Row {
        rule: "R70",
        reason: "a cache collects also while an iteration is active, and several passes of a module; this version of the reference \
                 misses what is passed then, and trips over its own list",
        aspects: &[Status, Error, Caches],
        applies: |case| case.is_of_threads() && case.has(&is_cache),
    },
    Row {
        rule: "R71",
        reason: "a cache may be declared until one of its modules was passed, and says so at once; the reference wants it before the \
                 first request, or collects less",
        aspects: ALL,
        applies: |case| {
            case.has(&is_cache) && (case.is_told("tracer.cache()") || case.has_refused_cache())
        },
    },
    Row {
        rule: "R72",
        reason: "names are shared over the blackboard, the last value of each, and edits share them, too; in the reference a name is \
                 first what it was when its block was written",
        aspects: ALL,
        applies: |case| case.has_several_mediators() && case.has(&uses_names),
    },
    Row {
        rule: "R72",
        reason: "what two mediators save under one name is what the last of them saved, also if that is an edit; the reference keeps \
                 what edits save apart",
        aspects: &[Saved],
        applies: |case| case.saves_a_name_of_an_edit(),
    },
    Row {
        rule: "R73",
        reason: "an edit sees the whole batch, each invoke its rows; with several invokes this version of the reference loses what the \
                 edit swaps and gives each the whole batch",
        aspects: ALL,
        applies: |case| case.is_of_threads() && !case.scenario.edits.is_empty(),
    },
    Row {
        rule: "R90",
        reason: "operations are sites like any other, counted from the start; the reference passes them from when they are first named",
        aspects: ALL,
        applies: |case| {
            case.said(&|said| {
                let at = said.at.iter().chain([&said.asked]);
                at.into_iter().any(|site| site.contains(".source."))
            })
        },
    },
    Row {
        rule: "R91",
        reason: "a gradient is that of the value with which the model goes on after a site, with all swaps; in the reference it is that \
                 of the tensor that was read, whatever takes its place",
        aspects: ALL,
        applies: |case| {
            case.said(&|said| {
                let value = said.asked.replacen(".grad.i", ".i", 1);
                let is_swap = |other: &Said| {
                    let is_here = other.asked == value && other.at.as_ref() == Some(&value);
                    other.is("SWAP", None) && is_here
                };
                value != said.asked && case.said(&is_swap)
            })
        },
    },
    Row {
        rule: "R91",
        reason: "what passes a site has a gradient, also an input and a tuple, and in a batch its rows have theirs; what a mediator \
                 computes of it has none; in the reference it is tensors that have one, if they belong to a graph and are no part of \
                 a batch",
        aspects: ALL,
        applies: |case| {
            let is_told =
                |class: &str| ["AttributeError", "RuntimeError", "TypeError"].contains(&class);
            let recorded = case.recorded;
            let mut told = recorded.error.iter().chain(recorded.caught.values());
            let is_refused = told.any(|told| is_told(&told.class));
            case.has(&is_of_gradient)
                && (is_refused || case.is_batched() || case.failed_with(Cause::Raised))
        },
    },
    Row {
        rule: "R91",
        reason: "the gradient of several tensors is one value with all of them, which is read before one of them is replaced; in the \
                 reference each tensor has its own",
        aspects: &[Order],
        applies: |case| case.has(&|step| matches!(step, RawStep::WriteGrad { .. })),
    },
    Row {
        rule: "R91",
        reason: "a gradient that does not come is refused by its name, to who asked for the pass when it is over",
        aspects: ALL,
        applies: |case| {
            case.has(&is_of_gradient)
                && (case.said(&|said| said.fault == Some(Cause::NoGradient))
                    || case.said(&|said| said.fault == Some(Cause::NotProvided)))
        },
    },
    Row {
        rule: "R93",
        reason: "a backward pass begins when everybody has had their turn at the site, from the sum of what was asked for there, and a \
                 graph is differentiated once; in the reference each is made where it is asked for",
        aspects: ALL,
        applies: |case| {
            case.has(&is_backward)
                && (case.has_several_mediators() || case.failed_with(Cause::Backward))
        },
    },
    Row {
        rule: "R93",
        reason: "a backward pass begins at a site of the forward pass, and none in another one",
        aspects: ALL,
        applies: |case| case.said(&|said| said.is("BACKWARD", Some(Cause::NoBackward))),
    },
];

fn is_backward(step: &RawStep) -> bool {
    matches!(step, RawStep::Backward { .. })
}

fn is_of_gradient(step: &RawStep) -> bool {
    matches!(step, RawStep::ReadGrad { .. } | RawStep::WriteGrad { .. })
}

fn is_try(step: &RawStep) -> bool {
    matches!(step, RawStep::Try { .. })
}

fn is_loop(step: &RawStep) -> bool {
    matches!(step, RawStep::Iter { .. })
}

fn is_skip(step: &RawStep) -> bool {
    matches!(step, RawStep::Skip { .. })
}

fn is_cache(step: &RawStep) -> bool {
    matches!(step, RawStep::Cache { .. })
}

/// The name under which a step saves something.
fn saved_name(step: &RawStep) -> Option<&str> {
    match step {
        RawStep::Read {
            r#as, save: true, ..
        }
        | RawStep::Let {
            r#as, save: true, ..
        } => Some(r#as),
        RawStep::Save { name } => Some(name),
        _ => None,
    }
}

/// Whether a step looks a name up.
fn uses_names(step: &RawStep) -> bool {
    let is_variable = |expr: &serde_json::Value| expr.to_string().contains("[\"var\"");
    let has_variable = step.expr().is_some_and(is_variable);
    has_variable
        || matches!(
            step,
            RawStep::Save { .. }
                | RawStep::IfEq { .. }
                | RawStep::Append { .. }
                | RawStep::InplaceFill { .. }
        )
}

impl Case<'_> {
    fn is_of_threads(&self) -> bool {
        self.recorded.version == "v050"
    }

    /// Returns whether several mediators have rows of one batch.
    fn is_batched(&self) -> bool {
        let rows = |run: &Run| run.blocks().filter(|block| block.input.is_some()).count();
        self.scenario.traces.iter().any(|run| rows(run) > 1)
    }

    /// Returns whether there was such an exchange.
    fn said(&self, is_it: &dyn Fn(&Said) -> bool) -> bool {
        self.own.exchanges.iter().any(is_it)
    }

    fn failed_with(&self, cause: Cause) -> bool {
        self.own.faults.iter().any(|fault| fault.cause == cause)
    }

    /// Returns whether the run failed before the model had finished.
    fn has_failed_in_the_model(&self) -> bool {
        let is_over =
            |fault: &Fault| matches!(fault.cause, Cause::NotProvided | Cause::BarrierUnmet);
        !self.own.faults.iter().all(is_over)
    }

    /// Returns whether the reference served something that was not served here, or the other way
    /// round.
    fn serves_others(&self) -> bool {
        let one = |served: &[Served]| {
            served
                .iter()
                .map(Served::to_string)
                .collect::<BTreeSet<_>>()
        };
        one(&self.own.served) != one(&self.recorded.served)
    }

    fn failed_when_over(&self) -> bool {
        self.failed_with(Cause::NotProvided) || self.failed_with(Cause::BarrierUnmet)
    }

    /// Returns whether the reference was recorded with an error that says this.
    fn is_told(&self, message: &str) -> bool {
        let caught = self.recorded.caught.values();
        let mut told = self.recorded.error.iter().chain(caught);
        told.any(|error| error.message.contains(message))
    }

    fn has_refused_cache(&self) -> bool {
        let caught = self.own.caught.values();
        let mut faults = self.own.faults.iter().chain(caught);
        faults.any(|fault| fault.cause == Cause::LateCache)
    }

    /// Returns whether a module is skipped, and something inside it asked for.
    fn has_skipped_around_requests(&self) -> bool {
        self.said(&|skip| {
            let module = skip.asked.rsplit_once("input.i");
            let is_inside = |module: &str, said: &Said| {
                let inner = said.asked.strip_prefix(module);
                inner.is_some_and(|inner| inner.matches('.').count() > 1)
            };
            skip.event == "SKIP"
                && module.is_some_and(|(module, _)| self.said(&|said| is_inside(module, said)))
        })
    }

    /// Returns whether several mediators share a run, or runs a scenario.
    fn has_several_mediators(&self) -> bool {
        let Scenario { edits, traces, .. } = self.scenario;
        let mut runs = traces.iter();
        !edits.is_empty() || traces.len() > 1 || runs.any(|run| run.blocks().count() > 1)
    }

    /// Returns whether a body saves something under a name under which an edit does, too.
    fn saves_a_name_of_an_edit(&self) -> bool {
        let Scenario { edits, traces, .. } = self.scenario;
        let bodies = || traces.iter().flat_map(Run::blocks);
        let saves =
            |steps: &[RawStep], name: &str| has_step(steps, &|step| saved_name(step) == Some(name));
        let is_shared = |step: &RawStep| {
            let name = saved_name(step);
            name.is_some_and(|name| bodies().any(|body| saves(&body.steps, name)))
        };
        edits.iter().any(|edit| has_step(&edit.steps, &is_shared))
    }

    fn has(&self, is_it: &dyn Fn(&RawStep) -> bool) -> bool {
        self.scenario.has_step(is_it)
    }

    /// Returns whether a step is in one of another kind.
    fn has_in(&self, is_around: fn(&RawStep) -> bool, is_it: &dyn Fn(&RawStep) -> bool) -> bool {
        self.has(&|step| is_around(step) && has_step(step.body(), is_it))
    }
}
