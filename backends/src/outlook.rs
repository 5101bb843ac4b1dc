//! A dry run of a model: the values that pass its sites, and the replacements that it can continue
//! with.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{Device, TensorData};
use interloom_engine::{CacheSpec, Exchange, Moment, Observer, Site};
use interloom_program::{Operand, Shapes};

use crate::bind::Sites;
use crate::error::ForwardError;
use crate::run::Run;
use crate::value::Value;

/// How many elements a value may have with which a skip is tried.
const TRIED_MAX: u64 = 1 << 24;

impl Sites {
    /// Returns what passes the sites in a pass of `batch` rows, and in which order: with that
    /// programs are checked.
    ///
    /// The model runs once, with its edits and no other mediator; every activation is held until it
    /// has finished.
    ///
    /// # Errors
    ///
    /// As for [`Run::execute`].
    pub fn shapes<Y>(&self, batch: u32, model: impl FnOnce() -> Y) -> Result<Shapes, ForwardError> {
        let mut run = Run::new("shapes", self);
        let cached = run.cache(CacheSpec::all().both().operations());
        let passed = Passed::default();
        run.observer(passed.clone());
        // Also the sites that no cache collects: functions.
        run.trace();
        run.execute(model)?;
        let mut shapes = Shapes::new(batch);
        for site in passed.0.take() {
            shapes.pass(site);
        }
        for site in cached.sites() {
            if let Some(value) = cached.at(site) {
                shapes.add_form(site, value.form());
            }
        }
        Ok(shapes)
    }

    /// Returns why the model cannot continue when the module at the site `input` is not computed,
    /// and zeros of the shape `output` take the place of what it returns for the whole batch;
    /// nothing if it can.
    ///
    /// The model runs, with its edits and no other mediator, once or twice: with integers, and if
    /// that fails with floats. What it makes is thrown away. It must be a function of its input
    /// that fails for shapes and not for numbers.
    pub fn refuses<Y>(
        &self,
        input: Site,
        output: &[u64],
        device: &Device,
        model: impl Fn() -> Y,
    ) -> Option<String> {
        let count = output
            .iter()
            .try_fold(1, |all: u64, &length| all.checked_mul(length));
        count.filter(|&count| count <= TRIED_MAX)?;
        let shape: Vec<usize> = output.iter().map(|&length| length as usize).collect();
        let site = self.site_name(input);
        let floats = TensorData::zeros::<f32, _>(shape.clone());
        let integers = TensorData::zeros::<i32, _>(shape);
        let mut reason = None;
        for zeros in [integers, floats] {
            // What is no tensor for burn cannot be put anywhere.
            let zeros = Value::from_data(zeros, device).ok()?;
            let mut run = Run::new("skip", self);
            let site = site.clone();
            run.mediator("skip", async move |cx| cx.skip_at(&*site, zeros).await);
            reason = Some(match run.execute(&model).err()? {
                ForwardError::Unusable { site, misfit, .. } => format!("at `{site}`, {misfit}"),
                ForwardError::ModelPanicked { message, .. } => message,
                _ => return None,
            });
        }
        reason
    }
}

/// The sites that were passed, in their order.
#[derive(Clone, Default)]
struct Passed(Rc<RefCell<Vec<Site>>>);

impl Observer<Value> for Passed {
    fn exchange(&mut self, _: &Exchange<'_, Value>) {}

    fn moment(&mut self, moment: &Moment<'_, Value>) {
        if let Moment::Enter { passed, .. } | Moment::Finish { passed } = moment {
            self.0.borrow_mut().extend_from_slice(passed);
        }
    }
}
