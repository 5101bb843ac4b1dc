//! The report of a divergence for programs.

use serde_json::{Value, json};

use super::{
    Alignment, Divergence, DivergenceSide, EnvironmentDifference, ExchangeLine, FieldDifference,
    RunIdentity, TensorDifference, TensorPair, ValueSource,
};
use crate::names::round_json;
use crate::{BackwardTurn, fault, value_json};

impl Divergence {
    /// Returns the same facts as `Display`, as JSON for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "code": Self::CODE,
            "class": self.class.name(),
            "index": self.index,
            "run": self.run,
            "mediator": self.mediator,
            "site": self.site,
            "backward_pass": self.backward_pass,
            "recorded": side(&self.recorded),
            "live": side(&self.live),
            "differences": self.differences.iter().map(field).collect::<Vec<_>>(),
            "context": self.context.iter().map(line).collect::<Vec<_>>(),
            "following": self.following.iter().map(line).collect::<Vec<_>>(),
            "alignment": self.alignment.map(alignment),
            "source": self.source.map(source),
            "tensors": self.tensors.as_ref().map(pair),
            "tensor": self.tensor.as_ref().map(tensor),
            "notes": self.notes(),
            "environment": environment(&self.environment),
            "made": self.made.each_ref().map(|made| made.as_ref().map(self::made)),
            "journals": self.journals,
        })
    }
}

pub(super) fn environment(differences: &[EnvironmentDifference]) -> Vec<Value> {
    let each = |difference: &EnvironmentDifference| {
        json!({
            "subject": difference.subject,
            "recorded": difference.recorded,
            "live": difference.live,
            "changed": difference.changed,
            "changed_count": difference.changed_count,
        })
    };
    differences.iter().map(each).collect()
}

fn made(made: &RunIdentity) -> Value {
    json!({ "id": made.id.to_string(), "device": made.device, "schedule": made.schedule })
}

fn side(side: &DivergenceSide) -> Value {
    match side {
        DivergenceSide::Exchange(exchange) => json!({ "exchange": line(exchange) }),
        DivergenceSide::RunStart { name, mediators } => {
            json!({ "run_start": { "name": name, "mediators": mediators } })
        }
        DivergenceSide::Open(open) => json!({ "open": line(open) }),
        DivergenceSide::CacheDeclaration {
            mediator,
            number,
            fault,
        } => {
            let fault = fault.as_ref().map(fault::json);
            json!({ "cache_declaration": { "mediator": mediator, "cache": number, "fault": fault } })
        }
        DivergenceSide::Padding(padding) => json!({ "padding": {
            "side": padding.side().name(),
            "lengths": padding.lengths(),
        } }),
        DivergenceSide::Visit {
            site,
            backward_pass,
            turn,
            passed,
            value,
        } => json!({ "visit": {
            "site": site,
            "backward_pass": backward_pass,
            "turn": turn.map(BackwardTurn::name),
            "passed": passed,
            "value": value.as_ref().map(value_json),
        } }),
        DivergenceSide::RunEnd { outcome, code } => {
            json!({ "run_end": { "outcome": outcome, "code": code } })
        }
        DivergenceSide::Nothing => Value::Null,
    }
}

fn line(line: &ExchangeLine) -> Value {
    let origin = line.origin.as_ref();
    json!({
        "index": line.index,
        "mediator": line.mediator,
        "event": line.event.name(),
        "asked": line.asked,
        "at": line.at,
        "result": line.result.name(),
        "value": line.value.as_ref().map(value_json),
        "reshape": line.reshape,
        "loop": round_json(line.round),
        "fault": line.fault.as_ref().map(fault::json),
        "origin": origin.map(|origin| json!({ "file": &*origin.file, "line": origin.line })),
    })
}

fn field(difference: &FieldDifference) -> Value {
    json!({
        "field": difference.field,
        "recorded": difference.recorded,
        "live": difference.live,
    })
}

fn alignment(alignment: Alignment) -> Value {
    match alignment {
        Alignment::Missing(count) => json!({ "missing": count }),
        Alignment::Extra(count) => json!({ "extra": count }),
    }
}

fn source(source: ValueSource) -> Value {
    match source {
        ValueSource::Model => json!("model"),
        ValueSource::Loss => json!("loss"),
        ValueSource::Mediator { last_served } => {
            json!({ "mediator": { "last_served": last_served } })
        }
    }
}

fn pair(pair: &TensorPair) -> Value {
    json!({
        "place": pair.place,
        "dtype": pair.dtype.name(),
        "shape": pair.shape,
        "recorded": pair.recorded,
        "live": pair.live,
    })
}

fn tensor(tensor: &TensorDifference) -> Value {
    json!({
        "elements": tensor.elements,
        "differing": tensor.differing,
        "first": tensor.first,
        "first_recorded": tensor.first_recorded,
        "first_live": tensor.first_live,
        "ulp_max": tensor.ulp_max,
        "relative_max": tensor.relative_max,
        "not_numbers": tensor.not_numbers,
    })
}
