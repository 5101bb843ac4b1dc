//! Which fields of two exchanges differ, and where in their values.

use super::{Class, FieldDifference, Line, TensorPair};
use crate::journal::{Exchange, Head, Names, Quirk, SiteRef, ValueTree};

/// How many differences within a value are shown.
const VALUE_DIFFERENCES_SHOWN: usize = 4;

impl Names {
    pub(super) fn line(&self, exchange: &Exchange) -> Line {
        Line {
            index: exchange.index,
            mediator: self.mediator(exchange.mediator),
            event: exchange.event,
            asked: exchange.asked.map(|site| self.site(site)),
            at: exchange.at.map(|site| self.site(site)),
            result: exchange.result,
            value: exchange.value.clone(),
            fault: exchange.fault.clone(),
            origin: exchange.origin.clone(),
        }
    }
}

/// What was found between two exchanges.
pub(super) struct Found {
    pub(super) class: Class,
    pub(super) differences: Vec<FieldDifference>,
    pub(super) tensors: Option<TensorPair>,
}

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) names: &'a Names,
    /// The head, if it is known.
    pub(super) head: Option<&'a Head>,
}

impl Named<'_> {
    fn mediator(&self) -> String {
        self.names.mediator(self.exchange.mediator)
    }

    fn site(&self, site: Option<SiteRef>) -> String {
        site.map_or_else(|| "none".to_owned(), |site| self.names.site(site))
    }

    /// The fault as far as it can be compared with that of `other`: without its words, if these changed in between.
    fn fault(&self, other: Self) -> Option<(&str, &str)> {
        let fault = self.exchange.fault.as_ref()?;
        let message = match is_worded(self.head) == is_worded(other.head) {
            true => &*fault.message,
            false => "",
        };
        Some((&fault.code, message))
    }
}

/// Whether faults are in the words of [`Quirk::Words`]; in those of this version if the head is not known.
pub(super) fn is_worded(head: Option<&Head>) -> bool {
    head.is_none_or(|head| head.quirks.has(Quirk::Words))
}

/// Whether two exchanges are the same but for their index and origin.
pub(super) fn alike(recorded: Named<'_>, live: Named<'_>) -> bool {
    let (a, b) = (recorded.exchange, live.exchange);
    belong(recorded, live) && a.value == b.value
}

/// Whether two exchanges belong together: the same was asked for at the same site, and became of it, whatever the value.
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
        Class::Schedule
    } else if a.index != b.index || a.run != b.run || !same_protocol(recorded, live) {
        Class::Protocol
    } else {
        Class::Value
    };
    let mut differences = Vec::new();
    for ((field, recorded), (_, live)) in
        texts(recorded, live).into_iter().zip(texts(live, recorded))
    {
        add(&mut differences, field, recorded, live);
    }
    let mut values = ValueDifferences::default();
    values.options(&a.value, &b.value);
    differences.extend(values.into_fields());
    Some(Found {
        class,
        differences,
        tensors: values_pair(&a.value, &b.value),
    })
}

/// The fields of an exchange but its value, most telling first.
fn texts(side: Named<'_>, other: Named<'_>) -> [(&'static str, String); 8] {
    let exchange = side.exchange;
    [
        ("mediator", side.mediator()),
        ("at", side.site(exchange.at)),
        ("event", exchange.event.name().into()),
        ("asked", side.site(exchange.asked)),
        ("result", exchange.result.name().into()),
        ("fault", fault_text(side.fault(other))),
        ("index", exchange.index.to_string()),
        ("run", exchange.run.to_string()),
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
        && recorded.fault(live) == live.fault(recorded)
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

/// Adds a field if its texts differ.
pub(super) fn add(
    differences: &mut Vec<FieldDifference>,
    field: &str,
    recorded: String,
    live: String,
) {
    if recorded != live {
        differences.push(FieldDifference {
            field: field.to_owned(),
            recorded,
            live,
        });
    }
}

fn fault_text(fault: Option<(&str, &str)>) -> String {
    match fault {
        Some((code, "")) => code.to_owned(),
        Some((code, message)) => format!("{code}: {message}"),
        None => "none".to_owned(),
    }
}

#[derive(Default)]
struct ValueDifferences {
    shown: Vec<FieldDifference>,
    count: usize,
}

impl ValueDifferences {
    fn options(&mut self, recorded: &Option<ValueTree>, live: &Option<ValueTree>) {
        match (recorded, live) {
            (Some(recorded), Some(live)) => self.walk(&mut String::new(), recorded, live),
            (None, None) => {}
            _ => {
                let text = |value: &Option<ValueTree>| {
                    value
                        .as_ref()
                        .map_or("none".to_owned(), ValueTree::to_string)
                };
                self.push("", "", text(recorded), text(live));
            }
        }
    }

    fn walk(&mut self, place: &mut String, recorded: &ValueTree, live: &ValueTree) {
        use ValueTree::{List, Map, Tensor, Tuple};
        match (recorded, live) {
            (Tuple(a), Tuple(b)) | (List(a), List(b)) if a.len() == b.len() => {
                for (position, (a, b)) in a.iter().zip(b).enumerate() {
                    self.walk_in(place, &format!("[{position}]"), a, b);
                }
            }
            (Map(a), Map(b)) if same_keys(a, b) => {
                for ((key, a), (_, b)) in a.iter().zip(b) {
                    self.walk_in(place, &format!(".{}", key.escape_debug()), a, b);
                }
            }
            (Tensor { dtype: a, .. }, Tensor { dtype: b, .. }) if a != b => {
                self.push(place, "type", a.to_string(), b.to_string());
            }
            (Tensor { shape: a, .. }, Tensor { shape: b, .. }) if a != b => {
                self.push(place, "shape", format!("{a:?}"), format!("{b:?}"));
            }
            (Tensor { digest: a, .. }, Tensor { digest: b, .. }) => {
                if a != b {
                    self.push(place, "digest", a.short(), b.short());
                }
            }
            _ if recorded == live => {}
            (ValueTree::Float(a), ValueTree::Float(b)) => {
                let text = |float: &f64| format!("{float:?} ({:#018x})", float.to_bits());
                self.push(place, "", text(a), text(b));
            }
            _ => self.push(place, "", recorded.to_string(), live.to_string()),
        }
    }

    fn walk_in(&mut self, place: &mut String, step: &str, recorded: &ValueTree, live: &ValueTree) {
        let length = place.len();
        place.push_str(step);
        self.walk(place, recorded, live);
        place.truncate(length);
    }

    fn push(&mut self, place: &str, aspect: &str, recorded: String, live: String) {
        self.count += 1;
        if self.shown.len() < VALUE_DIFFERENCES_SHOWN {
            let space = if aspect.is_empty() { "" } else { " " };
            self.shown.push(FieldDifference {
                field: format!("value{place}{space}{aspect}"),
                recorded,
                live,
            });
        }
    }

    fn into_fields(mut self) -> Vec<FieldDifference> {
        if self.count > self.shown.len() {
            let more = format!("{} more places", self.count - self.shown.len());
            self.shown.push(FieldDifference {
                field: "value".to_owned(),
                recorded: more.clone(),
                live: more,
            });
        }
        self.shown
    }
}

fn same_keys(a: &[(String, ValueTree)], b: &[(String, ValueTree)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((a, _), (b, _))| a == b)
}

fn values_pair(recorded: &Option<ValueTree>, live: &Option<ValueTree>) -> Option<TensorPair> {
    first_pair(&mut String::new(), recorded.as_ref()?, live.as_ref()?)
}

/// The first two tensors that differ in nothing but their content.
fn first_pair(place: &mut String, recorded: &ValueTree, live: &ValueTree) -> Option<TensorPair> {
    use ValueTree::{List, Map, Tensor, Tuple};
    match (recorded, live) {
        (
            Tensor {
                dtype,
                shape,
                digest,
            },
            Tensor {
                dtype: live_dtype,
                shape: live_shape,
                digest: live_digest,
            },
        ) => {
            let pair = dtype == live_dtype && shape == live_shape && digest != live_digest;
            pair.then(|| TensorPair {
                place: place.clone(),
                dtype: *dtype,
                shape: shape.clone(),
                recorded: *digest,
                live: *live_digest,
            })
        }
        (Tuple(a), Tuple(b)) | (List(a), List(b)) if a.len() == b.len() => {
            let mut items = a.iter().zip(b).enumerate();
            items.find_map(|(position, (a, b))| pair_in(place, &format!("[{position}]"), a, b))
        }
        (Map(a), Map(b)) if same_keys(a, b) => {
            let mut entries = a.iter().zip(b);
            entries.find_map(|((key, a), (_, b))| {
                pair_in(place, &format!(".{}", key.escape_debug()), a, b)
            })
        }
        _ => None,
    }
}

fn pair_in(
    place: &mut String,
    step: &str,
    recorded: &ValueTree,
    live: &ValueTree,
) -> Option<TensorPair> {
    let length = place.len();
    place.push_str(step);
    let pair = first_pair(place, recorded, live);
    place.truncate(length);
    pair
}
