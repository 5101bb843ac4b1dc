//! Differences between the fields of two exchanges, and their places in values.

use interloom_engine::{Fault, Round};

use super::trees::{between_particulars, between_values, first_pair};
use super::{DivergenceClass, ExchangeLine, FieldDifference, TensorPair};
use crate::{CacheDeclaration, ExchangeRecord, Names, SiteRef, fault};

impl Names {
    pub(super) fn line(&self, exchange: &ExchangeRecord) -> ExchangeLine {
        ExchangeLine {
            index: exchange.index,
            mediator: self.mediator(exchange.mediator),
            event: exchange.event,
            asked: exchange.asked.map(|site| self.site(site)),
            at: exchange.at.map(|site| self.site(site)),
            result: exchange.result,
            value: exchange.value.clone(),
            reshape: exchange.reshape,
            round: exchange.round,
            fault: exchange.fault.clone(),
            origin: exchange.origin.clone(),
        }
    }
}

/// What was found between two exchanges.
pub(super) struct Found {
    pub(super) class: DivergenceClass,
    pub(super) differences: Vec<FieldDifference>,
    pub(super) tensors: Option<TensorPair>,
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) exchange: &'a ExchangeRecord,
    pub(super) names: &'a Names,
}

impl Named<'_> {
    fn mediator(self) -> String {
        self.names.mediator(self.exchange.mediator)
    }

    fn site(self, site: Option<SiteRef>) -> String {
        site.map_or_else(|| "none".to_owned(), |site| self.names.site(site))
    }
}

/// Whether two exchanges are the same but for their index and origin.
pub(super) fn alike(recorded: Named<'_>, live: Named<'_>) -> bool {
    let (a, b) = (recorded.exchange, live.exchange);
    belong(recorded, live) && a.value == b.value
}

/// Whether two exchanges belong together: the same was asked for at the same site, and became of
/// it, whatever the value.
///
/// Where the order changed, values change with it.
pub(super) fn belong(recorded: Named<'_>, live: Named<'_>) -> bool {
    same_schedule(recorded, live) && same_protocol(recorded, live)
}

/// Compares two exchanges; `None` if they are equal.
pub(super) fn compare(recorded: Named<'_>, live: Named<'_>) -> Option<Found> {
    let (a, b) = (recorded.exchange, live.exchange);
    if a.index == b.index && a.run == b.run && alike(recorded, live) {
        return None;
    }
    let class = if !same_schedule(recorded, live) {
        DivergenceClass::Schedule
    } else if a.index != b.index || a.run != b.run || !same_protocol(recorded, live) {
        DivergenceClass::Protocol
    } else {
        DivergenceClass::Value
    };
    let mut differences = Vec::new();
    for (field, is_same, text) in texts(recorded, live) {
        if !is_same {
            push(&mut differences, field, text(recorded), text(live));
        }
    }
    differences.extend(between_faults(a.fault.as_ref(), b.fault.as_ref()));
    add(&mut differences, "index", a.index, b.index);
    add(&mut differences, "run", a.run, b.run);
    differences.extend(between_values(a.value.as_ref(), b.value.as_ref()));
    Some(Found {
        class,
        differences,
        tensors: first_pair(a.value.as_ref(), b.value.as_ref()),
    })
}

/// Compares two cache declarations; `None` if they are equal.
pub(super) fn compare_caches(
    (recorded, recorded_names): (&CacheDeclaration, &Names),
    (live, live_names): (&CacheDeclaration, &Names),
) -> Option<Found> {
    if recorded == live {
        return None;
    }
    let mut differences = Vec::new();
    if recorded.mediator != live.mediator {
        let mediators = (
            recorded_names.mediator(recorded.mediator),
            live_names.mediator(live.mediator),
        );
        push(&mut differences, "mediator", mediators.0, mediators.1);
    }
    add(&mut differences, "cache", recorded.number, live.number);
    if recorded.modules != live.modules {
        let [recorded, live] = [recorded, live].map(|cache| match &cache.modules {
            Some(modules) => format!("{modules:?}"),
            None => "all".to_owned(),
        });
        push(&mut differences, "modules", recorded, live);
    }
    add(&mut differences, "inputs", recorded.inputs, live.inputs);
    add(&mut differences, "outputs", recorded.outputs, live.outputs);
    differences.extend(between_faults(recorded.fault.as_ref(), live.fault.as_ref()));
    add(&mut differences, "run", recorded.run, live.run);
    // Another mediator at this place is another order.
    let class = if recorded.mediator == live.mediator {
        DivergenceClass::Protocol
    } else {
        DivergenceClass::Schedule
    };
    Some(Found {
        class,
        differences,
        tensors: None,
    })
}

/// A field of two exchanges: its name, whether both have the same, and how it reads.
type Field = (&'static str, bool, fn(Named<'_>) -> String);

/// The fields of two exchanges but fault, numbers and value, most telling first.
fn texts(recorded: Named<'_>, live: Named<'_>) -> [Field; 7] {
    let (a, b) = (recorded.exchange, live.exchange);
    [
        ("mediator", a.mediator == b.mediator, |side| side.mediator()),
        ("at", same_site(recorded, a.at, live, b.at), |side| {
            side.site(side.exchange.at)
        }),
        ("event", a.event == b.event, |side| {
            side.exchange.event.name().into()
        }),
        (
            "asked",
            same_site(recorded, a.asked, live, b.asked),
            |side| side.site(side.exchange.asked),
        ),
        ("result", a.result == b.result, |side| {
            side.exchange.result.name().into()
        }),
        ("reshape", a.reshape == b.reshape, |side| {
            side.exchange.reshape.to_string()
        }),
        ("loop", a.round == b.round, |side| {
            round_text(side.exchange.round)
        }),
    ]
}

fn same_schedule(recorded: Named<'_>, live: Named<'_>) -> bool {
    recorded.exchange.mediator == live.exchange.mediator
        && same_site(recorded, recorded.exchange.at, live, live.exchange.at)
}

fn same_protocol(recorded: Named<'_>, live: Named<'_>) -> bool {
    let (a, b) = (recorded.exchange, live.exchange);
    a.event == b.event
        && a.result == b.result
        && a.fault == b.fault
        && (a.reshape, a.round) == (b.reshape, b.round)
        && same_site(recorded, a.asked, live, b.asked)
}

/// Sites are compared by text: each side numbers its paths for itself.
fn same_site(a: Named<'_>, site_a: Option<SiteRef>, b: Named<'_>, site_b: Option<SiteRef>) -> bool {
    match (site_a, site_b) {
        (None, None) => true,
        (Some(site_a), Some(site_b)) => {
            let texts = (a.names.path(site_a.path), b.names.path(site_b.path));
            let same_path = match texts {
                (Some(text_a), Some(text_b)) => text_a == text_b,
                // Without texts the numbers are all there is.
                (None, None) => site_a.path == site_b.path,
                _ => false,
            };
            same_path && site_a.iteration == site_b.iteration
        }
        _ => false,
    }
}

/// Adds a field if it differs.
pub(super) fn add<T: PartialEq + ToString>(
    differences: &mut Vec<FieldDifference>,
    field: &str,
    recorded: T,
    live: T,
) {
    if recorded != live {
        push(differences, field, recorded.to_string(), live.to_string());
    }
}

/// Adds a field that differs.
pub(super) fn push(
    differences: &mut Vec<FieldDifference>,
    field: &str,
    recorded: String,
    live: String,
) {
    differences.push(FieldDifference {
        field: field.to_owned(),
        recorded,
        live,
    });
}

/// The particulars in which two faults of one code differ; or both as they read.
fn between_faults(recorded: Option<&Fault>, live: Option<&Fault>) -> Vec<FieldDifference> {
    if recorded == live {
        return Vec::new();
    }
    if let (Some(a), Some(b)) = (recorded, live)
        && fault::code(a) == fault::code(b)
    {
        return between_particulars("fault", &fault::particulars(a), &fault::particulars(b));
    }
    let text = |fault: Option<&Fault>| match fault {
        Some(fault) => format!("{}: {fault}", fault.code()),
        None => "none".to_owned(),
    };
    let mut differences = Vec::new();
    push(&mut differences, "fault", text(recorded), text(live));
    differences
}

fn round_text(round: Round) -> String {
    match round {
        Round::Alone => "none".to_owned(),
        Round::Open => "without an end".to_owned(),
        Round::Until { last } => format!("to iteration {last}"),
    }
}
