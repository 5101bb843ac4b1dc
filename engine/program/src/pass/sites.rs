//! The requests of a program for the model's sites: their order, and the replacements.

use interloom_engine::{CacheSpec, Point, Port, ProgramFault, Site};

use super::Pass;
use super::shape::Shape;
use crate::error::{Place, ProgramError};
use crate::expr::Expr;
use crate::form::{Form, Shapes};
use crate::known::Skipped;
use crate::step::Over;

/// A site that was passed when the program comes to the step at hand.
pub(super) struct Reached {
    /// Its place in the order of the run; of a gradient, that of its value.
    place: u64,
    site: Site,
    /// Whether it is that of the mediator's own iteration, which in a loop is another in each
    /// round.
    is_own: bool,
    /// Where it was asked for.
    at: Place,
}

/// The place after all sites.
const END: u64 = u64::MAX;

/// Where a mediator is between two of its requests.
pub(super) enum Stand {
    /// Before the model has started.
    Start,
    /// At the site of a gradient, in a backward pass.
    Gradient(Site),
    /// At a site of the forward pass, or at an unknown one.
    Anywhere,
}

impl Pass<'_> {
    /// Asks for a site, in its place among the others that the model passes.
    ///
    /// A gradient comes after its value, whose place it has. In which order gradients come is for
    /// the graph to say, which is not known here.
    pub(super) fn ask(&mut self, name: &str) -> Result<(), ProgramError> {
        let site = self.site(name);
        self.stand = match site {
            Some(site) if site.point.port.is_gradient() => Stand::Gradient(site),
            _ => Stand::Anywhere,
        };
        // Which losses reach a parameter is for the graph to say.
        if site.is_some_and(|site| site.point.is_parameter()) {
            self.is_doubtful |= self.loops > 0;
            return Ok(());
        }
        let place = site.and_then(|site| self.place(value_of(site)).zip(Some(site)));
        let Some((place, site)) = place else {
            // In a loop this is how it ends.
            self.is_doubtful |= self.loops > 0;
            return match site {
                Some(site) if self.loops == 0 => self.check_passed(site),
                _ => Ok(()),
            };
        };
        if let Some(reached) = self.reached.as_ref().filter(|_| self.tries == 0)
            && !site.point.port.is_gradient()
            && place < reached.place
            && self.is_steady(site, value_of(reached.site))
        {
            let map = self.known.map;
            return Err(ProgramError::Order {
                at: self.cursor.place(),
                asked: map.site_name(site),
                reached: match reached.place {
                    END => format!("all of `{}`", map.point_name(reached.site.point)),
                    _ => format!("`{}`", map.site_name(reached.site)),
                },
                since: Box::new(reached.at.clone()),
            });
        }
        // A loop ends without a word if what it asks for is never passed.
        self.is_doubtful |= self.loops > 0 && !self.is_calm();
        let is_certain = self.tries == 0 && !self.is_doubtful;
        let is_later = |reached: &Reached| reached.place < place;
        if is_certain && self.reached.as_ref().is_none_or(is_later) {
            let at = Place {
                // It is the same as that of the later request.
                mediator: None,
                ..self.cursor.place()
            };
            self.reached = Some(Reached {
                place,
                site,
                is_own: matches!(self.known.map.site(name), Some((_, None))),
                at,
            });
        }
        Ok(())
    }

    /// Returns the place of a site in the order of the run.
    ///
    /// Of a generation the first two steps are known, and the others are as the second: so is a
    /// point that each of these passes once.
    fn place(&self, site: Site) -> Option<u64> {
        let (order, is_whole) = self.known.order?;
        if let Some(place) = order.place(site) {
            return Some(place.into());
        }
        let steps = self.known.steps.flatten().filter(|_| !is_whole)?;
        let last = order.last(site)?;
        let is_later_step = last.iteration == 1 && site.iteration < steps;
        let beyond = u64::from(site.iteration.checked_sub(1).filter(|_| is_later_step)?);
        Some(u64::from(order.place(last)?) + beyond * order.len() as u64)
    }

    /// Notes what a loop has reached in its last round, which every run comes to that comes behind
    /// the loop: a loop that ends before has seen the end of the model.
    ///
    /// `before` is the place that was reached before the loop, `first` its first iteration.
    pub(super) fn reach_last_round(&mut self, over: &Over, before: u64, first: Option<u32>) {
        let last = match over {
            Over::One(iteration) => Some(*iteration),
            Over::List(list) => list.iter().max().copied(),
            Over::Slice { end: Some(end), .. } => end.checked_sub(1),
            Over::Slice { end: None, .. } => match self.known.steps {
                Some(Some(steps)) => steps.checked_sub(1),
                Some(None) => Some(u32::MAX),
                None => None,
            },
        };
        let (Some(last), Some(reached)) = (last, &self.reached) else {
            return;
        };
        let is_of_loop = reached.place > before
            && reached.is_own
            && Some(reached.site.iteration) == first
            && !reached.site.point.port.is_gradient();
        if !is_of_loop || Some(last) <= first {
            return;
        }
        let site = reached.site.point.at(last);
        let place = self.place(value_of(site));
        let is_whole = self.known.order.is_some_and(|(_, is_whole)| is_whole);
        let is_beyond = is_whole
            || self
                .known
                .steps
                .flatten()
                .is_some_and(|steps| last >= steps);
        if let Some(reached) = &mut self.reached {
            match place {
                Some(place) => (reached.place, reached.site) = (place, site),
                None if is_beyond => reached.place = END,
                None => {}
            }
        }
    }

    /// Returns the place that every run has reached that comes here.
    pub(super) fn reached_place(&self) -> u64 {
        self.reached.as_ref().map_or(0, |reached| reached.place)
    }

    /// Refuses a request for what the run never passes.
    fn check_passed(&self, site: Site) -> Result<(), ProgramError> {
        match self.known.order {
            Some((order, true)) if !self.may_count_beyond(order, value_of(site)) => {
                let last = order.last(value_of(site));
                let last = last.map(|last| site.point.at(last.iteration));
                Err(self.fault(ProgramFault::NeverPassed {
                    site: self.known.map.site_name(site),
                    last: last.map(|last| self.known.map.site_name(last)),
                }))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the iterations of a point may go beyond those of the pass, because modules
    /// around it are skipped and count all the same.
    ///
    /// They cannot if each of these is passed once, and the point once in that.
    fn may_count_beyond(&self, order: &Shapes, site: Site) -> bool {
        if self.is_computed() || order.last(site).is_none() {
            return false;
        }
        let map = self.known.map;
        let path = map.path_name(site.point.path);
        let around = path.match_indices('.').map(|(end, _)| &path[..end]);
        let place = |point: Option<Point>| order.place(point?.at(0));
        let is_sure = |module: &str| {
            let input = map.point_at(module, Port::Input);
            let Some(entered) = place(input) else {
                return true;
            };
            let is_inside = place(Some(site.point)) > Some(entered)
                && place(Some(site.point)) < place(map.point_at(module, Port::Output));
            let is_once = |point: Point| order.is_single(point.at(0));
            is_inside && is_once(site.point) && input.is_some_and(is_once)
        };
        !around.into_iter().all(is_sure)
    }

    /// Refuses a cache of what was passed before.
    pub(super) fn cache(&self, spec: &CacheSpec) -> Result<(), ProgramError> {
        let (Some((order, _)), Some(reached)) = (self.known.order, &self.reached) else {
            return Ok(());
        };
        let map = self.known.map;
        let points = spec.points(map).unwrap_or_default().into_iter();
        let is_passed = |point: &Point| {
            let place = order.place(value_of(point.at(0)));
            place
                .map(u64::from)
                .is_some_and(|place| match point.port.is_gradient() {
                    // Its value has passed without a hook, also if it is still at hand.
                    true => place <= reached.place,
                    false => place < reached.place,
                })
        };
        let passed: Vec<String> = points
            .filter(is_passed)
            .map(|point| map.point_name(point))
            .collect();
        // What is skipped is not passed.
        match passed.is_empty() || !self.is_computed() {
            true => Ok(()),
            false => Err(self.fault(ProgramFault::LateCache {
                passed,
                reached: map.site_name(reached.site),
                since: reached.at.to_string(),
            })),
        }
    }

    /// Returns whether no module of the run is skipped.
    fn is_computed(&self) -> bool {
        self.known.effects.is_some_and(|effects| effects.skips == 0)
    }

    /// Returns whether every run passes these two in the known order, or passes the earlier one
    /// never.
    fn is_steady(&self, asked: Site, reached: Site) -> bool {
        // If a module is skipped that calls it, the next call is the first.
        let is_single = self.known.order.is_some_and(|(order, is_whole)| {
            is_whole && order.is_single(asked) && order.is_single(reached)
        });
        match self.loops {
            0 => self.is_computed() || is_single,
            _ => self.is_calm(),
        }
    }

    /// Returns whether the model certainly passes its sites, as long as no mediator fails.
    fn is_calm(&self) -> bool {
        let effects = self.known.effects;
        effects.is_some_and(|effects| effects.skips == 0 && !effects.stops)
    }

    pub(super) fn write(
        &mut self,
        site: &str,
        value: &Expr,
        reshape: bool,
    ) -> Result<(), ProgramError> {
        let found = self.value("a write", value)?;
        self.ask(site)?;
        let is_gradient = |(point, _): (Point, _)| point.port.is_gradient();
        // A gradient keeps its shape.
        if reshape && !self.known.map.site(site).is_some_and(is_gradient) {
            self.is_reshaped = true;
            return Ok(());
        }
        match self.form_at(site) {
            Some(expected) if found.is_unlike(&expected) => Err(ProgramError::Shape {
                at: self.cursor.place(),
                site: site.to_owned(),
                expected: expected.to_string(),
                found: found.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks a skip: what it puts in place of the module's output may have another shape, if the
    /// model can continue with that.
    pub(super) fn skip(&mut self, site: &str, value: &Expr) -> Result<(), ProgramError> {
        let found = self.value("a skip", value)?;
        self.ask(site)?;
        self.check_skippable(site)?;
        self.note_skip(site, &found);
        let output = self.known.map.site(site).map(|(point, iteration)| {
            let output = Point::new(point.path, Port::Output);
            (output, iteration)
        });
        let expected = output.and_then(|(output, iteration)| self.form_of(output, iteration));
        let Some(expected) = expected else {
            self.is_reshaped = true;
            return Ok(());
        };
        if !matches!(found, Shape::Unknown) && !found.is_unlike(&expected) {
            return Ok(());
        }
        self.is_reshaped = true;
        match self.no_output(site, &found, &expected) {
            None => Ok(()),
            Some(reason) => Err(self.fault(ProgramFault::Skip {
                site: site.to_owned(),
                expected: expected.to_string(),
                found: found.to_string(),
                reason,
            })),
        }
    }

    fn note_skip(&mut self, name: &str, found: &Shape) {
        let is_certain = self.tries == 0 && self.loops == 0 && !self.is_doubtful;
        if let Some(site) = self.site(name).filter(|_| is_certain) {
            self.skipped.push(Skipped {
                at: self.cursor.place(),
                site,
                output: match found {
                    Shape::Tensor(shape) => Some(shape.clone()),
                    _ => None,
                },
            });
        }
    }

    /// Refuses a skip of what is no module's input.
    fn check_skippable(&self, name: &str) -> Result<(), ProgramError> {
        let map = self.known.map;
        let is_unfit = |&(point, _): &(Point, Option<u32>)| {
            point.port != Port::Input || !map.has(Point::new(point.path, Port::Output))
        };
        match map.site(name).filter(is_unfit) {
            None => Ok(()),
            Some(_) => Err(self.fault(ProgramFault::Unskippable(name.to_owned()))),
        }
    }

    /// Returns why the model cannot continue with another form in place of a module's output, if no
    /// mediator can mend it.
    fn no_output(&self, site: &str, found: &Shape, expected: &Form) -> Option<String> {
        let effects = self.known.effects?;
        // Another skip may win, a stop comes before the model continues, and a reshaping swap may
        // put it right.
        if effects.skips != 1 || effects.stops || effects.reshapes {
            return None;
        }
        let (shapes, rows) = self.known.shapes?;
        match (found, expected) {
            (Shape::Unknown, _) => None,
            (Shape::Tensor(shape), Form::Tensor(_)) => {
                let mut whole = shape.clone();
                if let (Some(rows), Some(first)) = (rows, whole.first_mut())
                    && *first == u64::from(rows)
                {
                    *first = shapes.batch().into();
                }
                let model = self.known.model?;
                model.0.skip(self.site(site)?, &whole)
            }
            _ => Some("it is of another structure".to_owned()),
        }
    }

    /// Returns the site that a name means; in a loop, in its first round.
    fn site(&self, name: &str) -> Option<Site> {
        let (point, iteration) = self.known.map.site(name)?;
        Some(point.at(iteration.or(self.iteration)?))
    }

    /// Returns what the mediator reads at a site.
    pub(super) fn form_at(&self, name: &str) -> Option<Form> {
        let (point, iteration) = self.known.map.site(name)?;
        self.form_of(point, iteration)
    }

    /// Returns what the mediator reads at a point: in a loop, in its first round if every run comes
    /// to the step in that, and else in any of the iterations that may be meant.
    fn form_of(&self, point: Point, iteration: Option<u32>) -> Option<Form> {
        let (shapes, rows) = self.known.shapes?;
        let map = self.known.map;
        let is_first = !self.is_moving || !self.is_doubtful;
        let iteration = iteration.or(self.iteration.filter(|_| is_first));
        let form = match iteration {
            _ if self.is_reshaped => None,
            Some(iteration) => shapes.form(map, value_of(point.at(iteration)), rows),
            None => shapes.form_of_point(map, value_of(point.at(0)), rows),
        };
        // Which parts of a tuple have a gradient is not known.
        let is_tensor = |form: &Form| matches!(form, Form::Tensor(_));
        form.filter(|form| !point.port.is_gradient() || is_tensor(form))
    }
}

/// Returns the site of the value that a gradient is of, or else the site itself.
fn value_of(site: Site) -> Site {
    site.point.forward().at(site.iteration)
}
