//! What Interloom does otherwise on purpose, rule by rule.

use interloom_engine::{Event, FaultKind, RunError};

use super::compare::{Aspect, Performed};
use super::guise::Manner;
use super::recast::{self, Recast};
use super::rules::{Case, Own, Purpose};
use super::scenario::{RawBlock, RawStep, Run};

const BOTH: &[&str] = &["v050", "v081"];
const THREADS: &[&str] = &["v050"];
const COROUTINES: &[&str] = &["v081"];

pub(super) const ALL: &[Aspect] = &[
    Aspect::Status,
    Aspect::Error,
    Aspect::Saved,
    Aspect::Marks,
    Aspect::Caught,
    Aspect::Outputs,
    Aspect::Caches,
    Aspect::Order,
];

/// What a run shows beside its status and its errors.
const SHOWN: &[Aspect] = &[
    Aspect::Saved,
    Aspect::Marks,
    Aspect::Outputs,
    Aspect::Caches,
    Aspect::Order,
];

pub(super) const PURPOSES: &[Purpose] = &[
    Purpose {
        rule: "R33",
        reason: "next(n) advances the mediator's own iteration; this version of the reference has no such method",
        versions: COROUTINES,
        aspects: ALL,
        own: Own::More(None),
        applies: |case| case.has_failed_with("AttributeError", "has no attribute 'next'"),
        recast: |_, recast| recast.replace(&mut recast::next_is_missing),
    },
    Purpose {
        rule: "R70",
        reason: "a run may have a cache of its own, outside every invoke; this version of the reference refuses it",
        versions: COROUTINES,
        aspects: ALL,
        own: Own::More(None),
        applies: |case| {
            case.has_failed_with("ValueError", "`tracer.cache()` outside of interleaving")
        },
        recast: |_, recast| {
            // Refused before the run: what counts is what the runs before it did.
            let runs = &mut recast.scenario.traces;
            let refused = runs.iter().position(|run| !run.pre.is_empty());
            runs.truncate(refused.unwrap_or(runs.len()));
            recast.ends_with = Some("ValueError");
        },
    },
    Purpose {
        rule: "R70",
        reason: "the iterations of a cached module become a list; this version of the reference trips over its own list",
        versions: THREADS,
        aspects: &[Aspect::Status],
        own: Own::Same,
        applies: |case| {
            case.has_failed_with("AttributeError", "'list' object has no attribute")
                && case.own.codes().next().is_none()
                && case.has_cached_iterations()
        },
        recast: |_, recast| recast.ends_with = Some("AttributeError"),
    },
    Purpose {
        rule: "R70",
        reason: "a cache collects also while a child mediator is active; this version of the reference misses what is passed then",
        versions: THREADS,
        aspects: &[Aspect::Caches],
        own: Own::Same,
        // Wide in one thing: caches that collected the same sites are not told apart, so one may lack what another missed.
        applies: |case| case.has_step(&|step| matches!(step, RawStep::Cache { .. })),
        recast: |_, recast| recast.manners.push(Manner::CachesBetweenChildren),
    },
    Purpose {
        rule: "R71",
        reason: "a cache may be declared as long as its modules are still to come; this version of the reference refuses one \
                 after any request (told, not recorded)",
        versions: COROUTINES,
        aspects: ALL,
        own: Own::More(None),
        applies: |case| {
            case.has_failed("must be declared before reading or modifying")
                && case.own.codes().next().is_none()
        },
        recast: |_, recast| recast::late_caches_fail(recast),
    },
    Purpose {
        rule: "R34",
        reason: "an error that leaves an iteration fails the invoke; the reference lets a `try` around the loop catch it (told, not recorded)",
        versions: BOTH,
        aspects: ALL,
        own: Own::Less(None),
        applies: |case| {
            let is_loop = |step: &RawStep| matches!(step, RawStep::Iter { .. });
            case.own.codes().next().is_some() && case.has_in_try(&is_loop)
        },
        recast: |_, recast| recast.manners.push(Manner::CatchesAroundLoops),
    },
    Purpose {
        rule: "R60",
        reason: "a STOP ends the run and cannot be caught; in the reference it travels as an exception (told, not recorded)",
        versions: BOTH,
        aspects: ALL,
        own: Own::Less(None),
        applies: |case| case.has_in_try(&|step| matches!(step, RawStep::Stop)),
        recast: |_, recast| recast.replace(&mut recast::stop_is_an_error),
    },
    Purpose {
        rule: "R71",
        reason: "a cache that is declared after its module was passed is refused; this version of the reference collects less",
        versions: THREADS,
        aspects: ALL,
        own: Own::Less(None),
        applies: |case| {
            case.is_ours("E017")
                && case.expected.json["status"] == "ok"
                && case.has_refused_all_uncollected()
        },
        recast: |case, recast| case.cache_what_was_collected(recast),
    },
    Purpose {
        rule: "R43",
        reason: "a barrier that too few come to fails the run; this version of the reference leaves them waiting",
        versions: THREADS,
        aspects: &[Aspect::Status],
        own: Own::Same,
        applies: |case| {
            let waiting = case.own.traces.last().and_then(waiting_at_the_end);
            case.expected.json["status"] == "ok"
                && waiting.is_some()
                && case.expected.json["leaked_threads"].as_u64() == waiting
        },
        recast: |_, recast| {
            recast.touches.push(|_, again| {
                if let Some(last) = again.traces.last_mut() {
                    (last.error, last.codes) = (None, Vec::new());
                }
            });
        },
    },
    Purpose {
        rule: "R50",
        reason: "tensors without dimensions pass whole; the reference looks for their rows and fails",
        versions: BOTH,
        aspects: ALL,
        own: Own::More(None),
        applies: |case| case.has_failed_with("IndexError", "tuple index out of range"),
        recast: |case, recast| {
            recast.manners.push(Manner::NeedsDimensions);
            if case.expected.version == "v081" {
                // It looks before it serves the request.
                recast.touches.push(|_, again| {
                    if let Some(last) = again.traces.last_mut() {
                        last.served.pop();
                    }
                });
            }
        },
    },
    Purpose {
        rule: "R11",
        reason: "a request that is never provided is refused and can be caught; this version of the reference changes a \
                 dictionary while it goes through it",
        versions: THREADS,
        aspects: &[Aspect::Status],
        own: Own::Same,
        applies: |case| {
            let caught = case.own.results.caught();
            case.has_failed_with("RuntimeError", "dictionary changed size during iteration")
                && case.own.codes().next().is_none()
                && caught.values().any(|fault| fault.code() == "E003")
        },
        recast: |_, recast| recast.ends_with = Some("RuntimeError"),
    },
    Purpose {
        rule: "R20",
        reason: "a skipped module is not computed, also if nothing is put out instead; this version of the reference takes \
                 that for no skip",
        versions: THREADS,
        aspects: ALL,
        own: Own::Other,
        applies: |case| {
            case.has_step(&|step| match step {
                RawStep::Skip { expr, .. } => expr[0] == "none",
                _ => false,
            })
        },
        recast: |_, recast| {
            recast.manners.push(Manner::SkipsWithSomething);
            recast.touches.push(skips_are_logged_as_such);
        },
    },
    Purpose {
        rule: "R73",
        reason: "an edit sees the whole batch, each invoke its rows; with several invokes this version of the reference loses what \
                 the edit swaps and gives each the whole batch",
        versions: THREADS,
        aspects: &[Aspect::Saved, Aspect::Outputs, Aspect::Caches],
        own: Own::Other,
        // As one recorded scenario shows it; how it would log other requests of edits is not known, so their order is no part
        // of the rule.
        applies: |case| !case.scenario.edits.is_empty(),
        recast: |_, recast| {
            recast.manners.push(Manner::LosesSwapsOfEdits);
            let runs = recast.scenario.traces.iter_mut();
            for block in runs.flat_map(|run| run.invokes.iter_mut().flatten()) {
                block.sees_all = true;
            }
        },
    },
    Purpose {
        rule: "R32",
        reason: "an empty slice runs nothing; this version of the reference runs it once",
        versions: THREADS,
        aspects: SHOWN,
        own: Own::Less(None),
        applies: |case| case.has_step(&recast::is_empty_slice),
        recast: |_, recast| recast.replace(&mut recast::empty_slice_runs_once),
    },
    Purpose {
        rule: "R12",
        reason: "a loop whose iterations do not come any more ends, and what follows it is run; the reference ends the block",
        versions: BOTH,
        aspects: SHOWN,
        own: Own::More(None),
        applies: |case| case.has_step(&|step| matches!(step, RawStep::Iter { .. })),
        recast: |_, recast| recast.manners.push(Manner::EndsWithLoop),
    },
    Purpose {
        rule: "R10",
        reason: "who catches a refusal goes on and is served later sites; the reference ends the block after the error",
        versions: COROUTINES,
        aspects: SHOWN,
        own: Own::More(None),
        applies: |case| {
            let caught = case.own.results.caught();
            caught.values().any(|fault| fault.code() == "E002")
        },
        recast: |_, recast| recast.manners.push(Manner::EndsAfterRefusal),
    },
    Purpose {
        rule: "R72",
        reason: "whoever gets a shared value gets what was put last; the reference keeps the first that it saw (told, not recorded)",
        versions: BOTH,
        aspects: ALL,
        own: Own::Other,
        applies: |case| case.has_company(),
        recast: |_, recast| recast.manners.push(Manner::KeepsWhatItSaw),
    },
    Purpose {
        rule: "R72",
        reason: "a shared name is there at once, also in iterations; in this version of the reference, once the blocks around them go \
                 on (told, not recorded)",
        versions: THREADS,
        aspects: ALL,
        own: Own::Other,
        applies: |case| {
            let is_loop = |step: &RawStep| matches!(step, RawStep::Iter { .. });
            let mut classes = ["NameError", "UnboundLocalError"].into_iter();
            let has_failed = classes.any(|class| case.has_failed_with(class, ""));
            has_failed && case.has_company() && case.has_step(&is_loop)
        },
        recast: |_, recast| recast.manners.push(Manner::SharesBetweenChildren),
    },
    Purpose {
        rule: "R1",
        reason: "after a STOP before the model starts it does not run at all; this version of the reference runs it",
        versions: THREADS,
        aspects: &[Aspect::Outputs],
        own: Own::Less(None),
        applies: |case| {
            let mut runs = case.own.traces.iter();
            runs.any(|run| run.outputs.is_none() && run.error.is_none())
        },
        recast: |_, recast| recast.manners.push(Manner::StopsAlone),
    },
    Purpose {
        rule: "R50",
        reason: "values never change; what the reference edits in place is a SWAP of a filled copy here",
        versions: BOTH,
        aspects: &[Aspect::Order],
        own: Own::More(Some(Event::Swap)),
        applies: |case| case.has_step(&|step| matches!(step, RawStep::InplaceFill { .. })),
        recast: |_, recast| recast.replace(&mut recast::fills_are_silent),
    },
    Purpose {
        rule: "R3",
        reason: "a write to an input is one SWAP; the reference reads the other arguments first",
        versions: BOTH,
        aspects: &[Aspect::Order],
        own: Own::Less(Some(Event::Value)),
        applies: |case| {
            case.has_step(&|step| match step {
                RawStep::Write { target, .. } => recast::is_input(target),
                _ => false,
            })
        },
        recast: |_, recast| recast.replace(&mut recast::write_to_input_reads),
    },
    Purpose {
        rule: "R51",
        reason: "a swap of another shape is refused at the swap; the reference lets the model fail on it",
        versions: BOTH,
        aspects: &[Aspect::Order],
        own: Own::Less(Some(Event::Swap)),
        applies: |case| {
            case.is_ours("E004") && case.expected.json["error"]["class"] == "RuntimeError"
        },
        // Whom the reference served between the swap and the model's failure is not known here, so nobody is allowed. What the
        // model says when it fails is PyTorch's wording, and not compared.
        recast: |_, recast| recast.touches.push(misfits_are_served),
    },
    Purpose {
        rule: "R62",
        reason: "a failure halts the model where it happens; the reference lets the model finish and raises afterwards",
        versions: BOTH,
        aspects: SHOWN,
        own: Own::Less(None),
        applies: |case| case.expected.json["status"] == "error" && case.is_out_of_order(),
        recast: |_, recast| recast.manners.push(Manner::FailsLater),
    },
];

/// How many wait at barriers, if the run failed because of that after the model had finished.
fn waiting_at_the_end(trace: &super::run::Trace) -> Option<u64> {
    match trace.cause.as_ref()? {
        RunError::BarrierUnmet(meetings) => {
            let waiting = meetings.iter().map(|meeting| meeting.waiting.len() as u64);
            Some(waiting.sum())
        }
        _ => None,
    }
}

/// The reference logs a skip with nothing as a skip.
fn skips_are_logged_as_such(own: &Performed, again: &mut Performed) {
    let runs = own.traces.iter().zip(&mut again.traces);
    for (own, again) in runs {
        let skips = own
            .served
            .iter()
            .filter(|(_, event, _)| *event == Event::Skip);
        let skips: Vec<_> = skips.map(|(who, _, site)| (*who, site)).collect();
        for (who, event, site) in &mut again.served {
            if *event == Event::Value && skips.contains(&(*who, site)) {
                *event = Event::Skip;
            }
        }
    }
}

/// Adds the swap that was refused: the last thing that was served.
fn misfits_are_served(own: &Performed, again: &mut Performed) {
    let failed = own.traces.last().and_then(|run| run.cause.as_ref());
    let (Some(RunError::Mediators(failures)), Some(last)) = (failed, again.traces.last_mut())
    else {
        return;
    };
    let refused = failures.iter().filter_map(|failure| {
        let who = failure.mediator.strip_prefix('m')?.parse().ok()?;
        match failure.fault.kind() {
            FaultKind::Misfit { site, .. } => Some((who, Event::Swap, site.clone())),
            _ => None,
        }
    });
    last.served.extend(refused);
}

impl Case<'_> {
    fn has_failed(&self, message: &str) -> bool {
        let found = self.expected.json["error"]["message"].as_str();
        found.is_some_and(|found| found.contains(message))
    }

    fn has_failed_with(&self, class: &str, message: &str) -> bool {
        self.expected.json["error"]["class"] == class && self.has_failed(message)
    }

    fn is_ours(&self, code: &str) -> bool {
        self.own.codes().any(|own| own == code)
    }

    /// Returns whether the run failed on a request out of order; that the reference did on the same is compared anyway.
    fn is_out_of_order(&self) -> bool {
        let last = self.own.traces.last();
        let Some(RunError::Mediators(failures)) = last.and_then(|run| run.cause.as_ref()) else {
            return false;
        };
        let mut failures = failures.iter();
        failures.any(|failure| matches!(failure.fault.kind(), FaultKind::OutOfOrder { .. }))
    }

    fn has_cached_iterations(&self) -> bool {
        let caches = self.expected.json["caches"].as_object();
        let mut modules = caches.into_iter().flat_map(|caches| caches.values());
        modules.any(|modules| {
            let mut modules = modules.as_object().into_iter().flatten();
            modules.any(|(_, entries)| entries.as_array().is_some_and(|list| list.len() > 1))
        })
    }

    fn has_collected(&self, cache: &str, module: &str) -> bool {
        self.expected.json["caches"][cache].get(module).is_some()
    }

    /// Leaves caches those of their modules that the reference collected.
    fn cache_what_was_collected(&self, recast: &mut Recast) {
        recast.replace(&mut |mut step, _| {
            if let RawStep::Cache {
                r#as,
                modules: Some(modules),
                ..
            } = &mut step
            {
                modules.retain(|module| self.has_collected(r#as, module));
            }
            vec![step]
        });
    }

    /// Returns whether each module that the reference did not collect is one that is refused for being too late.
    fn has_refused_all_uncollected(&self) -> bool {
        let mut uncollected = Vec::new();
        Recast::of(self.scenario).replace(&mut |step, _| {
            if let RawStep::Cache {
                r#as,
                modules: Some(modules),
                ..
            } = &step
            {
                let modules = modules.iter();
                let left = modules.filter(|module| !self.has_collected(r#as, module));
                uncollected.extend(left.map(|module| (r#as.clone(), module.clone())));
            }
            vec![step]
        });
        uncollected.iter().all(|(cache, module)| {
            let mut recast = Recast::of(self.scenario);
            self.cache_what_was_collected(&mut recast);
            recast.replace(&mut |mut step, _| {
                if let RawStep::Cache {
                    r#as,
                    modules: Some(modules),
                    ..
                } = &mut step
                    && r#as == cache
                {
                    *modules = vec![module.clone()];
                }
                vec![step]
            });
            (self.redo)(&recast).is_some_and(|again| again.codes().any(|code| code == "E017"))
        })
    }

    /// Returns whether several mediators share a run.
    fn has_company(&self) -> bool {
        let mut runs = self.scenario.traces.iter();
        let invokes = |run: &Run| run.invokes.as_ref().map_or(0, Vec::len);
        !self.scenario.edits.is_empty() || runs.any(|run| invokes(run) > 1)
    }

    fn has_in_try(&self, is_it: &dyn Fn(&RawStep) -> bool) -> bool {
        self.has_step(&|step| match step {
            RawStep::Try { body, .. } => any(body, is_it),
            _ => false,
        })
    }

    fn has_step(&self, is_it: &dyn Fn(&RawStep) -> bool) -> bool {
        let runs = self.scenario.traces.iter();
        let blocks = runs.flat_map(|run| run.direct.iter().chain(run.invokes.iter().flatten()));
        let mut bodies = blocks.map(|RawBlock { steps, .. }| &steps[..]);
        let mut edits = self.scenario.edits.iter().map(|edit| &edit.steps[..]);
        bodies.any(|steps| any(steps, is_it)) || edits.any(|steps| any(steps, is_it))
    }
}

fn any(steps: &[RawStep], is_it: &dyn Fn(&RawStep) -> bool) -> bool {
    let mut steps = steps.iter();
    steps.any(|step| is_it(step) || any(step.body(), is_it))
}
