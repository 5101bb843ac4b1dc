//! The skips of a run, whose invokes share a batch: they skip a module together, and their rows
//! make one output; or one that has no rows skips it for all of them.

use std::collections::BTreeSet;

use interloom_engine::{Point, SiteMap};
use interloom_program::{Action, Place, ProgramError, ProgramFault, Skipped};

use super::outlook::Outlook;
use super::plan::{InvokePlan, RunPlan};

/// Checks the skips that every run comes to, of each invoke in order.
pub(super) fn check(
    run: &RunPlan,
    skips: &[Vec<Skipped>],
    outlook: &Outlook<'_>,
    map: &SiteMap,
) -> Result<(), ProgramError> {
    // A stop at the module keeps it from being skipped.
    if outlook.stops() {
        return Ok(());
    }
    let owners = run.invokes.iter().zip(skips);
    let owners: Vec<(&InvokePlan, &Vec<Skipped>)> = owners
        .filter(|(invoke, _)| invoke.input.is_some())
        .collect();
    let may_skip =
        |invoke: &InvokePlan, skip: &Skipped| points(invoke, map).contains(&skip.site.point);
    let is_whole = |skip: &&Skipped| {
        let mut rowless = run.invokes.iter().filter(|invoke| invoke.input.is_none());
        rowless.any(|invoke| may_skip(invoke, skip))
    };
    for skip in skips.iter().flatten().filter(|skip| !is_whole(skip)) {
        let others = owners.iter().map(|(invoke, _)| *invoke);
        let others = others.filter(|invoke| !may_skip(invoke, skip));
        let others: Vec<String> = others.map(|invoke| format!("`{}`", invoke.name)).collect();
        if !others.is_empty() {
            let fault = ProgramFault::PartialSkip {
                site: map.site_name(skip.site),
                others: others.join(", "),
            };
            return Err(impossible(&skip.at, fault));
        }
    }
    let only: Option<Vec<&Skipped>> = owners.iter().map(|(_, skips)| skips.first()).collect();
    match only {
        // Rows that differ in length are not alike before they are padded.
        Some(_) if outlook.is_padded() => Ok(()),
        Some(only) if only.len() > 1 && outlook.skips() as usize == only.len() => {
            check_join(&only, outlook, map)
        }
        _ => Ok(()),
    }
}

/// Checks what the only skips of a run put out together.
fn check_join(
    skips: &[&Skipped],
    outlook: &Outlook<'_>,
    map: &SiteMap,
) -> Result<(), ProgramError> {
    let first = skips[0];
    let outputs: Option<Vec<&Vec<u64>>> = skips.iter().map(|skip| skip.output.as_ref()).collect();
    let is_one = skips.iter().all(|skip| skip.site == first.site);
    let Some(outputs) = outputs.filter(|_| is_one) else {
        return Ok(());
    };
    let found: Vec<String> = outputs.iter().map(|shape| format!("{shape:?}")).collect();
    let fault = |reason: String| ProgramFault::Skip {
        site: map.site_name(first.site),
        expected: "what the module puts out".to_owned(),
        found: format!("tensors {}", found.join(", ")),
        reason,
    };
    let inner = |shape: &[u64]| shape.get(1..).map(<[u64]>::to_vec);
    if outputs
        .iter()
        .any(|shape| inner(shape) != inner(outputs[0]))
    {
        let reason = "the rows of invokes have to be alike".to_owned();
        return Err(impossible(&first.at, fault(reason)));
    }
    // The model continues with the rows of all invokes together.
    let mut whole = outputs[0].clone();
    if let Some(rows) = whole.first_mut() {
        *rows = outputs.iter().map(|shape| shape[0]).sum();
    }
    match outlook.refuses(first.site, &whole) {
        None => Ok(()),
        Some(reason) => Err(impossible(&first.at, fault(reason))),
    }
}

/// Returns the points that a program may skip.
fn points(invoke: &InvokePlan, map: &SiteMap) -> BTreeSet<Point> {
    let actions = invoke.program.actions();
    let skipped = actions.filter_map(|action| match action {
        Action::Skip { site, .. } => map.site(site),
        _ => None,
    });
    skipped.map(|(point, _)| point).collect()
}

fn impossible(at: &Place, fault: ProgramFault) -> ProgramError {
    ProgramError::Impossible {
        at: at.clone(),
        fault: Box::new(fault),
    }
}
