//! A run by the rules, in their words.

use std::collections::{BTreeMap, BTreeSet};

use super::array::Array;
use super::model::{Entered, Gates, Unfit, Value};
use super::rows::{Misfit, fits, has_tensor, join, map};
use super::stage::{Cache, CameTo, Stage, point};
use super::tape::Pass;
use super::task::Ask;
use crate::cause::Cause;
use crate::outcome::{Fault, Said, Served};
use crate::user::{Collects, Halt, Tensor, Thing};

pub(super) fn run(stage: Stage) -> CameTo {
    let states = vec![State::Running; stage.tasks.len()];
    let mut run = Run {
        is_parked: vec![false; states.len()],
        states,
        stage,
        here: None,
        passed: BTreeMap::new(),
        failures: Vec::new(),
        broken: None,
        is_stopped: false,
        is_closing: false,
        time: 0,
        slopes: Slopes::default(),
        came_to: CameTo::default(),
    };
    run.play();
    let caches = run.stage.caches.iter();
    run.came_to.caches = caches
        .map(|cache| (cache.name.clone(), cache.collected()))
        .collect();
    run.came_to
}

struct Run {
    stage: Stage,
    states: Vec<State>,
    /// Whether each has asked for a site and waits for it.
    is_parked: Vec<bool>,
    here: Option<Here>,
    /// How often each point was passed, without what was only counted (R24).
    passed: BTreeMap<String, u32>,
    failures: Vec<(usize, Fault)>,
    /// A failure that is no body's.
    broken: Option<Fault>,
    is_stopped: bool,
    is_closing: bool,
    /// How many barriers have opened.
    time: usize,
    slopes: Slopes,
    came_to: CameTo,
}

/// What there is of gradients.
#[derive(Default)]
struct Slopes {
    /// What bodies want differentiated at the site at hand.
    losses: Vec<(usize, Array)>,
    /// What passed, with the arrays in it; a swap makes it new.
    hooked: Vec<Hooked>,
    /// Which of these each array is in.
    of_array: BTreeMap<u64, usize>,
    /// The last one of each site.
    last: BTreeMap<String, usize>,
    passed: BTreeSet<String>,
    begun: u32,
    over: u32,
    /// Who is refused what a pass has not reached, and whether the pass is its own.
    unreached: Option<(usize, bool)>,
}

#[derive(Clone)]
struct Hooked {
    /// The gradient's site.
    site: String,
    value: Value,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    Running,
    AtBarrier(String),
    /// When its barrier opened.
    Released(usize),
    Retired,
}

/// The site at hand.
struct Here {
    site: String,
    value: Value,
    skips: Vec<(usize, Value)>,
}

/// Why the model does not go on.
struct Halted;

impl Run {
    fn play(&mut self) {
        for who in self.stage.all() {
            self.turn(who); // R1: each, also if one fails.
        }
        if !self.is_halted() {
            let (network, input) = (self.stage.network(), self.stage.input.clone());
            let see = |run: &mut Self, output: Value| {
                run.came_to.outputs.extend(output.item());
            };
            let _halted = match self.stage.tokens {
                Some(tokens) => network.generate(self, input, tokens, see),
                None => network.forward(self, input).map(|output| see(self, output)),
            };
        }
        self.here = None;
        if !self.has_failed() {
            self.is_closing = true;
            for who in self.stage.all() {
                self.turn(who); // R11: each its own verdict.
            }
            let is_unmet = |state: &State| matches!(state, State::AtBarrier(_));
            if self.states.iter().any(is_unmet) {
                let cause = if self.has_circle() {
                    Cause::Circle
                } else {
                    Cause::BarrierUnmet
                }; // R43
                self.broken = Some(Fault::of(cause));
            }
        }
        self.failures.sort_by_key(|(who, _)| *who);
        let failures = self.failures.drain(..).map(|(_, fault)| fault);
        self.came_to.faults = failures.collect();
        if self.came_to.faults.is_empty() {
            self.came_to.faults.extend(self.broken.take());
        }
    }

    /// Passes a site, and returns its value and what it is skipped with.
    fn pass(&mut self, point: &str, value: Value) -> Result<(Value, Option<Value>), Halted> {
        let count = self.stage.count(point); // R30
        self.stage.counts.insert(point.to_owned(), count + 1);
        *self.passed.entry(point.to_owned()).or_default() += 1;
        let site = format!("{point}.i{count}");
        self.here = Some(Here {
            value: self.hooked(&site, value),
            site,
            skips: Vec::new(),
        });
        for who in self.stage.all() {
            self.turn(who); // R2: definition order. R60: also after a stop.
        }
        let Here { value, skips, .. } = self.here.take().expect("the site at hand");
        let skipped = if skips.is_empty() || self.is_halted() {
            None
        } else {
            match self.joined(point, skips) {
                Ok(output) => Some(output),
                Err(fault) => {
                    self.broken = Some(fault);
                    None
                }
            }
        };
        if !self.has_failed() {
            self.stage.collect(point, &value); // R70
            self.backward();
        }
        if self.is_halted() {
            Err(Halted)
        } else {
            Ok((value, skipped))
        }
    }

    /// R21, R22: one output from the replacements of all.
    fn joined(&self, input: &str, mut skips: Vec<(usize, Value)>) -> Result<Value, Fault> {
        let groups = &self.stage.groups;
        let site = format!("{input}.i{}", self.stage.count(input) - 1);
        let misfit = |_: Misfit| Fault::about(Cause::SkipMisfit, &site);
        skips.sort_by_key(|(who, _)| groups[*who].is_some().then_some(*who));
        let whole = skips.iter().rfind(|(who, _)| groups[*who].is_none());
        let parts = skips.iter().filter(|(who, _)| groups[*who].is_some());
        if let Some((_, whole)) = whole {
            return parts.clone().try_fold(whole.clone(), |whole, (who, part)| {
                let rows = groups[*who].expect("a part has rows");
                if fits(&rows.of(&whole), part) {
                    rows.put(&whole, part).map_err(misfit)
                } else {
                    Err(misfit(Misfit))
                }
            });
        }
        let skipping: BTreeSet<usize> = parts.clone().map(|(who, _)| *who).collect();
        let is_absent = |who: &usize| groups[*who].is_some() && !skipping.contains(who);
        if self.stage.all().any(|who| is_absent(&who)) {
            return Err(Fault::about(Cause::PartialSkip, &site));
        }
        let parts: Vec<Value> = parts.map(|(_, part)| part.clone()).collect();
        join(&parts).map_err(misfit)
    }

    /// R24: the sites inside a module that is skipped go on by as many as they were passed per pass
    /// of it.
    fn count_inside(&mut self, module: &str) {
        let before = self.stage.count(&point(module, "input")) - 1;
        let network = self.stage.network();
        let paths = network.modules().into_iter().chain(network.operations());
        let is_inside = |path: &String| {
            path != module && (module.is_empty() || path.starts_with(&format!("{module}.")))
        };
        for path in paths.filter(is_inside) {
            for port in ["input", "output"] {
                let point = point(&path, port);
                let count = self.stage.count(&point);
                let more = match before {
                    0 => 1,
                    before if count.is_multiple_of(before) => count / before,
                    _ => 0,
                };
                self.stage.counts.insert(point, count + more);
            }
        }
    }

    /// R2, R3: lets a body run until it waits for something that is not here. R41: after it come
    /// those that it has released.
    fn turn(&mut self, who: usize) {
        let is_over = self.here.is_some() && self.has_failed();
        let mut next = Some(who).filter(|who| !is_over && self.states[*who] == State::Running);
        while let Some(who) = next {
            self.go(who);
            next = self.go_on();
        }
    }

    fn go(&mut self, who: usize) {
        let mut answer = None;
        if self.stage.tasks[who].has_begun() {
            answer = self.answer(who);
            if answer.is_none() {
                return;
            }
        }
        loop {
            self.is_parked[who] = false;
            if let Some(came_to) = self.stage.tasks[who].resume(answer) {
                return self.retire(who, came_to);
            }
            answer = self.answer(who);
            if answer.is_none() {
                return;
            }
        }
    }

    fn retire(&mut self, who: usize, came_to: Result<(), Halt<Fault>>) {
        self.states[who] = State::Retired;
        match came_to {
            Ok(()) => self.note(who, "END", "", None),
            Err(Halt::Fault(fault) | Halt::Fatal(fault)) => {
                self.note(who, "EXCEPTION", "", Some(fault.cause));
                self.failures.push((who, fault));
            }
            Err(Halt::Stopped) => {
                self.note(who, "STOP", "", None);
                self.is_stopped |= !self.is_closing; // R60
            }
        }
    }

    /// Answers what a body asks for, if it can be answered now.
    fn answer(&mut self, who: usize) -> Option<Result<Value, Halt<Fault>>> {
        let ask = self.stage.tasks[who].ask.clone()?;
        let answer = match ask {
            Ask::Value(point) => self.ask_at(who, "VALUE", &point, None)?,
            Ask::Swap(point, value) => self.ask_at(who, "SWAP", &point, Some(value))?,
            Ask::Skip(path, value) => {
                self.ask_at(who, "SKIP", &point(&path, "input"), Some(value))?
            }
            Ask::Barrier(name) => self.arrive(who, &name)?,
            Ask::Cache(name, collects) => self.cache(who, &name, collects),
            Ask::Begin { number, last, .. } => if self.is_beyond(number, last) {
                Err(Fault::of(Cause::BeyondSteps))
            } else {
                Ok(Thing::None)
            }
            .inspect_err(|fault| {
                self.note(who, "REGISTER", &format!("i{number}"), Some(fault.cause))
            })
            .inspect(|_| self.note(who, "REGISTER", &format!("i{number}"), None)),
            Ask::Finish {
                number,
                last,
                came_to: Ok(()),
            } => {
                self.note(who, "END", "", None);
                let is_last = last.is_none() && self.is_closing;
                if is_last || self.is_beyond(number.saturating_add(1), last) {
                    Err(Fault::of(Cause::BeyondSteps))
                } else {
                    Ok(Thing::None)
                }
            }
            Ask::Finish {
                came_to: Err(fault),
                ..
            } => {
                // R12: what the model did not pass ends the loop.
                if fault.cause != Cause::NotProvided || !self.is_closing {
                    return Some(Err(Halt::Fatal(fault)));
                }
                self.note(who, "EXCEPTION", "", Some(fault.cause));
                Err(fault)
            }
            Ask::Stop => return Some(Err(Halt::Stopped)),
            Ask::Backward(loss) => self.lose(who, &loss),
            Ask::Gradient {
                of,
                iteration,
                with,
            } => self.gradient_at(who, &of, iteration, with)?,
            Ask::Served(..) => unreachable!("the rules log what they serve"),
        };
        Some(answer.map_err(Halt::Fault))
    }

    /// Returns whether an iteration of a loop without an upper bound is beyond the declared steps.
    fn is_beyond(&self, number: u32, last: Option<u32>) -> bool {
        last.is_none() && self.stage.tokens.is_some_and(|steps| number >= steps)
    }

    fn ask_at(
        &mut self,
        who: usize,
        event: &'static str,
        point: &str,
        value: Option<Value>,
    ) -> Option<Result<Value, Fault>> {
        let iteration = self.stage.tasks[who].own().iteration;
        let site = format!("{point}.i{iteration}");
        let is_here = self.here.as_ref().is_some_and(|here| here.site == site);
        // R24: who waited when a site was left out waits on.
        let is_past = !self.is_parked[who] && self.stage.count(point) > iteration;
        let answer = if !self.stage.has_point(point) {
            Err(Fault::of(Cause::UnknownSite)) // R13
        } else if is_here {
            self.serve(who, event, &site, value)
        } else if is_past {
            Err(Fault::about(Cause::OutOfOrder, &site)) // R10
        } else if self.is_closing {
            Err(Fault::about(Cause::NotProvided, &site)) // R11
        } else {
            self.is_parked[who] = true;
            return None;
        };
        let refused = answer.as_ref().err().map(|fault| fault.cause);
        self.note(who, event, &site, refused);
        if answer.is_ok() {
            self.came_to.served.push(Served(who as u32, event, site));
        }
        Some(answer)
    }

    /// R91: puts gradients behind what passes.
    fn hooked(&mut self, site: &str, value: Value) -> Value {
        if !self.stage.scene.has_gradients {
            return value;
        }
        let value = map(&value, &mut |array| match array.node() {
            _ if array.is_whole() => array.clone(),
            Some(_) => array.hooked(),
            None => array.leaf(true),
        });
        let place = self.slopes.hooked.len();
        for array in arrays(&value) {
            let node = array.node().expect("it was given one");
            self.slopes.of_array.insert(node.number(), place);
        }
        let (point, iteration) = site.rsplit_once(".i").unwrap_or((site, "0"));
        let site = format!("{point}.grad.i{iteration}");
        self.slopes.last.insert(site.clone(), place);
        let hooked = Hooked {
            site,
            value: value.clone(),
        };
        self.slopes.hooked.push(hooked);
        value
    }

    /// R93: takes a loss for the pass after the site at hand.
    fn lose(&mut self, who: usize, loss: &Value) -> Result<Value, Fault> {
        let is_forward = self
            .here
            .as_ref()
            .is_some_and(|here| !here.site.contains(".grad.i"));
        let taken = match loss {
            _ if !is_forward => Err(Fault::of(Cause::NoBackward)),
            Thing::Tensor(loss) if loss.number().is_some() && !loss.is_whole() => Ok(loss.clone()),
            _ => Err(Fault::of(Cause::Loss)),
        };
        let refused = taken.as_ref().err().map(|fault| fault.cause);
        self.note(who, "BACKWARD", "", refused);
        self.slopes.losses.push((who, taken?));
        Ok(Thing::None)
    }

    /// R93: one pass over the sum of the losses, when all have had their turn; R95: at its end the
    /// parameters.
    fn backward(&mut self) {
        let mut losses = std::mem::take(&mut self.slopes.losses);
        if losses.is_empty() {
            return;
        }
        losses.sort_by_key(|(who, _)| *who);
        let (asking, losses): (Vec<usize>, Vec<Array>) = losses.into_iter().unzip();
        let Ok(mut pass) = Pass::new(&losses) else {
            self.broken = Some(Fault::of(Cause::Backward));
            return;
        };
        let number = self.slopes.begun;
        self.slopes.begun += 1;
        while let Some(next) = pass.next() {
            let place = self.slopes.of_array.get(&next).copied();
            let hooked = place.map(|place| (place, self.slopes.hooked[place].clone()));
            let is_due = |(place, hooked): &(usize, Hooked)| {
                self.slopes.last[&hooked.site] == *place
                    && !self.slopes.passed.contains(&hooked.site)
            };
            if let Some((_, Hooked { site, value })) = hooked.filter(is_due) {
                let gradient = gradient_of(&value, &|number| pass.gradient(number));
                let Some(gradient) = self.pass_gradient(&site, gradient) else {
                    return;
                };
                replace(&value, &gradient, &mut pass);
            }
            pass.step();
        }
        for path in self.stage.scene.parameters.clone() {
            let network = self.stage.network();
            let weight = network.weight(&path);
            let own = weight.and_then(|weight| {
                let gradient = pass.gradient(weight.node()?.number())?;
                Some(Array::new(&weight.shape(), gradient.to_vec()))
            });
            if let Some(own) = own {
                let site = format!("{path}.grad.i{number}");
                if self.pass_gradient(&site, Thing::Tensor(own)).is_none() {
                    return;
                }
            }
        }
        self.slopes.over += 1;
        for who in self.stage.all() {
            if !self.has_failed() {
                self.slopes.unreached = Some((who, asking.contains(&who)));
                self.turn(who);
            }
        }
        self.slopes.unreached = None;
    }

    /// Passes a gradient, and returns what became of it; nothing if the pass goes no further.
    fn pass_gradient(&mut self, site: &str, gradient: Value) -> Option<Value> {
        let was_stopped = self.is_stopped;
        self.slopes.passed.insert(site.to_owned());
        self.here = Some(Here {
            site: site.to_owned(),
            value: gradient,
            skips: Vec::new(),
        });
        for who in self.stage.all() {
            self.turn(who);
        }
        let here = self.here.take().expect("the site at hand");
        let goes_on = !self.has_failed() && self.is_stopped == was_stopped;
        goes_on.then_some(here.value)
    }

    fn gradient_at(
        &mut self,
        who: usize,
        of: &str,
        iteration: u32,
        with: Option<Value>,
    ) -> Option<Result<Value, Fault>> {
        let site = format!("{of}.grad.i{iteration}");
        let event = if with.is_some() { "SWAP" } else { "VALUE" };
        let is_parameter = self.stage.scene.parameters.iter().any(|path| path == of);
        let is_here = self.here.as_ref().is_some_and(|here| here.site == site);
        let slopes = &self.slopes;
        let has_none = if is_parameter {
            iteration < slopes.over || (self.is_closing && slopes.begun == 0)
        } else {
            let is_late = self.is_closing || slopes.unreached == Some((who, true));
            is_late && self.stage.count(of) > iteration
        };
        let answer = if !is_parameter && !self.stage.has_point(of) {
            Err(Fault::of(Cause::UnknownSite)) // R13
        } else if is_here {
            self.serve(who, event, &site, with)
        } else if slopes.passed.contains(&site) {
            Err(Fault::about(Cause::OutOfOrder, &site)) // R91
        } else if has_none {
            Err(Fault::of(Cause::NoGradient)) // R91, R95
        } else if self.is_closing {
            Err(Fault::about(Cause::NotProvided, &site)) // R11
        } else {
            self.is_parked[who] = true;
            return None;
        };
        let refused = answer.as_ref().err().map(|fault| fault.cause);
        self.note(who, event, &site, refused);
        if answer.is_ok() {
            self.came_to.served.push(Served(who as u32, event, site));
        }
        Some(answer)
    }

    /// Does what a body asks for at this very site.
    fn serve(
        &mut self,
        who: usize,
        event: &'static str,
        site: &str,
        value: Option<Value>,
    ) -> Result<Value, Fault> {
        let here = self.here.as_mut().expect("the site at hand");
        let of = site.split(".grad.i").next().unwrap_or_default();
        let is_parameter = self.stage.scene.parameters.iter().any(|path| path == of);
        let Some(value) = value else {
            return Ok(match is_parameter {
                true => here.value.clone(), // R95: it has no rows
                false => self.stage.rows_of(who, &here.value),
            });
        };
        if event == "SKIP" {
            here.skips.retain(|(skipping, _)| *skipping != who);
            here.skips.push((who, value)); // R20
        } else {
            if !fits(&self.stage.rows_of(who, &here.value), &value) {
                return Err(Fault::about(Cause::Misfit, site)); // R51
            }
            here.value = match self.stage.groups[who] {
                Some(rows) => {
                    let put = rows.put(&here.value, &value);
                    put.map_err(|_| Fault::about(Cause::Misfit, site))?
                }
                None => value,
            };
            if !site.contains(".grad.i") {
                let here = self.here.take().expect("the site at hand");
                let value = self.hooked(site, here.value);
                self.here = Some(Here { value, ..here });
            }
        }
        Ok(Thing::None)
    }

    /// R71; of operations a cache has nothing, but it is too late for them, too.
    fn cache(&mut self, who: usize, name: &str, collects: Collects) -> Result<Value, Fault> {
        let network = self.stage.network();
        let modules = network.modules();
        let listed = collects.modules.clone();
        let is_known = |path: &String| modules.contains(path);
        if !listed.iter().flatten().all(is_known) {
            return Err(Fault::of(Cause::UnknownSite));
        }
        let paths = listed.unwrap_or_else(|| {
            let paths = modules.into_iter().chain(network.operations());
            paths.collect()
        });
        let sides = [(collects.inputs, "input"), (collects.outputs, "output")];
        let sides = sides.iter().filter(|(is_side, _)| *is_side);
        let is_late = |point: &String| {
            let is_here = self
                .here
                .as_ref()
                .is_some_and(|here| here.site == format!("{point}.i0"));
            let passed = self.passed.get(point).copied().unwrap_or(0);
            passed > u32::from(is_here)
        };
        let mut points = sides.flat_map(|(_, port)| paths.iter().map(|path| point(path, port)));
        if points.any(|point| is_late(&point)) {
            // One that is refused has collected nothing.
            self.stage.caches.push(Cache::refused(name));
            return Err(Fault::of(Cause::LateCache));
        }
        self.stage
            .caches
            .push(Cache::new(name, Some(who), collects));
        Ok(Thing::None)
    }

    /// R40, R42: lets a body wait until it is released.
    fn arrive(&mut self, who: usize, name: &str) -> Option<Result<Value, Fault>> {
        let Some(&participants) = self.stage.barriers.get(name) else {
            self.note(who, "BARRIER", name, Some(Cause::UnknownBarrier));
            return Some(Err(Fault::of(Cause::UnknownBarrier)));
        };
        if matches!(self.states[who], State::Released(_)) {
            self.states[who] = State::Running;
            self.note(who, "BARRIER", name, None);
            let served = Served(who as u32, "BARRIER", name.to_owned());
            self.came_to.served.push(served);
            return Some(Ok(Thing::None));
        }
        let place = State::AtBarrier(name.to_owned());
        self.states[who] = place.clone();
        let there: Vec<usize> = self.at(&place).collect();
        if there.len() >= participants as usize {
            self.time += 1;
            for who in there {
                self.states[who] = State::Released(self.time);
            }
        }
        None
    }

    fn at<'s>(&'s self, place: &'s State) -> impl Iterator<Item = usize> + 's {
        self.stage
            .all()
            .filter(move |who| self.states[*who] == *place)
    }

    /// Returns who goes on because its barrier has opened: the first of those of the barrier that
    /// opened first.
    fn go_on(&mut self) -> Option<usize> {
        if !self.is_closing && !self.is_halted() && self.has_circle() {
            self.broken = Some(Fault::of(Cause::Circle)); // R44
        }
        let released = self.stage.all().filter_map(|who| match self.states[who] {
            State::Released(time) => Some((time, who)),
            _ => None,
        });
        let first = released.min().map(|(_, who)| who);
        first.filter(|_| self.is_closing || !self.has_failed())
    }

    /// R44: whether there are barriers none of which can open, whichever bodies still come, and
    /// that could if only the others did.
    fn has_circle(&self) -> bool {
        let barriers: Vec<(usize, usize)> = self
            .stage
            .barriers
            .iter()
            .map(|(name, &count)| {
                let here = self.at(&State::AtBarrier(name.clone())).count();
                (here, count as usize)
            })
            .filter(|(here, _)| *here > 0)
            .collect();
        let live = self.states.iter().filter(|state| **state != State::Retired);
        let live = live.count();
        let waiting = |stuck: &[(usize, usize)]| stuck.iter().map(|(here, _)| here).sum::<usize>();
        let mut stuck = barriers.clone();
        for _ in &barriers {
            let free = live - waiting(&stuck);
            stuck.retain(|(here, count)| free + here < *count);
        }
        let free = live - waiting(&stuck);
        for _ in &barriers {
            let all = free + waiting(&stuck);
            stuck.retain(|(_, count)| all >= *count);
        }
        !stuck.is_empty()
    }

    fn note(&mut self, who: usize, event: &'static str, asked: &str, fault: Option<Cause>) {
        self.came_to.exchanges.push(Said {
            who: who as u32,
            event,
            asked: asked.to_owned(),
            at: self.here.as_ref().map(|here| here.site.clone()),
            fault,
        });
    }

    fn has_failed(&self) -> bool {
        !self.failures.is_empty() || self.broken.is_some()
    }

    fn is_halted(&self) -> bool {
        self.is_stopped || self.has_failed()
    }
}

/// The arrays in a value that have gradients, in their order.
fn arrays(value: &Value) -> Vec<Array> {
    let mut all = Vec::new();
    map(value, &mut |array| {
        all.extend(array.node().is_some().then(|| array.clone()));
        array.clone()
    });
    all
}

/// The gradient of a value, of its structure; nothing where there is none.
fn gradient_of<'g>(value: &Value, of: &dyn Fn(u64) -> Option<&'g [f64]>) -> Value {
    let all = |items: &[Value]| items.iter().map(|item| gradient_of(item, of)).collect();
    match value {
        Thing::Tensor(array) => {
            let gradient = array.node().and_then(|node| of(node.number()));
            gradient.map_or(Thing::None, |gradient| {
                Thing::Tensor(Array::new(&array.shape(), gradient.to_vec()))
            })
        }
        Thing::Tuple(items) => Thing::Tuple(all(items)),
        Thing::List(items) => Thing::list(
            items
                .borrow()
                .iter()
                .map(|item| gradient_of(item, of))
                .collect(),
        ),
        Thing::Map(items) => {
            let items = items.iter();
            Thing::Map(
                items
                    .map(|(name, item)| (name.clone(), gradient_of(item, of)))
                    .collect(),
            )
        }
        _ => Thing::None,
    }
}

/// Goes on with what became of a gradient.
fn replace(value: &Value, gradient: &Value, pass: &mut Pass) {
    match (value, gradient) {
        (Thing::Tensor(array), Thing::Tensor(gradient)) => {
            if let Some(node) = array.node() {
                pass.replace(node.number(), gradient.numbers());
            }
        }
        (Thing::Tuple(items), Thing::Tuple(gradients)) => {
            let pairs = items.iter().zip(gradients.iter());
            pairs.for_each(|(item, gradient)| replace(item, gradient, pass));
        }
        (Thing::Map(items), Thing::Map(gradients)) => {
            let pairs = items.iter().zip(gradients.iter());
            pairs.for_each(|((_, item), (_, gradient))| replace(item, gradient, pass));
        }
        _ => {}
    }
}

impl Gates for Run {
    type Halt = Halted;

    fn enter(&mut self, path: &str, call: Value) -> Result<Entered, Halted> {
        let (call, skipped) = self.pass(&point(path, "input"), call)?;
        let Some(output) = skipped else {
            return Ok(Entered::Compute(call));
        };
        self.count_inside(path);
        let is_empty = |output: &Value| has_tensor(output, &|array| array.shape().contains(&0));
        // R20: what is not of the kind that the model passes there is refused; so is a tensor
        // without elements that goes on.
        let is_usable = self.stage.scene.network.is_typed(path, &output);
        if !is_usable || (is_empty(&output) && !path.is_empty()) {
            self.broken = Some(Fault::of(Cause::Unusable));
            return Err(Halted);
        }
        Ok(Entered::Skip(output))
    }

    fn leave(&mut self, path: &str, output: Value) -> Result<Value, Halted> {
        Ok(self.pass(&point(path, "output"), output)?.0)
    }

    fn passes_operations(&mut self, _: &str) -> bool {
        true
    }

    fn unfit(&mut self, _: Unfit) -> Halted {
        self.broken = Some(Fault::of(Cause::ModelPanicked));
        Halted
    }
}
