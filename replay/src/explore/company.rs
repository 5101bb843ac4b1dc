//! Whether an invoke's values depend on which invokes share its batch, for runs that are made anew in either company.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::TensorData;
use interloom_backends::{Run, Value};
use interloom_engine::{Asked, Exchange, Observer, Outcome as Answer, SiteMap};

use super::outcome::{digest_of, took_place};
use crate::error::Error;
use crate::journal::Digest;

/// In which company an invoke runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Company {
    /// With its own rows only.
    Alone,
    /// With the other invokes of its batch.
    Together,
}

/// The first exchange of an invoke that is another one in company.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// The invoke.
    pub invoke: String,
    /// The number of the exchange among those of the invoke, from 0.
    pub index: u64,
    /// What it was alone; `None` if the invoke made fewer exchanges then.
    pub alone: Option<String>,
    /// What it was in company.
    pub together: Option<String>,
    /// The largest absolute difference of two elements, where the values are tensors of one shape.
    pub largest: Option<f64>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(
            f,
            "`{}`, exchange {}: alone {}, in company {}",
            self.invoke,
            self.index,
            said(&self.alone),
            said(&self.together)
        )?;
        match self.largest {
            Some(largest) => write!(f, "; elements differ by at most {largest:e}"),
            None => Ok(()),
        }
    }
}

/// Runs an invoke alone and with the others of its batch, and returns its first exchange that differs, if one does.
///
/// `make` makes the run, its batch and mediators included, for either [`Company`], and returns it with what calls the
/// model. The invoke is the mediator of the name `invoke`, and owns rows in both. Values are compared bit for bit: what is
/// found may be rounding, for kernels may sum in another order for another batch.
///
/// Where the run fails in either company, the exchanges up to there are compared.
///
/// # Errors
///
/// What `make` returns, and [`Error::Forward`] if a run could not take place.
///
/// # Panics
///
/// Panics if a run has no mediator of that name.
pub(crate) fn alone_and_in_company<M: FnOnce()>(
    invoke: &str,
    mut make: impl FnMut(Company) -> Result<(Run, M), Error>,
) -> Result<Option<Mismatch>, Error> {
    let mut exchanges = |company| -> Result<Vec<Line>, Error> {
        let (mut run, model) = make(company)?;
        let lines: Rc<RefCell<Vec<Line>>> = Rc::default();
        let map = run.sites().map().clone();
        let setup = run.setup_mut();
        let place = setup.invokes().iter().position(|own| own.name() == invoke);
        let place = place.unwrap_or_else(|| panic!("no mediator of the run is named `{invoke}`"));
        setup.observer(Watcher {
            mediator: place as u32,
            map,
            lines: lines.clone(),
        });
        if let Err(error) = run.execute(model)
            && !took_place(&error)
        {
            return Err(error.into());
        }
        Ok(lines.take())
    };
    let alone = exchanges(Company::Alone)?;
    let together = exchanges(Company::Together)?;
    Ok(first_difference(invoke, &alone, &together))
}

fn first_difference(invoke: &str, alone: &[Line], together: &[Line]) -> Option<Mismatch> {
    let longest = alone.len().max(together.len());
    let differs = |&index: &usize| match (alone.get(index), together.get(index)) {
        (Some(a), Some(b)) => (&a.text, a.digest) != (&b.text, b.digest),
        _ => true,
    };
    let index = (0..longest).find(differs)?;
    let (a, b) = (alone.get(index), together.get(index));
    Some(Mismatch {
        invoke: invoke.to_owned(),
        index: index as u64,
        alone: a.map(Line::to_string),
        together: b.map(Line::to_string),
        largest: a.zip(b).and_then(|(a, b)| largest_difference(a, b)),
    })
}

/// One exchange of the invoke.
struct Line {
    text: String,
    digest: Option<Digest>,
    tensor: Option<TensorData>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.digest {
            Some(digest) => write!(f, " {}", digest.short()),
            None => Ok(()),
        }
    }
}

struct Watcher {
    mediator: u32,
    map: Arc<SiteMap>,
    lines: Rc<RefCell<Vec<Line>>>,
}

impl Observer<Value> for Watcher {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        if exchange.mediator.0 != self.mediator {
            return;
        }
        let asked = match exchange.asked {
            None => String::new(),
            Some(Asked::Site(site)) => format!(" `{}`", self.map.site_name(site)),
            Some(Asked::Unknown(name) | Asked::Name(name)) => format!(" `{name}`"),
            Some(Asked::Iteration(iteration)) => format!(" {iteration}"),
        };
        let (answer, value) = match exchange.outcome {
            Answer::Served(value) => (String::new(), value),
            Answer::Refused(fault) => (format!(" refused ({})", fault.code()), None),
            Answer::Failed(fault) => (format!(" failed ({})", fault.code()), None),
        };
        let tensor = match value {
            Some(Value::Tensor(tensor)) => Some(tensor.to_data()),
            _ => None,
        };
        self.lines.borrow_mut().push(Line {
            text: format!("{}{asked}{answer}", exchange.event),
            digest: value.map(digest_of),
            tensor,
        });
    }
}

fn largest_difference(alone: &Line, together: &Line) -> Option<f64> {
    let (alone, together) = (alone.tensor.as_ref()?, together.tensor.as_ref()?);
    if alone.shape() != together.shape() {
        return None;
    }
    let pairs = alone.iter::<f64>().zip(together.iter::<f64>());
    pairs.map(|(a, b)| (a - b).abs()).reduce(f64::max)
}
