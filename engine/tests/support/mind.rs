//! What a mediator of the reference does: plain recursion over its lines, that is left alone wherever it has to wait.

use std::cell::{RefCell, RefMut};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use interloom_engine::array::Array;
use interloom_engine::{Event, Request};

use crate::programs::Case;
use crate::reference::{Run, Told};
use crate::steps::{Action, Span, Step, action};

/// A mediator, or a child.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Told<()>> + 'a>>;

/// Makes a mediator, which never returns: it retires itself.
pub(crate) fn mediate<'r, 'c: 'r>(
    run: &'r RefCell<Run<'c>>,
    case: &'c Case,
    who: usize,
) -> Running<'r> {
    let register = case.register_of(&case.programs[who]);
    let mut mind = Mind { run, who, register };
    Box::pin(async move {
        match mind.lines(&case.programs[who].lines, &mut 0).await {
            Ok(()) => mind.retire(Event::End, Ok(())).await,
            fault => mind.retire(Event::Exception, fault).await,
        }
    })
}

/// What a mediator does.
struct Mind<'r, 'c> {
    run: &'r RefCell<Run<'c>>,
    who: usize,
    register: Array,
}

impl<'c> Mind<'_, 'c> {
    fn run(&self) -> RefMut<'_, Run<'c>> {
        self.run.borrow_mut()
    }

    fn lines<'a>(&'a mut self, lines: &'c [Step], own: &'a mut u32) -> Running<'a> {
        Box::pin(async move {
            let (who, case) = (self.who, self.run().case);
            for line in lines {
                match action(line, &self.register, &case.model.map) {
                    Action::Next(by) => *own += by, // R33
                    Action::Raise => return Err("E013"),
                    Action::Stop => self.retire(Event::Stop, Ok(())).await,
                    Action::Each(span, body) => self.each(span, body, *own).await,
                    Action::Try(body) => drop(self.lines(body, own).await),
                    Action::Cache(_, collects) => self.run().cache(collects)?,
                    Action::Ask(Request::Barrier { name }) => {
                        self.run().arrive(who, &name)?;
                        poll_fn(|_| match self.run().is_running(who) {
                            true => Poll::Ready(()),
                            false => Poll::Pending,
                        })
                        .await;
                    }
                    Action::Ask(request) => {
                        let value = poll_fn(|_| self.run().ask(who, *own, &request)).await?;
                        if matches!(request.event(), Event::Value | Event::Get) {
                            self.register = value;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// R31: one child for each iteration. R35: the parent's own iteration is not touched.
    async fn each(&mut self, span: &Span, body: &'c [Step], own: u32) {
        let (who, steps) = (self.who, self.run().case.steps);
        let (numbers, last) = span.numbers(own);
        for number in numbers {
            let is_beyond = last.is_none() && steps.is_some_and(|steps| number >= steps);
            let told = if is_beyond { Err("E014") } else { Ok(None) };
            let asked = Some(Err(format!("i{number}")));
            self.run().note(who, Event::Register, asked, told.clone());
            if told.is_err() {
                return;
            }
            let ended = self.lines(body, &mut number.clone()).await;
            match ended {
                Ok(()) => self.run().note(who, Event::End, None, Ok(None)),
                // R12: what never comes ends the loop.
                Err("E003") => return self.run().note(who, Event::Exception, None, Err("E003")),
                Err(code) => return self.retire(Event::Exception, Err(code)).await,
            }
            let is_last = steps.is_some_and(|steps| number + 1 >= steps);
            if last.is_none() && (is_last || self.run().is_closing) {
                return;
            }
        }
    }

    /// Never returns, so that nothing that a retired mediator has in hand goes on.
    async fn retire<T>(&self, event: Event, told: Told<()>) -> T {
        self.run().retire(self.who, event, told);
        pending().await
    }
}
