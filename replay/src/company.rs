//! Whether an invoke's values depend on who shares its batch.
//!
//! An invoke reads and replaces its own rows, so that it should see the same alone and in company, as far as the model keeps
//! rows apart and its arithmetic does not depend on the size of the batch. [`alone_and_in_company`] runs each invoke both ways
//! and names the first exchange that differs.
//!
//! ```
//! use burn::{nn::{Linear, LinearConfig}, prelude::*};
//! use interloom::company::{Mate, alone_and_in_company};
//! use interloom_backends::{Bound, Hooked, Value};
//!
//! let device = Device::flex();
//! let model: Bound<Hooked<Linear>> = Bound::new(LinearConfig::new(2, 2).init(&device).into())?;
//! let double = |name: &str| {
//!     Mate::new(name, Tensor::<2>::ones([1, 2], &device), |cx| async move {
//!         let x = cx.input("").await?;
//!         cx.set_input("", x * 2.0).await?;
//!         cx.output("").await.map(drop)
//!     })
//! };
//! let mates = [double("a"), double("b")];
//! let influences = alone_and_in_company(model.sites(), &mates, |x| model.forward(x.tensor::<2>().unwrap()))?;
//! assert!(influences.is_empty(), "{influences:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use interloom_backends::{AnyTensor, ForwardError, Run, Sites, Value};
use interloom_engine::program::Operand;
use interloom_engine::{
    Asked, Cx, Delivery, Exchange, Fault, Invoke, Mediator, Outcome, SiteMap, Step, Value as _,
};

use crate::divergence::TensorDifference;
use crate::error::Error;
use crate::session::tensor_parts;

/// An invoke that can be made again: a mediator with its rows of the input.
pub struct Mate {
    name: String,
    input: Value,
    make: Make,
}

type Make = Box<dyn Fn(&Arc<SiteMap>) -> Box<dyn Mediator<Value>>>;

/// The first exchange of an invoke that is another in company.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    /// The invoke.
    pub mediator: String,
    /// The number of the exchange, counted from 0 among the invoke's own.
    pub exchange: usize,
    /// What it is alone; nothing if there is none.
    pub alone: Option<String>,
    /// What it is in company; nothing if there is none.
    pub together: Option<String>,
    /// How the elements of its tensor differ, if it is the same but for them; `recorded` is alone, `live` in company.
    pub tensor: Option<TensorDifference>,
}

impl Mate {
    /// Makes an invoke of an async closure and its rows of the input, along dimension 0.
    pub fn new<F, Fut>(name: impl Into<String>, input: impl Into<Value>, program: F) -> Self
    where
        F: Fn(Cx<Value>) -> Fut + Clone + 'static,
        Fut: Future<Output = Result<(), Fault>> + 'static,
    {
        Self::of(name, input, move |map| {
            let (mediator, _) = interloom_engine::mediator(map.clone(), program.clone());
            Box::new(mediator)
        })
    }

    /// Makes an invoke of mediators of any make, such as machines of a program.
    pub fn of(
        name: impl Into<String>,
        input: impl Into<Value>,
        make: impl Fn(&Arc<SiteMap>) -> Box<dyn Mediator<Value>> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            input: input.into(),
            make: Box::new(make),
        }
    }

    fn rows(&self) -> u32 {
        let shape = self.input.shape().unwrap_or_default();
        shape
            .first()
            .map_or(0, |&rows| u32::try_from(rows).unwrap_or(u32::MAX))
    }
}

/// Runs each invoke alone and all of them together, and returns the first exchange of each that differs.
///
/// Who waits for another at a barrier, or reads what another has put on the blackboard, depends on company and is said to.
///
/// # Errors
///
/// [`Error::Forward`] if the model itself fails, or the inputs do not make a batch; a mediator that fails is no error here: its
/// failure is an exchange like others.
pub fn alone_and_in_company<Y>(
    sites: &Sites,
    mates: &[Mate],
    mut model: impl FnMut(Value) -> Y,
) -> Result<Vec<Influence>, Error> {
    let together = listen(sites, &mates.iter().collect::<Vec<_>>(), &mut model)?;
    let mut influences = Vec::new();
    for (mate, together) in mates.iter().zip(together) {
        let alone = listen(sites, &[mate], &mut model)?;
        let alone = alone.into_iter().next().unwrap_or_default();
        influences.extend(first_difference(&mate.name, &alone, &together));
    }
    Ok(influences)
}

/// What became of one request.
struct Heard {
    what: String,
    value: Option<Value>,
}

/// Runs some invokes, and returns what each of them asked for and got.
fn listen<Y>(
    sites: &Sites,
    mates: &[&Mate],
    model: &mut impl FnMut(Value) -> Y,
) -> Result<Vec<Vec<Heard>>, Error> {
    let mut run = Run::new("company", sites);
    let edits = sites.edits().len();
    for mate in mates {
        let mediator = Boxed((mate.make)(sites.map()));
        let invoke = Invoke::new(&mate.name, mediator).rows(mate.rows());
        run.add(invoke.optional());
    }
    let heard: Vec<Vec<Heard>> = mates.iter().map(|_| Vec::new()).collect();
    let heard = Rc::new(RefCell::new(heard));
    let (log, map) = (heard.clone(), sites.map().clone());
    run.observer(move |exchange: &Exchange<'_, Value>| {
        let place = (exchange.mediator.0 as usize).checked_sub(edits);
        let mut log = log.borrow_mut();
        if let Some(own) = place.and_then(|place| log.get_mut(place)) {
            own.push(hear(exchange, &map));
        }
    });
    let inputs = mates.iter().map(|mate| mate.input.clone()).collect();
    let input = Value::join(inputs).map_err(|misfit| interloom_backends::ModelError::Input {
        what: format!("the inputs of the invokes do not make a batch: {misfit}"),
        instead: "let them differ in rows only".to_owned(),
    })?;
    match run.execute(|| model(input)) {
        Ok(_) | Err(ForwardError::Run { .. }) => Ok(heard.take()),
        Err(error) => Err(error.into()),
    }
}

fn hear(exchange: &Exchange<'_, Value>, map: &SiteMap) -> Heard {
    let asked = match exchange.asked {
        None => String::new(),
        Some(Asked::Site(site)) => format!(" {}", map.site_name(site)),
        Some(Asked::Unknown(name) | Asked::Name(name)) => format!(" {name}"),
        Some(Asked::Iteration(iteration)) => format!(" iteration {iteration}"),
    };
    let (end, value) = match &exchange.outcome {
        Outcome::Served(value) => (String::new(), value.cloned()),
        Outcome::Refused(fault) => (format!(" refused ({})", fault.code()), None),
        Outcome::Failed(fault) => (format!(" ({})", fault.code()), None),
    };
    let shape = value
        .as_ref()
        .map_or(String::new(), |value| format!(" {value}"));
    Heard {
        what: format!("{}{asked}{shape}{end}", exchange.event),
        value,
    }
}

fn first_difference(mediator: &str, alone: &[Heard], together: &[Heard]) -> Option<Influence> {
    let most = alone.len().max(together.len());
    let differs = |place: &usize| match (alone.get(*place), together.get(*place)) {
        (Some(alone), Some(together)) => {
            alone.what != together.what || bytes(&alone.value) != bytes(&together.value)
        }
        _ => true,
    };
    let exchange = (0..most).find(differs)?;
    let what = |list: &[Heard]| list.get(exchange).map(|heard| heard.what.clone());
    Some(Influence {
        mediator: mediator.to_owned(),
        exchange,
        alone: what(alone),
        together: what(together),
        tensor: tensor_difference(alone.get(exchange), together.get(exchange)),
    })
}

/// The bytes of all tensors of a value, in the order of its structure; its text has everything else.
fn bytes(value: &Option<Value>) -> Vec<Vec<u8>> {
    tensors(value)
        .into_iter()
        .map(|tensor| tensor_parts(tensor.to_data()).2.as_bytes().to_vec())
        .collect()
}

fn tensors(value: &Option<Value>) -> Vec<AnyTensor> {
    let mut tensors = Vec::new();
    if let Some(value) = value {
        value.each_tensor(&mut |tensor| tensors.push(tensor.clone()));
    }
    tensors
}

/// Compares the first tensors that differ, if the exchanges are the same but for them.
fn tensor_difference(alone: Option<&Heard>, together: Option<&Heard>) -> Option<TensorDifference> {
    let (alone, together) = (alone?, together?);
    if alone.what != together.what {
        return None;
    }
    let pairs = tensors(&alone.value)
        .into_iter()
        .zip(tensors(&together.value));
    let mut differences = pairs.filter_map(|(alone, together)| {
        let (dtype, shape, alone) = tensor_parts(alone.to_data());
        let (_, _, together) = tensor_parts(together.to_data());
        TensorDifference::between(dtype, &shape, alone.as_bytes(), together.as_bytes()).ok()
    });
    differences.next()
}

impl fmt::Display for Influence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_nothing =
            |what: &Option<String>| what.clone().unwrap_or_else(|| "nothing more".to_owned());
        write!(
            f,
            "`{}` differs in company from its exchange {} on: alone {}, in company {}",
            self.mediator,
            self.exchange,
            or_nothing(&self.alone),
            or_nothing(&self.together)
        )?;
        let Some(tensor) = &self.tensor else {
            return Ok(());
        };
        write!(
            f,
            "; {} of {} elements differ, the first at {:?} ({} alone, {} in company)",
            tensor.differing,
            tensor.elements,
            tensor.first,
            tensor.first_recorded,
            tensor.first_live
        )?;
        match tensor.ulp_max {
            Some(distance) => write!(f, ", by at most {distance} ulp"),
            None => Ok(()),
        }
    }
}

/// A mediator that was boxed already.
struct Boxed(Box<dyn Mediator<Value>>);

impl Mediator<Value> for Boxed {
    fn resume(self: Box<Self>, delivery: Delivery<Value>) -> Step<Value> {
        self.0.resume(delivery)
    }
}
